import { logError } from '../log/error.js'
import type { GroupMember, GroupOptions, JoinResult } from '../log/port.js'
import type { Clock } from '../record/clock.js'

interface Member {
  readonly id: string
  readonly instanceId: string | undefined
  readonly sessionTimeoutMs: number
  metadata: Buffer
  assignment: Buffer
  cancelSession: () => void
  joining: { readonly resolve: (result: JoinResult) => void; readonly reject: (error: Error) => void } | undefined
  syncing: { readonly resolve: (assignment: Buffer) => void; readonly reject: (error: Error) => void } | undefined
}

/** One group, in the classic protocol: empty, preparing (members join), completing (the leader divides), stable. */
export class Group {
  private state: 'empty' | 'preparing' | 'completing' | 'stable' = 'empty'
  private readonly members = new Map<string, Member>()
  private leader: string | undefined
  private cancelBarrier: () => void = () => {}
  private nextMember = 1
  generation = 0

  constructor(
    readonly name: string,
    private readonly clock: Clock,
  ) {}

  join(options: GroupOptions, memberId: string, _protocol: string, metadata: Buffer): Promise<JoinResult> {
    const { instanceId } = options
    let member = this.members.get(memberId)
    if (memberId !== '' && member === undefined) return Promise.reject(this.gone(memberId, instanceId))
    if (member === undefined && instanceId !== undefined) {
      const earlier = [...this.members.values()].find((other) => other.instanceId === instanceId)
      if (earlier !== undefined) return this.replace(earlier, options, metadata)
    }
    member ??= this.add(options)
    const same = member.metadata.equals(metadata)
    member.metadata = metadata
    this.touch(member)
    const { id } = member
    if (this.state === 'stable' && same && id !== this.leader) {
      return Promise.resolve({ memberId: id, generation: this.generation, members: undefined })
    }
    const joined = new Promise<JoinResult>((resolve, reject) => ((member as Member).joining = { resolve, reject }))
    this.prepare(options.rebalanceTimeoutMs)
    this.completeJoinIfAll()
    return joined
  }

  sync(given: GroupMember, assignments: ReadonlyMap<string, Buffer> | undefined): Promise<Buffer> {
    const member = this.check(given)
    if (this.state === 'preparing') throw this.rebalancing()
    if (this.state === 'stable') return Promise.resolve(member.assignment)
    const synced = new Promise<Buffer>((resolve, reject) => (member.syncing = { resolve, reject }))
    if (given.memberId === this.leader) {
      for (const other of this.members.values()) other.assignment = assignments?.get(other.id) ?? Buffer.alloc(0)
      this.state = 'stable'
      for (const other of this.members.values()) {
        other.syncing?.resolve(other.assignment)
        other.syncing = undefined
      }
    }
    return synced
  }

  heartbeat(given: GroupMember): void {
    const member = this.check(given)
    this.touch(member)
    if (this.state === 'preparing') throw this.rebalancing()
  }

  leave(given: GroupMember): void {
    const member = this.members.get(given.memberId)
    if (member !== undefined) this.remove(member)
  }

  checkCommit(given: GroupMember): void {
    this.check(given)
  }

  /** Ends a member's session now, as if it had been silent for too long. */
  expire(memberId: string): void {
    const member = this.members.get(memberId)
    if (member !== undefined) this.remove(member)
  }

  /** Has all members join again. */
  rebalance(): void {
    if (this.state !== 'empty') this.prepare(60_000)
  }

  get memberIds(): string[] {
    return [...this.members.keys()]
  }

  private check(given: GroupMember): Member {
    const member = this.members.get(given.memberId)
    if (member === undefined) throw this.gone(given.memberId, given.instanceId)
    if (given.generation !== this.generation) throw logError('MEMBER_LOST', 'lost', `group '${this.name}' is in generation ${this.generation}, the member in ${given.generation}: the partitions went to others`)
    return member
  }

  private gone(memberId: string, instanceId: string | undefined): Error {
    const rival = [...this.members.values()].find((other) => instanceId !== undefined && other.instanceId === instanceId && other.id !== memberId)
    if (rival !== undefined) {
      return logError('INSTANCE_FENCED', 'fatal', `another process joined group '${this.name}' with instance id '${instanceId}': each live process needs one of its own`)
    }
    return logError('MEMBER_LOST', 'lost', `the member is no longer in group '${this.name}': it was silent for longer than the session timeout`)
  }

  private add({ instanceId, sessionTimeoutMs }: GroupOptions): Member {
    const id = `${instanceId ?? 'member'}-${this.nextMember++}`
    const member: Member = { id, instanceId, sessionTimeoutMs, metadata: Buffer.alloc(0), assignment: Buffer.alloc(0), cancelSession: () => {}, joining: undefined, syncing: undefined }
    this.members.set(id, member)
    return member
  }

  /** A restarted static member takes its place again, without a rebalance if the group is stable. (KIP-345) */
  private replace(earlier: Member, options: GroupOptions, metadata: Buffer): Promise<JoinResult> {
    earlier.cancelSession()
    this.members.delete(earlier.id)
    const fenced = this.gone(earlier.id, undefined)
    earlier.joining?.reject(fenced)
    earlier.syncing?.reject(fenced)
    const member = this.add(options)
    member.metadata = metadata
    member.assignment = earlier.assignment
    const wasLeader = this.leader === earlier.id
    if (wasLeader) this.leader = member.id
    this.touch(member)
    if (this.state === 'stable') return Promise.resolve({ memberId: member.id, generation: this.generation, members: undefined })
    const joined = new Promise<JoinResult>((resolve, reject) => (member.joining = { resolve, reject }))
    this.prepare(options.rebalanceTimeoutMs)
    this.completeJoinIfAll()
    return joined
  }

  private remove(member: Member): void {
    member.cancelSession()
    this.members.delete(member.id)
    if (this.leader === member.id) this.leader = undefined
    const error = this.gone(member.id, undefined)
    member.joining?.reject(error)
    member.syncing?.reject(error)
    if (this.members.size === 0) {
      this.state = 'empty'
      this.cancelBarrier()
      return
    }
    this.prepare(60_000)
    this.completeJoinIfAll()
  }

  private prepare(timeoutMs: number): void {
    if (this.state === 'preparing') return
    this.state = 'preparing'
    for (const member of this.members.values()) {
      member.syncing?.reject(this.rebalancing())
      member.syncing = undefined
    }
    this.cancelBarrier = this.clock.after(timeoutMs, () => {
      for (const member of [...this.members.values()]) {
        if (member.joining !== undefined) continue
        member.cancelSession()
        this.members.delete(member.id)
      }
      this.completeJoinIfAll()
    })
  }

  private completeJoinIfAll(): void {
    const members = [...this.members.values()]
    if (this.state !== 'preparing' || members.length === 0 || members.some((member) => member.joining === undefined)) return
    this.cancelBarrier()
    this.state = 'completing'
    this.generation++
    if (this.leader === undefined || !this.members.has(this.leader)) this.leader = (members[0] as Member).id
    for (const member of members) {
      this.touch(member)
      const all = member.id === this.leader ? members.map(({ id, instanceId, metadata }) => ({ memberId: id, instanceId, metadata })) : undefined
      member.joining?.resolve({ memberId: member.id, generation: this.generation, members: all })
      member.joining = undefined
    }
  }

  private touch(member: Member): void {
    member.cancelSession()
    member.cancelSession = this.clock.after(member.sessionTimeoutMs, () => {
      // Who waits in the barrier is alive.
      if (member.joining === undefined) this.remove(member)
      else this.touch(member)
    })
  }

  private rebalancing(): Error {
    return logError('REBALANCE_IN_PROGRESS', 'rejoin', `group '${this.name}' is rebalancing`)
  }
}

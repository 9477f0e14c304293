import { logError } from '../log/error.js'
import type { GroupMember, GroupOptions, GroupProtocol, JoinResult, LogError } from '../log/port.js'
import type { Clock } from '../record/clock.js'
import { Member } from './member.js'

/** Preparing: members join. Completing: the leader divides the work. */
export type GroupState = 'empty' | 'preparing' | 'completing' | 'stable'

const NOTHING = Buffer.alloc(0)

/** One group in the classic protocol, static members (KIP-345) included. */
export class Group {
  state: GroupState = 'empty'
  generation = 0
  private readonly members = new Map<string, Member>()
  private leader: string | undefined
  /** In force in this generation. */
  private protocol = ''
  /** Of the barrier that ends the state 'preparing', then of the wait for all to sync. */
  private cancelTimer: () => void = () => {}
  private nextMember = 1

  constructor(
    readonly name: string,
    private readonly clock: Clock,
  ) {}

  get leaderId(): string | undefined {
    return this.leader
  }

  get memberList(): readonly Member[] {
    return [...this.members.values()]
  }

  async join(options: GroupOptions, memberId: string, protocols: readonly GroupProtocol[]): Promise<JoinResult> {
    const { instanceId } = options
    const others = this.memberList.filter((other) => other.id !== memberId)
    if (!protocols.some(({ name }) => others.every((other) => other.offers(name)))) {
      throw logError(
        'BROKER_REFUSED',
        'fatal',
        `joining group '${this.name}': its members divide the work by another protocol than '${protocols.map(({ name }) => name).join("', '")}'. Another program uses the same group name: give the group another one`,
      )
    }
    if (memberId !== '') return this.rejoin(this.known(memberId, instanceId), protocols)
    const earlier = this.holderOf(instanceId)
    if (earlier !== undefined) return this.replace(earlier, options, protocols)
    const member = this.add(options, protocols)
    return this.enterBarrier(member)
  }

  async sync(given: GroupMember, assignments: ReadonlyMap<string, Buffer> | undefined): Promise<Buffer> {
    const member = this.check(given)
    if (this.state === 'preparing') throw this.rebalancing()
    member.touch()
    if (this.state === 'stable') return member.assignment
    const assignment = member.sync.hold(this.superseded())
    if (member.id === this.leader) this.divide(assignments ?? new Map<string, Buffer>())
    return assignment
  }

  heartbeat(given: GroupMember): void {
    this.check(given).touch()
    if (this.state === 'preparing') throw this.rebalancing()
  }

  leave({ memberId, instanceId }: GroupMember): void {
    this.refuseFenced(memberId, instanceId)
    this.expire(memberId)
  }

  /** While a rebalance is only being prepared the generation stands, and its members may commit. */
  checkCommit(given: GroupMember): void {
    this.check(given)
    if (this.state === 'completing') throw this.rebalancing()
  }

  /** Ends a member's session now, as if it had been silent for too long. */
  expire(memberId: string): void {
    const member = this.members.get(memberId)
    if (member !== undefined) this.remove(member)
  }

  /** Has all members join again. */
  rebalance(): void {
    if (this.state !== 'empty') this.prepareRebalance()
  }

  private rejoin(member: Member, protocols: readonly GroupProtocol[]): Promise<JoinResult> {
    const same = member.said(protocols)
    member.protocols = protocols
    member.touch()
    // A member that knows nothing new has only missed an answer; the leader comes back to have the work divided anew.
    if (same && (this.state === 'completing' || (this.state === 'stable' && member.id !== this.leader)))
      return Promise.resolve(this.resultFor(member))
    return this.enterBarrier(member)
  }

  private enterBarrier(member: Member): Promise<JoinResult> {
    const joined = member.join.hold(this.superseded())
    member.touch()
    this.prepareRebalance()
    this.completeIfAllJoined()
    return joined
  }

  /** A static member that restarted takes its place again; in a stable group nobody else notices. */
  private replace(earlier: Member, options: GroupOptions, protocols: readonly GroupProtocol[]): Promise<JoinResult> {
    this.members.delete(earlier.id)
    earlier.drop(this.fenced(options.instanceId))
    const member = this.add(options, protocols)
    member.assignment = earlier.assignment
    if (this.leader === earlier.id) this.leader = member.id
    member.touch()
    // Not as the leader, whom it may be: the work is divided already.
    if (this.state === 'stable' && this.chosenProtocol() === this.protocol)
      return Promise.resolve({ memberId: member.id, generation: this.generation, protocol: this.protocol, members: undefined })
    return this.enterBarrier(member)
  }

  private add(options: GroupOptions, protocols: readonly GroupProtocol[]): Member {
    const id = `${options.instanceId ?? 'member'}-${this.nextMember++}`
    const member = new Member(id, options, protocols, this.clock, (expired) => this.remove(expired))
    this.members.set(id, member)
    return member
  }

  private remove(member: Member): void {
    this.members.delete(member.id)
    member.drop(this.gone())
    if (this.leader === member.id) this.leader = undefined
    this.prepareRebalance()
    this.completeIfAllJoined()
  }

  private prepareRebalance(): void {
    if (this.state === 'preparing') return
    this.state = 'preparing'
    for (const member of this.members.values()) member.sync.fail(this.rebalancing())
    this.armBarrier()
  }

  private armBarrier(): void {
    this.cancelTimer()
    this.cancelTimer = this.clock.after(this.rebalanceTimeoutMs(), () => this.endBarrier())
  }

  /** Time is up for those who did not join again. Static members keep their place until their session ends. */
  private endBarrier(): void {
    for (const member of this.memberList) {
      if (member.join.held || member.instanceId !== undefined) continue
      this.members.delete(member.id)
      member.drop(this.gone())
    }
    if (this.members.size > 0 && !this.memberList.some((member) => member.join.held)) this.armBarrier()
    else this.beginGeneration()
  }

  private completeIfAllJoined(): void {
    if (this.state === 'preparing' && this.memberList.every((member) => member.join.held)) this.beginGeneration()
  }

  private beginGeneration(): void {
    this.cancelTimer()
    this.generation++
    const present = this.memberList.filter((member) => member.join.held)
    if (present.length === 0) {
      this.state = 'empty'
      this.leader = undefined
      return
    }
    this.state = 'completing'
    this.protocol = this.chosenProtocol()
    if (!present.some((member) => member.id === this.leader)) this.leader = (present[0] as Member).id
    for (const member of present) {
      member.touch()
      member.join.answer(this.resultFor(member))
    }
    this.cancelTimer = this.clock.after(this.rebalanceTimeoutMs(), () => this.endSync())
  }

  private divide(assignments: ReadonlyMap<string, Buffer>): void {
    this.cancelTimer()
    this.state = 'stable'
    const late = this.memberList.filter((member) => !member.sync.held)
    for (const member of this.members.values()) {
      member.assignment = Buffer.from(assignments.get(member.id) ?? NOTHING)
      if (member.sync.held) member.touch()
      member.sync.answer(member.assignment)
    }
    // Those still to come get theirs from the stable group; their sessions watch over them.
    for (const member of late) member.touch()
  }

  /** The leader, or others, never came to fetch what is theirs. */
  private endSync(): void {
    const late = this.memberList.filter((member) => !member.sync.held)
    for (const member of late) this.remove(member)
  }

  private resultFor(member: Member): JoinResult {
    const members = member.id === this.leader ? this.memberList.map((each) => each.joinedBy(this.protocol)) : undefined
    return { memberId: member.id, generation: this.generation, protocol: this.protocol, members }
  }

  /** Of the protocols that all members offer, the one that most of them would rather have. */
  private chosenProtocol(): string {
    const votes = new Map<string, number>()
    for (const member of this.members.values()) {
      const choice = member.protocols.find(({ name }) => this.memberList.every((other) => other.offers(name)))
      if (choice !== undefined) votes.set(choice.name, (votes.get(choice.name) ?? 0) + 1)
    }
    return [...votes].sort(([, a], [, b]) => b - a)[0]?.[0] ?? ''
  }

  private rebalanceTimeoutMs(): number {
    return Math.max(0, ...this.memberList.map(({ options }) => options.rebalanceTimeoutMs))
  }

  private check({ memberId, instanceId, generation }: GroupMember): Member {
    const member = this.known(memberId, instanceId)
    if (generation === this.generation) return member
    throw logError(
      'MEMBER_LOST',
      'lost',
      `group '${this.name}' is in generation ${this.generation} and this member in ${generation}: it was out of touch while the work was divided anew`,
    )
  }

  private known(memberId: string, instanceId: string | undefined): Member {
    this.refuseFenced(memberId, instanceId)
    const member = this.members.get(memberId)
    if (member === undefined) throw this.gone()
    return member
  }

  private refuseFenced(memberId: string, instanceId: string | undefined): void {
    const holder = this.holderOf(instanceId)
    if (holder !== undefined && holder.id !== memberId) throw this.fenced(instanceId)
  }

  private holderOf(instanceId: string | undefined): Member | undefined {
    return instanceId === undefined ? undefined : this.memberList.find((member) => member.instanceId === instanceId)
  }

  private gone(): LogError {
    return logError(
      'MEMBER_LOST',
      'lost',
      `group '${this.name}' dropped this member: no heartbeat came within the session timeout, it did not join again in time, or it left`,
    )
  }

  private fenced(instanceId: string | undefined): LogError {
    return logError(
      'INSTANCE_FENCED',
      'fatal',
      `another process joined group '${this.name}' with instance id '${String(instanceId)}': each live process needs one of its own`,
    )
  }

  private rebalancing(): LogError {
    return logError('REBALANCE_IN_PROGRESS', 'rejoin', `group '${this.name}' is dividing its work anew: join again`)
  }

  private superseded(): LogError {
    return logError('TIMEOUT', 'retry', `a later request of the same member of group '${this.name}' took the place of this one`)
  }
}

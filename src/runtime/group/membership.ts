import { logError, reactionTo } from '../../log/error.js'
import type { GroupMember, LogGroup } from '../../log/port.js'
import { sleep, type Clock } from '../../record/clock.js'
import { errorMessage } from '../../record/error.js'
import type { Logger } from '../../record/logger.js'
import { assignTasks, type MemberClaim } from './assignor.js'
import {
  PROTOCOL_NAME,
  decodeAssignment,
  decodeSubscription,
  encodeAssignment,
  encodeSubscription,
  type Division,
  type Subscription,
} from './consumer-protocol.js'
import { assignStandbys } from './standby-assignor.js'

export interface MembershipOptions {
  readonly group: string
  readonly instanceId: string | undefined
  readonly topics: readonly string[]
  readonly sessionTimeoutMs: number
  /** Warm copies that each task should have. */
  readonly standbys: number
  /** Tasks this member keeps a warm copy of. */
  readonly warm: () => readonly number[]
  readonly address: string | undefined
  readonly clock: Clock
  readonly logger: Logger
  /** Called when `state` turned from 'stable' into something else. */
  readonly onChange: () => void
}

export interface Assignment extends Division {
  readonly member: GroupMember
}

/** What the member knows about itself. Only 'stable' allows to begin a transaction; 'rebalancing' still allows to finish one. */
export type MemberState = 'stable' | 'rebalancing' | 'lost' | 'fatal'

const RETRY_MS = 500
const MAX_HEARTBEAT_MS = 3_000

/** Takes part in a group: joins, divides the tasks when leader, and heartbeats by the clock, whatever user code does. */
export class Membership {
  state: MemberState = 'lost'
  /** Set with state 'fatal'. */
  failure: unknown
  private memberId = ''
  private owned: readonly number[] = []
  private generation = -1
  private member: GroupMember | undefined
  private cancelHeartbeat: () => void = () => {}
  private cancelSession: () => void = () => {}

  constructor(
    private readonly group: LogGroup,
    private readonly options: MembershipOptions,
  ) {}

  /** Joins until an assignment is there. `taskCount` is asked anew each round: partitions may have been added. */
  async join(taskCount: () => Promise<number>, signal: AbortSignal): Promise<Assignment | undefined> {
    // The coordinator answers when all members have joined, which may take as long as their slowest slice: a stop does not wait for it.
    let onAbort = (): void => {}
    const stopped = new Promise<undefined>((resolve) => (onAbort = () => resolve(undefined)))
    signal.addEventListener('abort', onAbort)
    const joined = this.joinUntil(taskCount, signal)
    const assignment = await Promise.race([joined, stopped]).finally(() => signal.removeEventListener('abort', onAbort))
    if (assignment === undefined && signal.aborted) {
      // Ends when the log is closed, with an error that nobody is interested in.
      joined.catch((error: unknown) => this.options.logger.debug({ error: errorMessage(error) }, 'a join was given up'))
      await this.leaveJoining()
    }
    return assignment
  }

  private async joinUntil(taskCount: () => Promise<number>, signal: AbortSignal): Promise<Assignment | undefined> {
    const { topics, clock, logger, group, instanceId, standbys, warm, address } = this.options
    this.cancelHeartbeat()
    this.cancelSession()
    // The member id is kept: if only the generation is over, the coordinator still waits for this member and no new one.
    if (this.state === 'lost') this.forgetTasks()
    while (!signal.aborted) {
      try {
        const tasks = await taskCount()
        const metadata = encodeSubscription({
          topics,
          owned: this.owned,
          generation: this.generation,
          tasks,
          warm: warm(),
          standbys,
          address,
        })
        const joined = await this.group.join(this.memberId, PROTOCOL_NAME, metadata)
        this.memberId = joined.memberId
        const member: GroupMember = { group, memberId: joined.memberId, generation: joined.generation, instanceId }
        this.member = member
        let assignments: Map<string, Buffer> | undefined
        if (joined.members !== undefined) {
          const claims = joined.members.map((other) => ({ ...other, ...decodeSubscription(other.metadata) }))
          assignments = new Map([...divide(claims)].map(([memberId, division]) => [memberId, encodeAssignment(topics, division)]))
        }
        const asked = clock.now()
        const division = decodeAssignment(await this.group.sync(member, assignments))
        if (signal.aborted) return undefined
        this.owned = division.tasks
        this.generation = joined.generation
        this.state = 'stable'
        this.renewSession(asked)
        this.scheduleHeartbeat()
        logger.info({ group, generation: this.generation, memberId: this.memberId, tasks: this.owned }, 'joined the group')
        return { ...division, member }
      } catch (error) {
        const reaction = reactionTo(error)
        if (reaction === 'fatal') throw error
        logger.debug({ group, error: errorMessage(error), reaction }, 'joining again')
        if (reaction === 'lost') {
          this.memberId = ''
          this.forgetTasks()
        } else if (reaction !== 'rejoin') await sleep(clock, RETRY_MS, signal)
      }
    }
    return undefined
  }

  /** Tells the others at once, instead of letting them wait for the session to end. */
  async leave(): Promise<void> {
    this.cancelHeartbeat()
    this.cancelSession()
    const member = this.member
    if (member === undefined || this.state === 'lost' || this.state === 'fatal') return
    await this.sendLeave(member)
  }

  private async leaveJoining(): Promise<void> {
    const { group, instanceId } = this.options
    await this.sendLeave({ group, memberId: this.memberId, generation: this.generation, instanceId })
    this.member = undefined
  }

  private async sendLeave(member: GroupMember): Promise<void> {
    this.state = 'lost'
    try {
      await this.group.leave(member)
    } catch (error) {
      // The session timeout does the same a little later.
      this.options.logger.debug({ error: errorMessage(error) }, 'could not leave the group')
    }
  }

  /** The runtime learned from a commit that the member is out. */
  lose(): void {
    this.enter('lost')
  }

  /** Asks the coordinator now instead of at the next beat. True if it answered that this is still a member, so that nobody else has had its tasks. */
  async probe(): Promise<boolean> {
    this.cancelHeartbeat()
    return this.beat()
  }

  /** Resolves once the coordinator has answered that this is still a member. @throws LogError 'retry' where it does not answer, 'lost' where it is none */
  async confirm(): Promise<true> {
    if (await this.probe()) return true
    if (this.state === 'fatal') throw this.failure
    if (this.state === 'lost') throw logError('MEMBER_LOST', 'lost', `the member is no longer in group '${this.options.group}'`)
    throw logError('TIMEOUT', 'retry', `the coordinator of group '${this.options.group}' does not answer`)
  }

  private forgetTasks(): void {
    this.owned = []
    this.generation = -1
    this.member = undefined
  }

  private enter(state: MemberState): void {
    if (this.state === state) return
    this.state = state
    this.options.onChange()
  }

  private scheduleHeartbeat(): void {
    const interval = Math.min(MAX_HEARTBEAT_MS, this.options.sessionTimeoutMs / 3)
    this.cancelHeartbeat = this.options.clock.after(interval, () => void this.beat())
  }

  /** The coordinator answered what it was asked then: it keeps the session at least as long from there on. Without another answer it has ended. */
  private renewSession(asked: number): void {
    const { clock, sessionTimeoutMs, group, logger } = this.options
    this.cancelSession()
    this.cancelSession = clock.after(asked + sessionTimeoutMs - clock.now(), () => {
      if (this.state !== 'stable' && this.state !== 'rebalancing') return
      logger.warn(
        { group, sessionTimeoutMs },
        'the group coordinator has not answered for as long as a session lasts: the tasks are given up',
      )
      this.cancelHeartbeat()
      this.enter('lost')
    })
  }

  private async beat(): Promise<boolean> {
    const member = this.member
    if (member === undefined || this.state === 'lost' || this.state === 'fatal') return false
    let known = true
    const asked = this.options.clock.now()
    try {
      await this.group.heartbeat(member)
      if (member === this.member) this.renewSession(asked)
    } catch (error) {
      if (member !== this.member) return false
      const reaction = reactionTo(error)
      this.options.logger.debug({ error: errorMessage(error), reaction }, 'heartbeat')
      known = reaction === 'rejoin'
      if (reaction === 'rejoin') {
        this.renewSession(asked)
        this.enter('rebalancing')
      } else if (reaction === 'lost') this.enter('lost')
      else if (reaction === 'fatal') {
        this.failure = error
        this.enter('fatal')
      }
    }
    // Also while rebalancing: the answer renews the session until the open transaction is done.
    if (member === this.member && (this.state === 'stable' || this.state === 'rebalancing')) this.scheduleHeartbeat()
    return known && member === this.member
  }
}

/** The leader's work: who has which task, who keeps a copy of which, and where each is to be asked for. */
function divide(claims: readonly (MemberClaim & Subscription)[]): Map<string, Division> {
  const tasks = assignTasks(claims, Math.max(...claims.map((claim) => claim.tasks)))
  const standby = assignStandbys(claims, tasks, Math.max(...claims.map((claim) => claim.standbys)))
  const owners: string[] = []
  for (const { memberId, address } of claims) for (const task of tasks.get(memberId) ?? []) owners[task] = address ?? memberId
  return new Map([...tasks].map(([memberId, own]) => [memberId, { tasks: own, standby: standby.get(memberId) ?? [], owners }]))
}

import { logError, reactionTo } from '../../log/error.js'
import type { GroupMember, LogGroup } from '../../log/port.js'
import { sleep, type Clock } from '../../record/clock.js'
import { MillraceError, errorMessage } from '../../record/error.js'
import type { Logger } from '../../record/logger.js'
import { WaitReport } from '../../record/wait-report.js'
import { divide } from './divide.js'
import { FORMATS, decodeDivision, emptyDivision, encodeSubscription, type GroupFormat } from './formats.js'
import { Heartbeat } from './heartbeat.js'
import type { Division } from './messages.js'
import { Replaced } from './replaced.js'
import { agree, mismatch } from './topic-agreement.js'

export interface MembershipOptions {
  readonly group: string
  readonly instanceId: string | undefined
  readonly topics: readonly string[]
  /** Of the topics, or of those that other members read: a deployment that adds or removes them is under way. */
  readonly changingTopics: readonly string[]
  /** Topics that the pipeline both writes and reads. */
  readonly innerTopics: readonly string[]
  /** Whether it keeps state that others could be asked for. */
  readonly stateful: boolean
  /** Whether its transactional id is the group's to give. Default: it needs none, or has one of its own. */
  readonly seated?: boolean
  readonly sessionTimeoutMs: number
  /** How long one whose place another process took by its instance id waits for that one to prove dead. Default 0: it ends at once. */
  readonly outlastMs?: number
  /** Warm copies that each task should have. */
  readonly standbys: number
  /** Tasks this member keeps a warm copy of. */
  readonly warm: () => readonly number[]
  readonly address: string | undefined
  readonly clock: Clock
  readonly logger: Logger
  /** Called when `state` turned from 'stable' into something else. */
  readonly onChange: () => void
  /** What the member can speak. Default: all that this version knows. */
  readonly formats?: readonly GroupFormat[]
}

export interface Assignment extends Division {
  readonly member: GroupMember
}

/** What the member knows about itself. Only 'stable' allows to begin a transaction; 'rebalancing' still allows to finish one. */
export type MemberState = 'stable' | 'rebalancing' | 'lost' | 'fatal'

const FIRST_DELAY_MS = 100
const LARGEST_DELAY_MS = 5_000
/** Asks for its place without taking it, where the coordinator had told no member id yet when another one took it. */
const REPLACED_ID = 'replaced'

/** Takes part in a group: joins, divides the tasks when leader, and heartbeats by the clock, whatever user code does. */
export class Membership {
  state: MemberState = 'lost'
  /** Set with state 'fatal'. */
  failure: unknown
  private memberId = ''
  private owned: readonly number[] = []
  private generation = -1
  private seat = -1
  private seats = 0
  private member: GroupMember | undefined
  /** When the coordinator was asked for the assignment: the session lasts at least from then on. */
  private syncedAt = 0
  private readonly heartbeat: Heartbeat
  private readonly replaced: Replaced
  private readonly formats: readonly GroupFormat[]

  constructor(
    private readonly group: LogGroup,
    private readonly options: MembershipOptions,
  ) {
    const { clock, logger, sessionTimeoutMs, outlastMs = 0, formats } = options
    this.formats = formats ?? FORMATS
    this.replaced = new Replaced({ group: options.group, instanceId: options.instanceId, outlastMs, clock, logger })
    this.heartbeat = new Heartbeat(group, clock, logger, sessionTimeoutMs, (answer, error) => {
      const lost = answer === 'fatal' && this.replaced.mayPass(error)
      if (answer === 'fatal' && !lost) this.failure = error
      if (answer !== 'known') this.enter(lost ? 'lost' : answer)
    })
  }

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
    const { clock, logger, group } = this.options
    this.heartbeat.stop()
    // The member id is kept: if only the generation is over, the coordinator still waits for this member and no new one.
    if (this.state === 'lost') this.forgetTasks()
    const report = new WaitReport(
      clock,
      logger,
      { group },
      'to join the group, for its coordinator or for members whose open transaction is to end first',
    )
    const onAbort = (): void => report.end()
    signal.addEventListener('abort', onAbort)
    try {
      for (let failures = 0; !signal.aborted;) {
        try {
          const division = await this.tryJoin(await taskCount(), signal)
          if (division === undefined) return undefined
          const member = this.member as GroupMember
          this.owned = division.tasks
          this.seat = division.seat ?? this.seat
          this.seats = division.seats
          this.generation = member.generation
          this.state = 'stable'
          this.heartbeat.start(member, this.syncedAt)
          this.replaced.over()
          logger.info({ group, generation: this.generation, memberId: this.memberId, tasks: this.owned }, 'joined the group')
          return { ...division, member }
        } catch (error) {
          const reaction = reactionTo(error)
          const replaced = reaction === 'fatal' && this.replaced.mayPass(error)
          if (reaction === 'fatal' && !replaced) throw error
          report.because(error)
          // Before anybody else takes it, who would then be replaced in turn.
          const free = reaction === 'lost' && this.memberId !== '' && this.replaced.isWaiting
          if (replaced || reaction === 'lost') {
            // Under an id that is not the one in its place it is told once that is free; without one it would take it from who may live.
            this.memberId = replaced ? this.memberId || REPLACED_ID : ''
            this.forgetTasks()
          }
          // Another member that came meanwhile is no reason to wait; whatever goes on like this is.
          const atOnce = free || (failures === 0 && (reaction === 'rejoin' || reaction === 'lost'))
          failures++
          if (!atOnce) await sleep(clock, Math.min(LARGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** Math.min(failures, 16)), signal)
        }
      }
      return undefined
    } finally {
      signal.removeEventListener('abort', onAbort)
      report.end()
    }
  }

  /** One join, with the tasks divided if this is the leader. @throws MillraceError GROUP_MISMATCH, LogError */
  private async tryJoin(tasks: number, signal: AbortSignal, again = false): Promise<Division | undefined> {
    const { topics, changingTopics, logger, group } = this.options
    const { formats } = this
    const joined = await this.group.join(
      this.memberId,
      formats.map((format) => ({ name: format.name, metadata: this.subscription(format, tasks) })),
    )
    this.memberId = joined.memberId
    const { memberId, generation, protocol, members } = joined
    const member: GroupMember = { group, memberId, generation, instanceId: this.options.instanceId }
    this.member = member
    const format = formats.find(({ name }) => name === protocol) as GroupFormat
    const divisions = members && divide(group, format, members, logger)
    this.syncedAt = this.options.clock.monotonic()
    const division = decodeDivision(format, await this.group.sync(member, divisions)) ?? emptyDivision(topics)
    if (signal.aborted) return undefined
    if (division.refused !== undefined) return this.refuse(member, division.refused)
    const agreed = agree(topics, division.topics, changingTopics)
    const outdated = division.count !== undefined && division.count < tasks
    if (agreed && (again || !outdated)) return division
    // A leader that does not compare topics, of an older version, has told its own.
    if (again) return this.refuse(member, mismatch(group, topics, division.topics))
    // A member with an instance id got the place it had before its restart, unseen by the leader, which has to look at its topics, and at the
    // partitions that were added meanwhile.
    await this.sendLeave(member)
    this.memberId = ''
    this.forgetTasks()
    return this.tryJoin(tasks, signal, true)
  }

  private subscription(format: GroupFormat, tasks: number): Buffer {
    const { topics, changingTopics, innerTopics, stateful, seated = false, standbys, warm, address } = this.options
    const { owned, generation, seat, seats } = this
    return encodeSubscription(format, {
      topics,
      owned,
      generation,
      tasks,
      warm: warm(),
      standbys,
      address,
      changing: changingTopics,
      inner: innerTopics,
      stateful,
      seat: seated ? seat : undefined,
      seats,
    })
  }

  /** Also one with an instance id goes at once: as it is, it does not come again. */
  private async refuse(member: GroupMember, why: string): Promise<never> {
    await this.sendLeave(member)
    throw new MillraceError('GROUP_MISMATCH', why)
  }

  /**
   * Tells the others at once, instead of letting them wait for the session to end. Not one with an instance id, whose place is kept for it
   * meanwhile. (KIP-345)
   */
  async leave(): Promise<void> {
    this.heartbeat.stop()
    const { member, state } = this
    if (member === undefined || state === 'lost' || state === 'fatal') return
    this.state = 'lost'
    if (member.instanceId === undefined) await this.sendLeave(member)
  }

  private async leaveJoining(): Promise<void> {
    const { group, instanceId } = this.options
    this.state = 'lost'
    this.member = undefined
    if (instanceId === undefined) await this.sendLeave({ group, memberId: this.memberId, generation: this.generation, instanceId })
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

  /**
   * Asks the coordinator now instead of at the next beat. True if it answered that this is still a member, so that nobody else has had its
   * tasks.
   */
  async probe(): Promise<boolean> {
    if (this.state === 'lost' || this.state === 'fatal') return false
    return this.heartbeat.probe()
  }

  /**
   * Resolves once the coordinator has answered that this is still a member. @throws LogError 'retry' where it does not answer, 'lost' where
   * it is none
   */
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
    if (state === 'lost' || state === 'fatal') this.heartbeat.stop()
    if (this.state === state || this.state === 'lost' || this.state === 'fatal') return
    this.state = state
    this.options.onChange()
  }
}

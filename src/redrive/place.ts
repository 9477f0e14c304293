import type { LogClient, LogProducer, PartitionOffset } from '../log/port.js'
import { MillraceError } from '../record/error.js'
import { Membership, type Assignment } from '../runtime/group/membership.js'
import { taskCount } from '../runtime/plan-check.js'
import { transactionalIdOf } from '../runtime/transactional-id.js'
import type { PartitionSource } from '../sources/partition-source.js'

/** One process at a time: a second one takes the place of the first, and a restart goes on at once. */
export const INSTANCE = 'redrive'
export const SESSION_MS = 10_000

/**
 * The place of a run in its group while it looks at what there is to do: the pipeline that sends takes it over. It is taken first, so that
 * an earlier run that is alive learns from the group that it was replaced, before the producers of the two fence each other.
 */
export class RedrivePlace {
  private constructor(
    private readonly membership: Membership,
    private readonly producer: LogProducer,
    private member: Assignment['member'],
    private readonly join: () => Promise<Assignment | undefined>,
  ) {}

  /**
   * Undefined where the run was ended meanwhile. What an earlier run left open is ended, so that what is read from here on is how it ended.
   */
  static async take(log: LogClient, { settings, host }: PartitionSource): Promise<RedrivePlace | undefined> {
    const { group, topics, sessionTimeout, rebalanceTimeout } = settings
    const signal = settings.signal as AbortSignal
    const membership = new Membership(
      log.group({ group, instanceId: INSTANCE, sessionTimeoutMs: sessionTimeout, rebalanceTimeoutMs: rebalanceTimeout }),
      {
        group,
        instanceId: INSTANCE,
        topics,
        changingTopics: settings.changingTopics,
        innerTopics: [],
        stateful: true,
        sessionTimeoutMs: sessionTimeout,
        standbys: 0,
        warm: () => [],
        address: undefined,
        clock: host.clock,
        logger: host.logger,
        onChange: () => {},
      },
    )
    const join = (): Promise<Assignment | undefined> => membership.join(async () => taskCount(topics, await log.topics(topics)), signal)
    try {
      const assignment = await join()
      if (assignment === undefined) return undefined
      const producer = log.producer({
        transactionalId: transactionalIdOf(group, INSTANCE),
        transactionTimeoutMs: 10_000,
        compression: 'none',
        trace: host.trace,
      })
      await producer.init()
      return new RedrivePlace(membership, producer, assignment.member, join)
    } catch (error) {
      await membership.leave()
      throw error
    }
  }

  /**
   * Where the pipeline begins to read; false if the run was ended meanwhile. @throws MillraceError INSTANCE_FENCED where another run has
   * taken the place
   */
  async startAt(offsets: readonly PartitionOffset[]): Promise<boolean> {
    const { membership } = this
    if (this.isReplaced) throw this.takenOver(membership.failure)
    if (membership.state !== 'stable') {
      const assignment = await this.join()
      if (assignment === undefined) return false
      this.member = assignment.member
    }
    try {
      await this.producer.commit(offsets, this.member)
      return true
    } catch (error) {
      // A member that was replaced learns it here, if it has not yet.
      throw (await membership.probe()) || !this.isReplaced ? error : this.takenOver(error)
    }
  }

  leave(): Promise<void> {
    return this.membership.leave()
  }

  private get isReplaced(): boolean {
    return this.membership.state === 'fatal'
  }

  private takenOver(cause: unknown): MillraceError {
    return new MillraceError(
      'INSTANCE_FENCED',
      `redrive: nothing was sent: another redrive of group '${this.member.group}' took over while this one was looking. Start it again when that is done, for what is left`,
      { retryable: true, cause },
    )
  }
}

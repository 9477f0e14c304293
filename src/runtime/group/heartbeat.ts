import { reactionTo } from '../../log/error.js'
import type { GroupMember, LogGroup } from '../../log/port.js'
import type { Clock } from '../../record/clock.js'
import { errorMessage } from '../../record/error.js'
import type { Logger } from '../../record/logger.js'

const LARGEST_INTERVAL_MS = 3_000

/** What a beat, or the lack of an answer to one, says of the member. */
export type HeartbeatAnswer = 'known' | 'rebalancing' | 'lost' | 'fatal'

/**
 * Tells the coordinator by the clock that a member lives, one beat at a time. Goes on while the group rebalances: the answer renews the
 * session until the open transaction is done. A member that gets no answer for as long as a session lasts is lost, since by then the
 * coordinator has given its tasks to others.
 */
export class Heartbeat {
  private member: GroupMember | undefined
  private beating: Promise<boolean> | undefined
  /** Whoever waits for the beat in flight gets no as answer. */
  private abandon: () => void = () => {}
  private cancelNext: () => void = () => {}
  private cancelExpiry: () => void = () => {}

  constructor(
    private readonly group: LogGroup,
    private readonly clock: Clock,
    private readonly logger: Logger,
    private readonly sessionTimeoutMs: number,
    private readonly onAnswer: (answer: HeartbeatAnswer, error: unknown) => void,
  ) {}

  /** `knownAt`: when the coordinator was asked what it last answered as to a member. */
  start(member: GroupMember, knownAt: number): void {
    this.stop()
    this.member = member
    this.renew(knownAt)
    this.schedule()
  }

  stop(): void {
    this.member = undefined
    this.beating = undefined
    this.abandon()
    this.cancelNext()
    this.cancelExpiry()
  }

  /** Beats now. True if the coordinator answered, to what was asked after the call, that it knows the member. */
  async probe(): Promise<boolean> {
    await this.beating
    return this.beat()
  }

  private schedule(): void {
    this.cancelNext()
    this.cancelNext = this.clock.after(Math.min(LARGEST_INTERVAL_MS, this.sessionTimeoutMs / 3), () => void this.beat())
  }

  /** The session began anew not before the beat that was answered was sent. */
  private renew(sentAt: number): void {
    this.cancelExpiry()
    this.cancelExpiry = this.clock.after(Math.max(0, sentAt + this.sessionTimeoutMs - this.clock.monotonic()), () => {
      const { sessionTimeoutMs } = this
      this.logger.warn(
        { group: this.member?.group, sessionTimeoutMs },
        'the group coordinator has not answered for as long as a session lasts: the tasks are given up',
      )
      this.onAnswer('lost', undefined)
    })
  }

  private beat(): Promise<boolean> {
    const { member } = this
    if (member === undefined) return Promise.resolve(false)
    if (this.beating !== undefined) return this.beating
    const abandoned = new Promise<boolean>((resolve) => (this.abandon = () => resolve(false)))
    const beating = Promise.race([this.send(member), abandoned]).finally(() => {
      if (this.beating === beating) this.beating = undefined
    })
    return (this.beating = beating)
  }

  private async send(member: GroupMember): Promise<boolean> {
    const sentAt = this.clock.monotonic()
    let answer: HeartbeatAnswer | undefined = 'known'
    let failure: unknown
    try {
      await this.group.heartbeat(member)
    } catch (error) {
      failure = error
      const reaction = reactionTo(error)
      this.logger.debug({ error: errorMessage(error), reaction }, 'heartbeat')
      answer = reaction === 'rejoin' ? 'rebalancing' : reaction === 'lost' || reaction === 'fatal' ? reaction : undefined
    }
    // Of a member that was, and is no more.
    if (member !== this.member) return false
    const known = answer === 'known' || answer === 'rebalancing'
    if (known) this.renew(sentAt)
    if (answer !== undefined) this.onAnswer(answer, failure)
    if (member === this.member) this.schedule()
    return known && member === this.member
  }
}

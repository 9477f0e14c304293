import type { LogClient, TopicPartition } from '../../log/port.js'
import type { Clock } from '../../record/clock.js'
import { errorMessage } from '../../record/error.js'
import type { Logger } from '../../record/logger.js'

/** The log is asked this often at most, and only where somebody looks on. */
const ASK_MS = 5_000
/** What it answered counts so long. */
const FRESH_MS = 2 * ASK_MS

/** Ends of partitions that are not fetched at present, and of which no fetch brings news: held topics, and all where nothing moves. */
export class FreshEnds {
  private ends = new Map<string, number>()
  private askedAt = Number.NEGATIVE_INFINITY
  private asking = false

  constructor(
    private readonly log: LogClient,
    private readonly clock: Clock,
    private readonly logger: Logger,
  ) {}

  of(topic: string, partition: number): number | undefined {
    return this.clock.monotonic() - this.askedAt <= FRESH_MS ? this.ends.get(`${topic}/${partition}`) : undefined
  }

  /** Asks in the background: the answer is there for the next look. */
  refresh(partitions: readonly TopicPartition[]): void {
    const now = this.clock.monotonic()
    if (this.asking || now - this.askedAt < ASK_MS || partitions.length === 0) return
    this.asking = true
    this.log
      .offsets(partitions, 'stable')
      .then(
        (ends) => {
          this.ends = new Map(partitions.map(({ topic, partition }, i) => [`${topic}/${partition}`, ends[i] as number]))
        },
        (error: unknown) => this.logger.debug({ error: errorMessage(error) }, 'the ends of partitions could not be asked for'),
      )
      .finally(() => {
        this.askedAt = this.clock.monotonic()
        this.asking = false
      })
  }
}

import type { Clock } from '../record/clock.js'
import { sleep } from '../record/clock.js'

/** What begins so long after the last transaction is not held up: its markers are written. Milliseconds. */
const NEAR_MS = 8
/** So long after its end markers are asked about: where they take longer, the broker may as well do the waiting. Milliseconds. */
const ASK_MS = 100
const FIRST_PAUSE_MS = 1

/**
 * Whether the last transaction of a producer is over for the brokers too.
 *
 * The end of a transaction is acknowledged before its markers are written, some milliseconds. A broker that is given the first batch of the
 * next one meanwhile looks again after 20 ms (add.partitions.to.txn.retry.backoff.ms), which at short commit intervals is most of what a
 * transaction takes. So that batch waits here, and the coordinator is asked each millisecond. Nothing depends on the answer: what begins too
 * early is held up by the broker as before.
 */
export class Markers {
  private endedAt = Number.NEGATIVE_INFINITY
  private waiting: Promise<void> | undefined

  /** `written`: asks the coordinator; true also where it cannot be asked. */
  constructor(
    private readonly clock: Clock,
    private readonly written: () => Promise<boolean>,
  ) {}

  /** A transaction has ended. */
  ended(): void {
    this.endedAt = this.clock.monotonic()
    this.waiting = undefined
  }

  /** Resolves when the next transaction is not held up any more; undefined where none would be. */
  wait(): Promise<void> | undefined {
    if (this.waiting !== undefined || this.clock.monotonic() - this.endedAt > NEAR_MS) return this.waiting
    const waiting = this.ask().finally(() => {
      if (this.waiting !== waiting) return
      this.waiting = undefined
      this.endedAt = Number.NEGATIVE_INFINITY
    })
    this.waiting = waiting
    return waiting
  }

  private left(): number {
    return this.endedAt + ASK_MS - this.clock.monotonic()
  }

  private async ask(): Promise<void> {
    const over = new AbortController()
    // A coordinator that does not answer holds nothing up either.
    const late = sleep(this.clock, this.left(), over.signal)
    try {
      for (let pause = FIRST_PAUSE_MS; this.left() > 0; pause++) {
        if ((await Promise.race([this.written(), late])) !== false) return
        await sleep(this.clock, pause)
      }
    } finally {
      over.abort()
    }
  }
}

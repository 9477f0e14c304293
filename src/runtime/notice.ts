import type { Clock } from '../record/clock.js'
import { errorMessage } from '../record/error.js'
import type { FailedRecord } from '../record/failed-record.js'
import type { SliceContext } from './context.js'

/** The least time between two lines about the same thing. */
const EVERY_MS = 30_000

/**
 * Tells the log of something that may come with every record: the first time at once, then how often it has since, no more than once in a
 * while.
 */
export class Notice {
  private saidAt = Number.NEGATIVE_INFINITY
  private count = 0

  constructor(private readonly clock: Clock) {}

  /** Counts one more; calls `say` with how many there are since the last time, if it is time for it. */
  add(count: number, say: (count: number) => void): void {
    this.count += count
    const now = this.clock.monotonic()
    if (this.count === 0 || now - this.saidAt < EVERY_MS) return
    say(this.count)
    this.saidAt = now
    this.count = 0
  }
}

/** What an operator does with failed records, told once a slice at most: of a slice that is run again they are told again. */
export class FailureNotice {
  private count = 0
  private last: FailedRecord | undefined
  private readonly notice: Notice

  constructor(
    private readonly slice: SliceContext,
    what: string,
    private readonly message: string,
  ) {
    this.notice = slice.shared(`notice of ${what}`, () => new Notice(slice.clock))
  }

  add(failed: FailedRecord): void {
    this.count++
    this.last = failed
  }

  /** At the end of the slice. */
  end(): void {
    const { last, count } = this
    this.count = 0
    this.notice.add(count, (records) => {
      const { record, step, error } = last ?? {}
      this.slice.logger.warn({ records, step, last: record?.id, error: errorMessage(error) }, this.message)
    })
  }
}

import { SourceChunks } from './claim-chunks.js'

/** The time of one input partition: that of its newest record, so that a backlog and a live topic each go by their own. */
export class SourceTime {
  time = Number.NEGATIVE_INFINITY
  /** The highest offset seen. */
  offset = -1
  /** What the clock said when the time was set last, or earlier. */
  clock = Number.NEGATIVE_INFINITY
  committedTime = Number.NEGATIVE_INFINITY
  committedOffset = -1
  committedClock = Number.NEGATIVE_INFINITY
  readonly chunks = new SourceChunks()
  /** Claims of the open transaction, in order. */
  fresh: number[] = []
  /** Written before, and changed in it. */
  amended: number[] = []

  constructor(
    readonly index: number,
    readonly topic: string,
    readonly partition: number,
  ) {}

  get moved(): boolean {
    return this.time !== this.committedTime || this.offset !== this.committedOffset
  }

  /** What it is as of now is committed. */
  commit(): void {
    this.committedTime = this.time
    this.committedOffset = this.offset
    this.committedClock = this.clock
    this.end()
  }

  rollback(): void {
    this.time = this.committedTime
    this.offset = this.committedOffset
    this.clock = this.committedClock
    this.end()
  }

  private end(): void {
    if (this.fresh.length > 0) this.fresh = []
    if (this.amended.length > 0) this.amended = []
  }
}

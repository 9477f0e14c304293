import { Due, NEVER, type DueItem } from '../../../state/due.js'
import { CHUNK_BYTES } from './chunk-codec.js'

/** So many chunks of about one size are made one. */
export const FAN_IN = 8
/** Sizes from which on a chunk counts as one of the next size; those of the last are left as they are. */
const SIZES = [CHUNK_BYTES / 512, CHUNK_BYTES / 64, CHUNK_BYTES / FAN_IN]

/** The claims of one record of the changelog: they are dropped together. */
export class Chunk implements DueItem {
  dueAt = NEVER
  /** So many of its claims have not been written in another since. */
  live = 0
  /** How many of those the open transaction writes elsewhere. */
  leaving = 0
  isHeld = false
  claims: ArrayLike<number> = []

  constructor(
    readonly number: number,
    readonly from: SourceTime,
    /** Time of the newest of them. */
    public newest: number,
    public bytes = 0,
  ) {}

  get size(): number {
    return SIZES.findLastIndex((bytes) => this.bytes >= bytes) + 1
  }
}

/** The chunks of one input partition. */
export class SourceChunks {
  /** By their newest claim. */
  readonly due = new Due<Chunk>({ dueOf: ({ isHeld, newest }) => (isHeld ? newest : NEVER) })
  /** By size, those that may be made one with others, oldest first. */
  readonly small: readonly Set<Chunk>[] = SIZES.map(() => new Set())
}

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

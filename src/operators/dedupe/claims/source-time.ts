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

/** How far an input partition has come: see `SourceTime`. */
export interface Reached {
  readonly time: number
  readonly offset: number
  readonly clock: number
}

const NOWHERE: Reached = { time: Number.NEGATIVE_INFINITY, offset: -1, clock: Number.NEGATIVE_INFINITY }

/** The time of one input partition: that of its newest record, so that a backlog and a live topic each go by their own. */
export class SourceTime {
  time = NOWHERE.time
  /** The highest offset seen. */
  offset = NOWHERE.offset
  /** What the clock said when the time was set last, or earlier. */
  clock = NOWHERE.clock
  /** The three as the open transaction found them, and as of the last commit. */
  private opened: Reached = NOWHERE
  private committed: Reached = NOWHERE
  readonly chunks = new SourceChunks()
  /** Claims of the open transaction, in order. */
  fresh: number[] = []
  /** Written before, and changed in it. */
  amended: number[] = []
  /** Claims of the transaction that goes to the log, in order. */
  sealed: readonly number[] = []

  constructor(
    readonly index: number,
    readonly topic: string,
    readonly partition: number,
  ) {}

  get moved(): boolean {
    return this.time !== this.opened.time || this.offset !== this.opened.offset
  }

  get committedTime(): number {
    return this.committed.time
  }

  /** What it is as of now goes to the log. */
  seal(): void {
    const { time, offset, clock } = this
    this.opened = { time, offset, clock }
    this.sealed = this.fresh
    this.begin()
  }

  /** What it was when it was sealed is in the log. */
  commit(): void {
    this.committed = this.opened
    this.sealed = []
  }

  rollback(): void {
    this.goTo(this.committed)
    this.sealed = []
    this.begin()
  }

  /** As the log has it. */
  load(reached: Reached): void {
    this.committed = reached
    this.goTo(reached)
  }

  private goTo(reached: Reached): void {
    this.opened = reached
    this.time = reached.time
    this.offset = reached.offset
    this.clock = reached.clock
  }

  private begin(): void {
    this.fresh = []
    this.amended = []
  }
}

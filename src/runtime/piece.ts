import type { BatchReader, BatchView } from '../log/batch/read.js'
import type { Position } from '../log/port.js'
import type { LogRecord } from '../record/record.js'
import type { InletSpec } from './context.js'

/**
 * A stretch of one partition: a fetched batch or part of one, or only a position stepped over. Kept until its transaction committed. A class,
 * as two are made each time reading goes from one input to another: all have one shape.
 */
export class Piece {
  /** All of it was given out before, when it was due: it comes again as it came. */
  taken = false
  /** Event time it begins with. */
  time: number | undefined = undefined
  /** What is reading it, where something came between: reading goes on there instead of at the front of the batch. */
  cursor: Reading | undefined = undefined
  /** Known once it was read: the marks, the first of its own, and how many records it held. */
  marks: Uint8Array | undefined = undefined
  from = 0
  records = 0

  constructor(
    readonly topic: string,
    /** Set where the topic is one of the pipeline's own. */
    readonly inlet: InletSpec | undefined,
    readonly batch: BatchView | undefined,
    readonly fromOffset: number,
    readonly nextOffset: number,
    /** The leader epochs of the positions at both. */
    readonly fromEpoch: number,
    readonly nextEpoch: number,
  ) {}

  /** What of it goes up to an offset. */
  upTo(nextOffset: number): Piece {
    const { topic, inlet, batch, fromOffset, fromEpoch } = this
    return this.like(new Piece(topic, inlet, batch, fromOffset, nextOffset, fromEpoch, epochAt(this, nextOffset)))
  }

  /** What of it begins at an offset. */
  since(fromOffset: number): Piece {
    const { topic, inlet, batch, nextOffset, nextEpoch } = this
    return this.like(new Piece(topic, inlet, batch, fromOffset, nextOffset, epochAt(this, fromOffset), nextEpoch))
  }

  /** It is to come again as it came. */
  again(): Piece {
    const { topic, inlet, batch, fromOffset, nextOffset, fromEpoch, nextEpoch } = this
    const piece = new Piece(topic, inlet, batch, fromOffset, nextOffset, fromEpoch, nextEpoch)
    piece.taken = true
    return piece
  }

  /** What was reading it reads on. */
  resume(cursor: Reading): Reading {
    cursor.piece = this
    this.cursor = undefined
    return cursor
  }

  private like(piece: Piece): Piece {
    piece.taken = this.taken
    piece.time = this.time
    piece.cursor = this.cursor
    return piece
  }
}

/** The leader epoch of a position in a piece. */
export function epochAt({ batch, fromEpoch }: Piece, offset: number): number {
  return batch !== undefined && offset > batch.baseOffset ? batch.leaderEpoch : fromEpoch
}

/** The batch being read, and how far. */
export interface Reading {
  piece: Piece
  readonly reader: BatchReader
  readonly marks: Uint8Array
  /** Read and not given out yet. */
  ahead: LogRecord<Buffer | null, Buffer | null> | undefined
  /** Given out, and how many of them before this stretch of the batch. */
  count: number
  from: number
  lastOffset: number
}

/** What a commit that is under way takes with it. */
export interface Committing {
  readonly pieces: readonly Piece[]
  readonly positions: ReadonlyMap<string, Position>
  readonly unstored: readonly string[]
}

/** Where a task begins to read a topic. */
export interface TaskStart {
  readonly topic: string
  readonly offset: number
  readonly leaderEpoch?: number | undefined
  /** Whether the group has it as a committed offset. */
  readonly stored: boolean
  /** What was committed with it. */
  readonly metadata?: string | undefined
}

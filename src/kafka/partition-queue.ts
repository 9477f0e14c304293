import type { OutputBatch } from '../log/batch/write.js'

/** A `send` under way: its promise settles once, when its last batch is acknowledged or its first has failed. */
export class SendCall {
  private left: number

  constructor(
    batches: number,
    private readonly resolve: () => void,
    private readonly reject: (error: Error) => void,
  ) {
    this.left = batches
  }

  acknowledged(): void {
    if (--this.left === 0) this.resolve()
  }

  failed(error: Error): void {
    this.reject(error)
  }
}

export interface QueuedBatch {
  readonly batch: OutputBatch
  readonly call: SendCall
  /** Set when the compression is done. */
  compressed: Uint8Array | undefined
  compressing: boolean
  /** The bytes as first sent: every retry sends the same. */
  stamped: Buffer | undefined
  firstSentAt: number
  tries: number
  /** A try ended without an answer, so the batch may be in the log. */
  uncertain: boolean
}

/** The batches of one output partition, in order; the first may be on its way. */
export class PartitionQueue {
  private batches: QueuedBatch[] = []
  /** Sequence number of the next new batch. */
  sequence = 0
  /** Of the first transaction protocol: whether the open transaction holds the partition. */
  added = false
  adding = false
  inFlight = false
  retryAt = 0

  constructor(
    readonly topic: string,
    readonly partition: number,
  ) {}

  get first(): QueuedBatch | undefined {
    return this.batches[0]
  }

  push(batch: QueuedBatch): void {
    this.batches.push(batch)
  }

  /** The first batch is in the log. */
  acknowledged(): QueuedBatch {
    const done = this.batches.shift() as QueuedBatch
    this.sequence = nextSequence(this.sequence, done.batch.count)
    this.inFlight = false
    return done
  }

  /** Gives up what is not on its way. */
  discard(): QueuedBatch[] {
    return this.batches.splice(this.inFlight ? 1 : 0)
  }

  /** Gives up the first batch, which is no longer on its way. */
  discardFirst(): QueuedBatch | undefined {
    this.inFlight = false
    return this.batches.shift()
  }
}

/** Sequence numbers count records and wrap to 0 after 2^31 - 1. */
export function nextSequence(sequence: number, count: number): number {
  return (sequence + count) % 0x8000_0000
}

import type { OutputBatch } from '../log/batch/write.js'
import type { Absence } from './absence.js'
import type { ProducerIdentity } from './transaction.js'

/** Of one partition: a broker reads the next while it writes the first. It remembers five, of which each is taken once. */
const BATCHES_AWAY = 2

/** A `send` under way: its promise settles once, when its last batch is acknowledged or its first has failed. */
export class SendCall {
  private left: number

  constructor(
    batches: number,
    private readonly resolve: (offset: number) => void,
    private readonly reject: (error: Error) => void,
  ) {
    this.left = batches
  }

  /** `offset` is that of the batch's first record. */
  acknowledged(offset: number): void {
    if (--this.left === 0) this.resolve(offset)
  }

  failed(error: Error): void {
    this.reject(error)
  }
}

export interface QueuedBatch {
  batch: OutputBatch
  readonly call: SendCall
  /** Set when the compression is done. */
  compressed: Uint8Array | undefined
  compressing: boolean
  /** The bytes as first sent: every retry sends the same. */
  stamped: Buffer | undefined
  firstSentAt: number
  tries: number
  /** Of the tries that failed. */
  absence: Absence | undefined
  /** On its way to the broker. */
  away: boolean
  /** A try ended without an answer, so the batch may be in the log. */
  uncertain: boolean
}

export function newlyQueued(batch: OutputBatch, call: SendCall, compressing: boolean, firstSentAt = 0): QueuedBatch {
  return {
    batch,
    call,
    compressed: undefined,
    compressing,
    stamped: undefined,
    firstSentAt,
    tries: 0,
    absence: undefined,
    away: false,
    uncertain: false,
  }
}

/** The batches of one output partition, in order; the first of them may be on their way. */
export class PartitionQueue {
  private batches: QueuedBatch[] = []
  /** Sequence number of the first batch. */
  sequence = 0
  /** Of the first transaction protocol: whether the open transaction holds the partition. */
  added = false
  adding = false
  /** Whether the open transaction has a batch of it in the log. */
  begun = false
  /** How many of the batches are on their way. */
  private away = 0
  /** A batch came back and is to be sent again, when those behind it have come back too. */
  private blocked = false
  /** What the batches on their way go over; others have to go the same way. */
  private route: object | undefined
  retryAt = 0
  /** Where the partition has left the epoch, or the id, of the producer. */
  identity: ProducerIdentity | undefined
  /** A batch was given up whose sequence number is taken: nothing leaves until the partition has a new epoch. */
  stale = false

  constructor(
    readonly topic: string,
    readonly partition: number,
  ) {}

  get first(): QueuedBatch | undefined {
    return this.batches[0]
  }

  get isAway(): boolean {
    return this.away > 0
  }

  /** The next to be sent. */
  get next(): QueuedBatch | undefined {
    return this.batches[this.away]
  }

  /**
   * Whether another batch may leave now. A broker that knows nothing of a producer takes any sequence number from it, so the second leaves
   * only when one has been acknowledged: from then on a gap is refused.
   */
  get isOpen(): boolean {
    return (
      this.away < this.batches.length && !this.adding && !this.blocked && !this.stale && this.away < (this.sequence > 0 ? BATCHES_AWAY : 1)
    )
  }

  /** Batches on two ways could arrive in any order. */
  mayTake(route: object): boolean {
    return this.away === 0 || this.route === route
  }

  /** Of the next batch. */
  get nextSequence(): number {
    let next = this.sequence
    for (let i = 0; i < this.away; i++) next = nextSequence(next, (this.batches[i] as QueuedBatch).batch.count)
    return next
  }

  push(batch: QueuedBatch): void {
    this.batches.push(batch)
  }

  /** The next batch leaves. */
  depart(route: object): void {
    ;(this.next as QueuedBatch).away = true
    this.away++
    this.route = route
  }

  /** The first batch is in the log. */
  acknowledged(): QueuedBatch {
    const done = this.batches[0] as QueuedBatch
    this.back(done)
    this.batches.shift()
    this.sequence = nextSequence(this.sequence, done.batch.count)
    this.begun = true
    return done
  }

  /** A batch came back and is to be sent again, or stands behind one that is. */
  setBack(batch: QueuedBatch): void {
    this.back(batch)
    this.blocked = this.away > 0
  }

  /** Gives up what is not on its way. */
  discard(): QueuedBatch[] {
    const given = this.batches.filter(({ away }) => !away)
    this.batches = this.batches.filter(({ away }) => away)
    return given
  }

  /** Whether a sequence number was given to any. */
  get hasStamped(): boolean {
    return this.batches.some(({ stamped }) => stamped !== undefined)
  }

  /** Begins at sequence 0, with nothing on its way. Returns those given up as they may stand in the log under the epoch before. */
  restart(identity: ProducerIdentity): QueuedBatch[] {
    const lost = this.batches.filter(({ uncertain }) => uncertain)
    this.batches = this.batches.filter(({ uncertain }) => !uncertain)
    for (const queued of this.batches) {
      if (queued.stamped === undefined) continue
      queued.stamped = undefined
      // The bytes of the try before are another's to read, as long as a socket has them.
      queued.batch = { ...queued.batch, bytes: Buffer.from(queued.batch.bytes) }
    }
    this.sequence = 0
    this.identity = identity
    this.stale = false
    return lost
  }

  /** Gives up one that never left. */
  remove(batch: QueuedBatch): void {
    this.batches = this.batches.filter((other) => other !== batch)
  }

  /** Gives up the first batch, which is no longer on its way. */
  discardFirst(): void {
    this.back(this.batches[0] as QueuedBatch)
    this.batches.shift()
  }

  private back(batch: QueuedBatch): void {
    if (!batch.away) return
    batch.away = false
    if (--this.away === 0) this.blocked = false
  }
}

/** Sequence numbers count records and wrap to 0 after 2^31 - 1. */
export function nextSequence(sequence: number, count: number): number {
  return (sequence + count) % 0x8000_0000
}

import type { AbortedTransaction } from '../log/batch/committed.js'
import { AT, CONTROL, TRANSACTIONAL, readInt64, writeInt64 } from '../log/batch/header.js'
import { logError } from '../log/error.js'
import { UNKNOWN_EPOCH, type Divergence } from '../log/leader-epochs.js'
import { transactionMarker } from './marker.js'
import { Sequences } from './sequences.js'

export interface StoredBatch {
  readonly bytes: Buffer
  readonly baseOffset: number
  readonly lastOffset: number
  readonly maxTimestamp: number
}

interface Aborted extends AbortedTransaction {
  /** Of its marker. */
  readonly lastOffset: number
}

/** What a broker answers to a fetch. */
export interface FetchAnswer {
  /** Whole batches; the first may begin before the offset asked for. */
  readonly batches: readonly Buffer[]
  readonly aborted: readonly AbortedTransaction[]
}

/** One partition's log: batches as bytes, with their offsets written in, and the transactions over them. */
export class PartitionLog {
  readonly batches: StoredBatch[] = []
  /** The first offset kept. */
  start = 0
  /** The high watermark: where the next batch goes. */
  end = 0
  /** First offset of each open transaction, by producer. */
  private readonly open = new Map<bigint, number>()
  /** In the order of their markers. */
  private aborted: Aborted[] = []
  private readonly sequences: Sequences
  /** Where each leader began to write, by its epoch. There is one leader until an election is played. */
  private elections = [{ epoch: 0, start: 0 }]
  private readonly watchers = new Set<() => void>()

  constructor(
    readonly name: string,
    private readonly maxMessageBytes: number,
  ) {
    this.sequences = new Sequences(name)
  }

  /** End of what read_committed readers may see. */
  get stable(): number {
    let stable = this.end
    for (const first of this.open.values()) if (first < stable) stable = first
    return stable
  }

  /** @throws LogError 'abort' RECORD_TOO_LARGE, 'reinit' for a producer that is out of date */
  append(stamped: Buffer): number {
    if (stamped.length > this.maxMessageBytes) {
      throw logError(
        'RECORD_TOO_LARGE',
        'abort',
        `a batch of ${stamped.length} bytes for ${this.name} is larger than the topic takes (max.message.bytes=${this.maxMessageBytes}): raise the topic's limit, or write smaller records`,
        { retryable: false },
      )
    }
    const producerId = stamped.readBigInt64BE(AT.producerId)
    if (!this.sequences.accept(producerId, stamped)) return -1
    const offset = this.end
    if ((stamped.readInt16BE(AT.attributes) & TRANSACTIONAL) !== 0 && !this.open.has(producerId)) this.open.set(producerId, this.end)
    this.write(stamped)
    return offset
  }

  /** Ends the producer's transaction here with a marker, which takes an offset like a record. */
  mark(producerId: bigint, producerEpoch: number, commit: boolean, timestamp: number): void {
    const firstOffset = this.open.get(producerId)
    this.open.delete(producerId)
    this.sequences.fence(producerId, producerEpoch)
    this.write(transactionMarker(producerId, producerEpoch, commit, timestamp))
    if (!commit && firstOffset !== undefined) this.aborted.push({ producerId, firstOffset, lastOffset: this.end - 1 })
  }

  /** Batches from the one that holds `offset` to before `limit`, of about `maxBytes` and at least one. */
  fetch(offset: number, limit: number, maxBytes: number): FetchAnswer {
    const batches: Buffer[] = []
    let bytes = 0
    let end = offset
    for (let i = this.indexOf(offset); i < this.batches.length; i++) {
      const batch = this.batches[i] as StoredBatch
      if (batch.baseOffset >= limit || (bytes > 0 && bytes + batch.bytes.length > maxBytes)) break
      batches.push(batch.bytes)
      bytes += batch.bytes.length
      end = batch.lastOffset
    }
    const from = lowerBound(this.aborted, offset)
    return { batches, aborted: this.aborted.slice(from).filter(({ firstOffset }) => firstOffset <= end) }
  }

  /** Where the batch that holds `offset`, or the next after it, stands. */
  indexOf(offset: number): number {
    return lowerBound(this.batches, offset)
  }

  /** Deletes the records before `offset`, as retention does: whole batches only, but no reader gets what is before. */
  truncate(offset: number): void {
    this.start = Math.max(this.start, Math.min(offset, this.end))
    this.batches.splice(0, this.indexOf(this.start))
    this.aborted = this.aborted.slice(lowerBound(this.aborted, this.start))
    this.changed()
  }

  /** How many elections there were. */
  get leaderEpoch(): number {
    return this.elections.at(-1)?.epoch ?? UNKNOWN_EPOCH
  }

  /**
   * As a broker tells it: where the log parts from what was fetched up to `offset`, whose last record was written in the time of a leader
   * epoch. 'unknown': it has never had that epoch.
   */
  divergence(offset: number, epoch: number): Divergence | 'unknown' | undefined {
    if (epoch === UNKNOWN_EPOCH) return undefined
    const later = this.elections.findIndex((election) => election.epoch > epoch)
    const last = later < 0 ? this.elections.at(-1) : this.elections[later - 1]
    if (later < 0 && last?.epoch !== epoch) return 'unknown'
    const endOffset = later < 0 ? this.end : (this.elections[later]?.start as number)
    const found = last?.epoch ?? epoch
    return found < epoch || endOffset < offset ? { epoch: found, endOffset } : undefined
  }

  /**
   * Elects a leader that has only what lies before `offset`, in whole batches. As with a broker, a transaction whose marker is cut off stays
   * open, and producers begin anew.
   */
  elect(offset: number): void {
    const at = this.indexOf(offset)
    this.end = this.batches[at]?.baseOffset ?? this.end
    this.batches.length = Math.min(at, this.batches.length)
    this.aborted = this.aborted.filter(({ lastOffset }) => lastOffset < this.end)
    this.open.clear()
    for (const { bytes, baseOffset } of this.batches) {
      const attributes = bytes.readInt16BE(AT.attributes)
      const producerId = bytes.readBigInt64BE(AT.producerId)
      if ((attributes & CONTROL) !== 0) this.open.delete(producerId)
      else if ((attributes & TRANSACTIONAL) !== 0 && !this.open.has(producerId)) this.open.set(producerId, baseOffset)
    }
    this.sequences.restart()
    const { epoch } = this.elections.at(-1) as { epoch: number }
    this.elections = [...this.elections.filter(({ start }) => start < this.end), { epoch: epoch + 1, start: this.end }]
    this.changed()
  }

  /** Calls `watcher` after every change. Returns how to stop that. */
  watch(watcher: () => void): () => void {
    this.watchers.add(watcher)
    return () => this.watchers.delete(watcher)
  }

  changed(): void {
    for (const watcher of this.watchers) watcher()
  }

  private write(stamped: Buffer): void {
    // The log owns its bytes: the sender may use its buffer again. Not of the pool, all of whose 8 kB would stay with each batch.
    const bytes = Buffer.allocUnsafeSlow(stamped.length)
    stamped.copy(bytes)
    const baseOffset = this.end
    writeInt64(bytes, AT.baseOffset, baseOffset)
    bytes.writeInt32BE(this.leaderEpoch, AT.leaderEpoch)
    const lastOffset = baseOffset + bytes.readInt32BE(AT.lastOffsetDelta)
    this.batches.push({ bytes, baseOffset, lastOffset, maxTimestamp: readInt64(bytes, AT.maxTimestamp) })
    this.end = lastOffset + 1
    this.changed()
  }
}

/** Index of the first that ends at or after `offset`. */
function lowerBound(sorted: readonly { readonly lastOffset: number }[], offset: number): number {
  let low = 0
  let high = sorted.length
  while (low < high) {
    const middle = (low + high) >> 1
    if ((sorted[middle] as { readonly lastOffset: number }).lastOffset < offset) low = middle + 1
    else high = middle
  }
  return low
}

import { CommittedFilter, type AbortedTransaction } from '../log/batch/committed.js'
import { AT, CONTROL, TRANSACTIONAL, batchCrc, writeInt64, LENGTH_OVERHEAD } from '../log/batch/header.js'
import { viewBatch, type BatchView } from '../log/batch/read.js'
import { writeVarint } from '../record/varint.js'

interface Aborted extends AbortedTransaction {
  readonly lastOffset: number
}

/** One partition's log: batches as bytes, with their offsets written in, and the transactions over them. */
export class PartitionLog {
  readonly batches: BatchView[] = []
  start = 0
  end = 0
  private readonly open = new Map<bigint, number>()
  private readonly aborted: Aborted[] = []

  constructor(readonly name: string) {}

  /** End of what read_committed readers may see. */
  get stable(): number {
    let stable = this.end
    for (const first of this.open.values()) stable = Math.min(stable, first)
    return stable
  }

  append(stamped: Buffer): number {
    // The log owns its bytes: the sender may use its buffer again.
    const bytes = Buffer.from(stamped)
    writeInt64(bytes, AT.baseOffset, this.end)
    const view = viewBatch(bytes, 0, this.name) as BatchView
    if (view.transactional && !view.control && !this.open.has(view.producerId)) this.open.set(view.producerId, view.baseOffset)
    this.batches.push(view)
    const base = this.end
    this.end = view.lastOffset + 1
    return base
  }

  /** Ends the producer's transaction here with a marker, which takes an offset like a record. */
  mark(producerId: bigint, producerEpoch: number, commit: boolean, timestamp: number): void {
    const first = this.open.get(producerId)
    this.append(marker(producerId, producerEpoch, commit, timestamp))
    this.open.delete(producerId)
    if (!commit && first !== undefined) this.aborted.push({ producerId, firstOffset: first, lastOffset: this.end - 1 })
  }

  /** Where the batch that holds `offset`, or the next after it, stands. */
  indexOf(offset: number): number {
    let low = 0
    let high = this.batches.length
    while (low < high) {
      const middle = (low + high) >> 1
      if ((this.batches[middle] as BatchView).lastOffset < offset) low = middle + 1
      else high = middle
    }
    return low
  }

  filterFrom(offset: number): CommittedFilter {
    return new CommittedFilter(this.aborted.filter((transaction) => transaction.lastOffset >= offset))
  }

  offsetAt(timestamp: number): number {
    for (const batch of this.batches) if (!batch.control && batch.maxTimestamp >= timestamp) return batch.baseOffset
    return this.end
  }
}

function marker(producerId: bigint, producerEpoch: number, commit: boolean, timestamp: number): Buffer {
  const record = Buffer.alloc(32)
  let pos = 1
  record[pos++] = 0
  pos = writeVarint(record, pos, 0)
  pos = writeVarint(record, pos, 0)
  pos = writeVarint(record, pos, 4)
  pos = record.writeInt16BE(0, pos)
  pos = record.writeInt16BE(commit ? 1 : 0, pos)
  pos = writeVarint(record, pos, 6)
  pos = record.writeInt16BE(0, pos)
  pos = record.writeInt32BE(0, pos)
  pos = writeVarint(record, pos, 0)
  writeVarint(record, 0, pos - 1)
  const bytes = Buffer.alloc(AT.records + pos)
  record.copy(bytes, AT.records, 0, pos)
  bytes.writeInt32BE(bytes.length - LENGTH_OVERHEAD, AT.batchLength)
  bytes.writeInt8(2, AT.magic)
  bytes.writeInt16BE(TRANSACTIONAL | CONTROL, AT.attributes)
  writeInt64(bytes, AT.baseTimestamp, timestamp)
  writeInt64(bytes, AT.maxTimestamp, timestamp)
  bytes.writeBigInt64BE(producerId, AT.producerId)
  bytes.writeInt16BE(producerEpoch, AT.producerEpoch)
  bytes.writeInt32BE(-1, AT.baseSequence)
  bytes.writeInt32BE(1, AT.recordCount)
  bytes.writeUInt32BE(batchCrc(bytes), AT.crc)
  return bytes
}

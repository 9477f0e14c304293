import { codecByNumber } from '../log/batch/compression.js'
import { CommittedFilter } from '../log/batch/committed.js'
import { BatchReader, batchSource, viewBatch, withUncompressed, type BatchView } from '../log/batch/read.js'
import type { Headers } from '../record/headers.js'
import type { LogRecord } from '../record/record.js'
import { MAX_BATCH_BYTES } from '../log/fetch-queue.js'
import { embeddedCodecs } from './codecs.js'
import type { PartitionLog } from './partition.js'

/** One record of a topic, as a plain object. */
export interface StoredRecord {
  readonly partition: number
  readonly offset: number
  readonly timestamp: number
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers: Headers
}

/** All that a reader would see of a partition now. */
export async function storedRecords(log: PartitionLog, topic: string, partition: number, readCommitted: boolean): Promise<StoredRecord[]> {
  const { start } = log
  const { batches, aborted } = log.fetch(start, readCommitted ? log.stable : log.end, Number.POSITIVE_INFINITY)
  const filter = new CommittedFilter(readCommitted ? aborted : [])
  const found: StoredRecord[] = []
  for (const bytes of batches) {
    const batch = viewBatch(bytes, 0, log.name) as BatchView
    if (!filter.isVisible(batch)) continue
    for (const record of await readBatch(batch, topic, partition, start)) {
      const { offset, timestamp, key, value, headers } = record
      found.push({ partition, offset, timestamp, key, value, headers })
    }
  }
  return found
}

/** Offset of the first record at or after a time; the high watermark where there is none. */
export async function offsetAt(log: PartitionLog, topic: string, partition: number, timestamp: number): Promise<number> {
  for (const { bytes, maxTimestamp } of log.batches.slice(log.indexOf(log.start))) {
    if (maxTimestamp < timestamp) continue
    const batch = viewBatch(bytes, 0, log.name) as BatchView
    if (batch.control) continue
    const found = (await readBatch(batch, topic, partition, log.start)).find((record) => record.timestamp >= timestamp)
    if (found !== undefined) return found.offset
  }
  return log.end
}

async function readBatch(
  batch: BatchView,
  topic: string,
  partition: number,
  fromOffset: number,
): Promise<LogRecord<Buffer | null, Buffer | null>[]> {
  const plain =
    batch.compression === 0
      ? batch
      : withUncompressed(
          batch,
          await codecByNumber(batch.compression, embeddedCodecs).decompress(batch.bytes.subarray(batch.records), MAX_BATCH_BYTES),
          `${topic}/${partition}`,
        )
  const reader = new BatchReader(plain, batchSource(topic, partition, plain), fromOffset)
  const records: LogRecord<Buffer | null, Buffer | null>[] = []
  for (let record = reader.next(-1); record !== undefined; record = reader.next(-1)) records.push(record)
  return records
}

import { MillraceError } from '../../record/error.js'
import { RecordSource } from '../../record/record-source.js'
import { LogRecord, RAW_ALL } from '../../record/record.js'
import { cursor, readExactVarlong, readVarint, readVarlong } from '../../record/varint.js'
import {
  AT,
  COMPRESSION_MASK,
  CONTROL,
  LENGTH_OVERHEAD,
  LOG_APPEND_TIME,
  TRANSACTIONAL,
  batchCrc,
  readInt64,
  readOffset,
  toInt64,
} from './header.js'

/** What the header of one batch says. The records stay bytes until `BatchReader` walks them. */
export interface BatchView {
  /** The whole batch, header included; `records` is where its uncompressed records start. */
  readonly bytes: Buffer
  readonly records: number
  readonly baseOffset: number
  readonly lastOffset: number
  readonly count: number
  readonly baseTimestamp: number
  /** The same, where a number cannot hold it exactly. */
  readonly exactBaseTimestamp: bigint | undefined
  readonly maxTimestamp: number
  readonly logAppendTime: boolean
  readonly compression: number
  readonly transactional: boolean
  readonly control: boolean
  readonly producerId: bigint
  readonly producerEpoch: number
  /** In which election's time it was written. */
  readonly leaderEpoch: number
}

/**
 * Reads the header of the batch at `at` and checks its CRC.
 *
 * Returns undefined where the rest of the batch is missing: a broker cuts the last one of a fetch wherever the size limit falls.
 *
 * @throws MillraceError CORRUPT_BATCH, UNSUPPORTED_FORMAT (magic 0 and 1), UNSAFE_INTEGER (an offset)
 */
export function viewBatch(source: Buffer, at: number, where: string): BatchView | undefined {
  // Messages of the formats before may be shorter than the header of a batch.
  if (source.length - at <= AT.magic) return undefined
  const magic = source.readInt8(at + AT.magic)
  if (magic !== 2) {
    throw new MillraceError(
      'UNSUPPORTED_FORMAT',
      `${where}: record format ${magic} is older than Kafka 0.11; only format 2 is read. Rewrite the topic with a current message format`,
    )
  }
  if (source.length - at < AT.records) return undefined
  const length = lengthAt(source, at)
  if (length < AT.records) {
    throw new MillraceError(
      'CORRUPT_BATCH',
      `${where}: a batch says that it is ${length} bytes long, less than its header: it was damaged on disk or on the way`,
      { retryable: true },
    )
  }
  if (source.length - at < length) return undefined
  const bytes = source.subarray(at, at + length)
  const baseOffset = readOffset(bytes, AT.baseOffset)
  if (batchCrc(bytes) !== bytes.readUInt32BE(AT.crc)) {
    throw new MillraceError(
      'CORRUPT_BATCH',
      `${where}: the batch at offset ${baseOffset} fails its CRC: it was damaged on disk or on the way`,
      { retryable: true },
    )
  }
  const attributes = bytes.readInt16BE(AT.attributes)
  const lastOffsetDelta = bytes.readInt32BE(AT.lastOffsetDelta)
  const count = bytes.readInt32BE(AT.recordCount)
  const compression = attributes & COMPRESSION_MASK
  if (count < 0 || lastOffsetDelta < 0 || count > lastOffsetDelta + 1)
    throw corrupt(where, baseOffset, `says that it holds ${count} records in ${lastOffsetDelta + 1} offsets`)
  if (compression === 0) checkRoom(where, baseOffset, count, length - AT.records)
  const baseTimestamp = readInt64(bytes, AT.baseTimestamp)
  return {
    bytes,
    records: AT.records,
    baseOffset,
    lastOffset: baseOffset + lastOffsetDelta,
    count,
    baseTimestamp,
    exactBaseTimestamp: Number.isSafeInteger(baseTimestamp) ? undefined : bytes.readBigInt64BE(AT.baseTimestamp),
    maxTimestamp: readInt64(bytes, AT.maxTimestamp),
    logAppendTime: (attributes & LOG_APPEND_TIME) !== 0,
    compression,
    transactional: (attributes & TRANSACTIONAL) !== 0,
    control: (attributes & CONTROL) !== 0,
    producerId: bytes.readBigInt64BE(AT.producerId),
    producerEpoch: bytes.readInt16BE(AT.producerEpoch),
    leaderEpoch: bytes.readInt32BE(AT.leaderEpoch),
  }
}

/** Length, attributes, both deltas, and three numbers for what is not there. */
const SMALLEST_RECORD_BYTES = 7

/** How long the batch at `at` says it is; 0 where too little of it is there to tell. */
export function lengthAt(source: Buffer, at: number): number {
  return source.length - at < AT.leaderEpoch ? 0 : source.readInt32BE(at + AT.batchLength) + LENGTH_OVERHEAD
}

/** Room is made for as many records as the header says. */
function checkRoom(where: string, baseOffset: number, count: number, bytes: number): void {
  if (count * SMALLEST_RECORD_BYTES > bytes) throw corrupt(where, baseOffset, `says that it holds ${count} records in ${bytes} bytes`)
}

function corrupt(where: string, baseOffset: number, what: string): MillraceError {
  return new MillraceError('CORRUPT_BATCH', `${where}: the batch at offset ${baseOffset} ${what}: whoever wrote it wrote it wrong`, {
    retryable: true,
  })
}

/** Which offsets a batch holds. */
export interface Extent {
  readonly firstOffset: number
  readonly lastOffset: number
}

/**
 * The offsets from `fromOffset` on of a batch that cannot be read, as far as its header is to be believed: within the log, which ends
 * before `end`, and not over what comes behind it. Undefined where that cannot be told.
 */
export function extentOf(source: Buffer, at: number, fromOffset: number, end: number): Extent | undefined {
  if (source.length - at <= AT.magic) return undefined
  const base = readInt64(source, at + AT.baseOffset)
  const next = at + LENGTH_OVERHEAD + source.readInt32BE(at + AT.batchLength)
  const current = source.readInt8(at + AT.magic) === 2
  if (next > source.length || next <= at + AT.magic || (current && source.length - at < AT.records)) return undefined
  const lastOffset = current ? base + source.readInt32BE(at + AT.lastOffsetDelta) : base
  const behind = source.length - next >= AT.batchLength ? readInt64(source, next) : end
  if (base < 0 || lastOffset < Math.max(base, fromOffset) || lastOffset >= Math.min(behind, end)) return undefined
  return { firstOffset: Math.max(base, fromOffset), lastOffset }
}

/** The batch over its uncompressed records, which stand alone in `records` without a header. @throws MillraceError CORRUPT_BATCH */
export function withUncompressed(view: BatchView, records: Buffer, where: string): BatchView {
  checkRoom(where, view.baseOffset, view.count, records.length)
  return { ...view, bytes: records, records: 0, compression: 0 }
}

/** Of a control batch: whether it aborts or commits the transaction of its producer. */
export function controlType(view: BatchView): 'abort' | 'commit' | 'other' {
  // The record's key is version int16, type int16.
  let pos = view.records
  readVarint(view.bytes, pos)
  pos = cursor.pos + 1
  readVarlong(view.bytes, pos)
  readVarint(view.bytes, cursor.pos)
  readVarint(view.bytes, cursor.pos)
  const type = view.bytes.readInt16BE(cursor.pos + 2)
  return type === 0 ? 'abort' : type === 1 ? 'commit' : 'other'
}

/** What the records of a batch share. */
export function batchSource(
  topic: string,
  partition: number,
  { bytes, transactional, producerId }: BatchView,
  marks?: Uint8Array,
): RecordSource {
  return new RecordSource({ topic, partition, bytes, marks, producerId: transactional ? producerId : undefined })
}

/**
 * Walks the records of one batch in order.
 *
 * A batch may start before the wanted offset (brokers return whole batches) and may have gaps (compaction).
 */
export class BatchReader {
  private pos: number
  private left: number

  constructor(
    private readonly view: BatchView,
    private readonly source: RecordSource,
    private readonly fromOffset: number,
  ) {
    this.pos = view.records
    this.left = view.count
  }

  /** The next record at or after the wanted offset, or undefined at the end. `seq` is the number it gets. */
  next(seq: number): LogRecord<Buffer | null, Buffer | null> | undefined {
    const { bytes, baseOffset, lastOffset, baseTimestamp, exactBaseTimestamp, logAppendTime } = this.view
    while (this.left > 0) {
      this.left--
      const length = readVarint(bytes, this.pos)
      const body = cursor.pos
      const end = body + length
      if (length < 0 || end > bytes.length) throw this.corrupt('runs past the end of the batch')
      this.pos = end
      const timestampDelta = readVarlong(bytes, body + 1)
      const offset = baseOffset + readVarint(bytes, cursor.pos)
      if (offset < this.fromOffset) continue
      const headAt = cursor.pos
      if (headAt > end || offset < baseOffset || offset > lastOffset) throw this.corrupt('is at an offset outside of it')
      const timestamp = logAppendTime
        ? this.view.maxTimestamp
        : exactBaseTimestamp === undefined
          ? toInt64(baseTimestamp + timestampDelta)
          : toInt64(Number(exactBaseTimestamp + readExactVarlong(bytes, body + 1)))
      return new LogRecord<Buffer | null, Buffer | null>(
        this.source,
        offset,
        timestamp,
        seq,
        headAt,
        end,
        RAW_ALL,
        undefined,
        undefined,
        undefined,
      )
    }
    return undefined
  }

  private corrupt(what: string): MillraceError {
    const { topic, partition } = this.source
    const { baseOffset } = this.view
    return new MillraceError('CORRUPT_BATCH', `${topic}/${partition}: a record of the batch at offset ${baseOffset} ${what}`, {
      retryable: true,
    })
  }
}

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
}

/**
 * Reads the header of the batch at `at` and checks its CRC.
 *
 * Returns undefined where the rest of the batch is missing: a broker cuts the last one of a fetch wherever the size limit falls.
 *
 * @throws MillraceError CORRUPT_BATCH, UNSUPPORTED_FORMAT (magic 0 and 1), UNSAFE_INTEGER (an offset)
 */
export function viewBatch(source: Buffer, at: number, where: string): BatchView | undefined {
  if (source.length - at < AT.records) return undefined
  const magic = source.readInt8(at + AT.magic)
  if (magic !== 2) {
    throw new MillraceError(
      'UNSUPPORTED_FORMAT',
      `${where}: record format ${magic} is older than Kafka 0.11; only format 2 is read. Rewrite the topic with a current message format`,
    )
  }
  const length = source.readInt32BE(at + AT.batchLength) + LENGTH_OVERHEAD
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
  const baseTimestamp = readInt64(bytes, AT.baseTimestamp)
  return {
    bytes,
    records: AT.records,
    baseOffset,
    lastOffset: baseOffset + bytes.readInt32BE(AT.lastOffsetDelta),
    count: bytes.readInt32BE(AT.recordCount),
    baseTimestamp,
    exactBaseTimestamp: Number.isSafeInteger(baseTimestamp) ? undefined : bytes.readBigInt64BE(AT.baseTimestamp),
    maxTimestamp: readInt64(bytes, AT.maxTimestamp),
    logAppendTime: (attributes & LOG_APPEND_TIME) !== 0,
    compression: attributes & COMPRESSION_MASK,
    transactional: (attributes & TRANSACTIONAL) !== 0,
    control: (attributes & CONTROL) !== 0,
    producerId: bytes.readBigInt64BE(AT.producerId),
    producerEpoch: bytes.readInt16BE(AT.producerEpoch),
  }
}

/** The batch over its uncompressed records, which stand alone in `records` without a header. */
export function withUncompressed(view: BatchView, records: Buffer): BatchView {
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
    const { bytes, baseOffset, baseTimestamp, exactBaseTimestamp, logAppendTime } = this.view
    while (this.left > 0) {
      this.left--
      const length = readVarint(bytes, this.pos)
      const body = cursor.pos
      const end = body + length
      if (length < 0 || end > bytes.length) {
        throw new MillraceError(
          'CORRUPT_BATCH',
          `${this.source.topic}/${this.source.partition}: a record of the batch at offset ${baseOffset} runs past its end`,
        )
      }
      this.pos = end
      const timestampDelta = readVarlong(bytes, body + 1)
      const offset = baseOffset + readVarint(bytes, cursor.pos)
      if (offset < this.fromOffset) continue
      const headAt = cursor.pos
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
}

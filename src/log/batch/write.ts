import { NO_HEADERS, encodeHeaders, type AddedHeaders, type HeadersInput } from '../../record/headers.js'
import { LogRecord, RAW_HEADERS } from '../../record/record.js'
import { cursor, readVarint, skipSection, varintSize, varlongSize, writeVarint, writeVarlong } from '../../record/varint.js'
import { batchBuffers } from './buffers.js'
import { AT, LENGTH_OVERHEAD, TRANSACTIONAL, batchCrc, writeInt64 } from './header.js'

/** One finished batch, its header still without producer, sequence and CRC: `stampBatch` writes those. */
export interface OutputBatch {
  readonly topic: string
  readonly partition: number
  /** Header space and records, uncompressed. */
  readonly bytes: Buffer
  readonly count: number
}

/** What a key or value may be when it reaches a batch. */
export type Encoded = Uint8Array | string | null

const NO_BUFFER = Buffer.alloc(0)
const FIRST_CAPACITY = 8 * 1024
/** Most a record can take beyond key, value and headers: six varints, one of them a long, and the attributes. */
const RECORD_OVERHEAD = 40
/** Small enough that a byte loop beats a call into native code. */
const LOOP_COPY_MAX = 24

/**
 * Encodes records of one output partition into batches, in one growing buffer a batch.
 *
 * Order: as appended. Memory: the batch under way plus the finished ones until `take`.
 */
export class BatchWriter {
  private buffer: Buffer = NO_BUFFER
  /** What the next buffer starts with: about as much as the last batches took. */
  private capacity = FIRST_CAPACITY
  private pos: number = AT.records
  /** Of the record under way: behind its length. */
  private bodyAt = 0
  private count = 0
  private baseTimestamp = 0
  private maxTimestamp = 0
  private finished: OutputBatch[] = []
  /** Bytes in finished and unfinished batches. */
  bytes = 0

  constructor(
    readonly topic: string,
    readonly partition: number,
    /** A batch is finished when it holds this many bytes; a single larger record gets a batch of its own. */
    private readonly batchBytes: number,
  ) {}

  /** Copies a record nobody changed: key, value and headers go over as one run of bytes. */
  appendRaw(record: LogRecord<unknown, unknown>): void {
    const { timestamp, start, end } = record
    const pos = this.begin(end - start, end - start, timestamp)
    this.finish(copyInto(this.buffer, pos, record.source.bytes, start, end))
  }

  /** A record of which only the value was replaced: key and headers go over as bytes. */
  appendValue(record: LogRecord<unknown, unknown>, value: Encoded): void {
    const { timestamp, start, end } = record
    const { bytes } = record.source
    const keyEnd = record.valueStart()
    const headersAt = skipSection(bytes, keyEnd)
    const copied = keyEnd - start + end - headersAt
    let pos = this.begin(copied + guessSection(value), copied + boundOf(value), timestamp)
    pos = copyInto(this.buffer, pos, bytes, start, keyEnd)
    pos = writeSection(this.buffer, pos, value)
    this.finishGuessed(copyInto(this.buffer, pos, bytes, headersAt, end))
  }

  /** A record as it was read, with headers put behind its own. */
  appendAdding(record: LogRecord<unknown, unknown>, added: AddedHeaders, timestamp: number): void {
    const { start, end } = record
    const { bytes } = record.source
    const headersAt = record.headersStart()
    const count = readVarint(bytes, headersAt) + added.count
    const firstAt = cursor.pos
    const size = sizeAdding(record, added)
    let pos = this.begin(size, size, timestamp)
    pos = copyInto(this.buffer, pos, bytes, start, headersAt)
    pos = copyInto(this.buffer, writeVarint(this.buffer, pos, count), bytes, firstAt, end)
    this.finish(pos + this.buffer.write(added.text, pos, 'latin1'))
  }

  /** `headers` is a map, or the record whose untouched header bytes are copied, or such bytes. */
  append(key: Encoded, value: Encoded, headers: HeadersInput | LogRecord<unknown, unknown> | Buffer, timestamp: number): void {
    const headerBytes = headerSection(headers)
    const size = headerBytes.length
    let pos = this.begin(guessSection(key) + guessSection(value) + size, boundOf(key) + boundOf(value) + size, timestamp)
    pos = writeSection(this.buffer, pos, key)
    pos = writeSection(this.buffer, pos, value)
    this.finishGuessed(copyInto(this.buffer, pos, headerBytes, 0, size))
  }

  /** Takes the finished batches; with `all`, the one under way too. */
  take(all: boolean): OutputBatch[] {
    if (all) this.close()
    const taken = this.finished
    this.finished = []
    for (const batch of taken) this.bytes -= batch.bytes.length
    return taken
  }

  get finishedCount(): number {
    return this.finished.length
  }

  /**
   * Writes what comes before the key, the length as that of a `guess` of key, value and headers, and makes room for `bound`. Returns where
   * the key goes.
   */
  private begin(guess: number, bound: number, timestamp: number): number {
    const needed = bound + RECORD_OVERHEAD
    // A time is stored as its distance from the first: beside one in nanoseconds, one in milliseconds would not keep what it is.
    const distance = Math.abs(timestamp - this.baseTimestamp)
    if (this.count > 0 && (this.pos + needed > this.batchBytes || distance > Number.MAX_SAFE_INTEGER)) this.close()
    if (this.pos + needed > this.buffer.length) {
      const larger = batchBuffers.take(Math.max(this.buffer.length * 2, this.capacity, this.pos + needed))
      this.buffer.copy(larger, 0, 0, this.pos)
      this.buffer = larger
    }
    if (this.count === 0) {
      this.baseTimestamp = timestamp
      this.maxTimestamp = timestamp
      this.bytes += this.pos
    } else if (timestamp > this.maxTimestamp) {
      this.maxTimestamp = timestamp
    }
    const { buffer } = this
    const delta = timestamp - this.baseTimestamp
    this.bodyAt = writeVarint(buffer, this.pos, 1 + varlongSize(delta) + varintSize(this.count) + guess)
    buffer[this.bodyAt] = 0
    return writeVarint(buffer, writeVarlong(buffer, this.bodyAt + 1, delta), this.count)
  }

  /**
   * The length comes first and depends on how long the text gets as UTF-8. Mostly text is ASCII: that is guessed, and the record moved
   * where it is wrong.
   */
  private finishGuessed(end: number): void {
    const length = end - this.bodyAt
    const shift = this.pos + varintSize(length) - this.bodyAt
    if (shift !== 0) this.buffer.copyWithin(this.bodyAt + shift, this.bodyAt, end)
    writeVarint(this.buffer, this.pos, length)
    this.finish(end + shift)
  }

  private finish(pos: number): void {
    this.bytes += pos - this.pos
    this.pos = pos
    this.count++
  }

  private close(): void {
    if (this.count === 0) return
    const bytes = this.buffer.subarray(0, this.pos)
    writeInt64(bytes, AT.baseOffset, 0)
    bytes.writeInt32BE(this.pos - LENGTH_OVERHEAD, AT.batchLength)
    bytes.writeInt32BE(-1, AT.leaderEpoch)
    bytes.writeInt8(2, AT.magic)
    bytes.writeInt32BE(this.count - 1, AT.lastOffsetDelta)
    writeInt64(bytes, AT.baseTimestamp, this.baseTimestamp)
    writeInt64(bytes, AT.maxTimestamp, this.maxTimestamp)
    bytes.writeInt32BE(this.count, AT.recordCount)
    this.finished.push({ topic: this.topic, partition: this.partition, bytes, count: this.count })
    // The last batch of a transaction is mostly a small one.
    this.capacity = Math.max(this.pos, this.capacity >> 1)
    this.buffer = NO_BUFFER
    this.pos = AT.records
    this.count = 0
  }
}

/** Size of a batch that holds one record, uncompressed; `headerBytes` is the length of its header section. */
export function singleBatchSize(key: Uint8Array | null, value: Uint8Array | null, headerBytes: number): number {
  return batchSizeOf(guessSection(key) + guessSection(value) + headerBytes)
}

/** The same of a record as it was read, with headers put behind its own. */
export function singleBatchSizeAdding(record: LogRecord<unknown, unknown>, added: AddedHeaders): number {
  return batchSizeOf(sizeAdding(record, added))
}

function batchSizeOf(size: number): number {
  // Attributes and two deltas of zero.
  const body = 3 + size
  return AT.records + varintSize(body) + body
}

/** Bytes that key, value and headers take. */
function sizeAdding(record: LogRecord<unknown, unknown>, { count, text }: AddedHeaders): number {
  const { start, end } = record
  const headersAt = record.headersStart()
  const before = readVarint(record.source.bytes, headersAt)
  // Not by its size: whoever wrote the record may have spent more bytes on the number than it needs.
  return headersAt - start + varintSize(before + count) + end - cursor.pos + text.length
}

export interface BatchStamp {
  readonly producerId: bigint
  readonly producerEpoch: number
  readonly baseSequence: number
  readonly transactional: boolean
  /** Codec number of `compressed`; 0 for none. */
  readonly compression: number
  /** The compressed records that replace the plain ones. */
  readonly compressed?: Uint8Array
}

/** Completes the header and returns the bytes to send; they must be sent unchanged on every retry. */
export function stampBatch(batch: OutputBatch, stamp: BatchStamp): Buffer {
  let bytes = batch.bytes
  if (stamp.compressed !== undefined) {
    bytes = Buffer.allocUnsafe(AT.records + stamp.compressed.length)
    batch.bytes.copy(bytes, 0, 0, AT.records)
    bytes.set(stamp.compressed, AT.records)
    bytes.writeInt32BE(bytes.length - LENGTH_OVERHEAD, AT.batchLength)
  }
  bytes.writeInt16BE(stamp.compression | (stamp.transactional ? TRANSACTIONAL : 0), AT.attributes)
  bytes.writeBigInt64BE(stamp.producerId, AT.producerId)
  bytes.writeInt16BE(stamp.producerEpoch, AT.producerEpoch)
  bytes.writeInt32BE(stamp.baseSequence, AT.baseSequence)
  bytes.writeUInt32BE(batchCrc(bytes), AT.crc)
  return bytes
}

const EMPTY_HEADERS = Buffer.from([0])

function headerSection(headers: HeadersInput | LogRecord<unknown, unknown> | Buffer): Buffer {
  if (Buffer.isBuffer(headers)) return headers
  if (headers === NO_HEADERS) return EMPTY_HEADERS
  if (headers instanceof LogRecord) {
    if (headers.raw & RAW_HEADERS) {
      const start = headers.headersStart()
      return headers.end - start === EMPTY_HEADERS.length ? EMPTY_HEADERS : headers.source.bytes.subarray(start, headers.end)
    }
    return headers.headers === NO_HEADERS ? EMPTY_HEADERS : encodeHeaders(headers.headers)
  }
  return encodeHeaders(headers)
}

/** No UTF-16 code unit takes more than three bytes of UTF-8. */
function boundOf(part: Encoded): number {
  return part === null ? 0 : typeof part === 'string' ? part.length * 3 : part.length
}

function guessSection(part: Encoded): number {
  return part === null ? 1 : varintSize(part.length) + part.length
}

function writeSection(buffer: Buffer, start: number, part: Encoded): number {
  if (part === null) return writeVarint(buffer, start, -1)
  if (typeof part !== 'string') return copyInto(buffer, writeVarint(buffer, start, part.length), part, 0, part.length)
  const guessed = varintSize(part.length)
  const size = buffer.write(part, start + guessed, 'utf8')
  const shift = varintSize(size) - guessed
  if (shift !== 0) buffer.copyWithin(start + guessed + shift, start + guessed, start + guessed + size)
  return writeVarint(buffer, start, size) + size
}

function copyInto(target: Buffer, at: number, source: Uint8Array, start: number, end: number): number {
  const size = end - start
  if (size <= LOOP_COPY_MAX) {
    for (let i = 0; i < size; i++) target[at + i] = source[start + i] as number
  } else {
    // Cheaper than a Buffer of it.
    target.set(new Uint8Array(source.buffer, source.byteOffset + start, size), at)
  }
  return at + size
}

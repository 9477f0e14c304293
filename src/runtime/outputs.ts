import { BATCH_BYTES } from '../log/batch/buffers.js'
import { BatchWriter, singleBatchSize, singleBatchSizeAdding, type Encoded, type OutputBatch } from '../log/batch/write.js'
import { partitionOfKey } from '../log/partitioner.js'
import { MillraceError } from '../record/error.js'
import type { AddedHeaders, HeadersInput } from '../record/headers.js'
import type { LogRecord } from '../record/record.js'
import { cursor, readVarint } from '../record/varint.js'
import type { TopicInfo } from '../log/port.js'

/** What a broker takes that does not say what it takes. */
const DEFAULT_MAX_MESSAGE_BYTES = 1_048_588
/** Header of a batch and the varints of its one record. */
const SINGLE_RECORD_OVERHEAD = 128

/** Where the outputs of a transaction for one topic gather, encoded, until they are sent. */
export class TopicOutput {
  private readonly writers: (BatchWriter | undefined)[]
  /** Those that hold something: of thousands of partitions a transaction may write to one. */
  private readonly filled = new Set<BatchWriter>()
  private readonly limit: number
  private readonly largest: number
  private readonly batchBytes: number
  private turn = 0
  records = 0

  constructor(
    readonly topic: string,
    public partitions: number,
    maxMessageBytes: number | undefined,
    /** Compressed batches get smaller than what is counted here; only the broker can judge their size. */
    checkSize: boolean,
    /** Changelogs: what goes there is no output of the pipeline. */
    readonly internal = false,
  ) {
    this.limit = maxMessageBytes ?? DEFAULT_MAX_MESSAGE_BYTES
    this.largest = checkSize && maxMessageBytes !== undefined ? this.limit : Number.POSITIVE_INFINITY
    this.batchBytes = Math.min(BATCH_BYTES, this.limit)
    this.writers = new Array<BatchWriter | undefined>(partitions).fill(undefined)
  }

  /** A record nobody changed goes over as one run of bytes. */
  appendRaw(record: LogRecord<unknown, unknown>, partition: number): void {
    this.checkFits(record.end - record.start, record)
    this.records++
    this.writer(partition).appendRaw(record)
  }

  /** A record whose key and headers nobody changed. */
  appendValue(record: LogRecord<unknown, unknown>, partition: number, value: Encoded): void {
    // With the old value in place of the new one's bytes this is too much at most.
    const size = record.end - record.start + (value?.length ?? 0)
    if (size + SINGLE_RECORD_OVERHEAD > this.largest) return this.append(record, partition, record.key as Encoded, value, undefined)
    this.records++
    this.writer(partition).appendValue(record, value)
  }

  append(
    record: LogRecord<unknown, unknown>,
    partition: number,
    key: Encoded,
    value: Encoded,
    headers: HeadersInput | Buffer | undefined,
  ): void {
    this.checkFits((key?.length ?? 0) + (value?.length ?? 0), record)
    this.records++
    this.writer(partition).append(key, value, headers ?? record, record.timestamp)
  }

  /** One change of a store. `headers` is a finished header section. */
  appendChange(partition: number, key: Uint8Array, value: Encoded, headers: Buffer, timestamp: number): void {
    const size = key.length + (value?.length ?? 0)
    if (size + SINGLE_RECORD_OVERHEAD > this.largest) {
      throw new MillraceError(
        'RECORD_TOO_LARGE',
        `the state of one key (${Buffer.from(key).toString('latin1')}) takes ${size} bytes, more than its changelog '${this.topic}' takes (max.message.bytes=${this.largest}): raise the topic's limit, or keep less a key`,
      )
    }
    this.writer(partition).append(key, value, headers, timestamp)
  }

  /** A record with a finished header section, checked to the byte. */
  appendWhole(
    record: LogRecord<unknown, unknown>,
    partition: number,
    key: Uint8Array | null,
    value: Uint8Array | null,
    headers: Buffer,
    timestamp = record.timestamp,
  ): void {
    const size = singleBatchSize(key, value, headers.length)
    if (size > this.largest) throw this.tooLarge(size, record)
    this.records++
    this.writer(partition).append(key, value, headers, timestamp)
  }

  /** Bytes that such a record has too many for the topic, as far as it is known what it takes; compression is not foreseen. */
  excessBytes(_record: LogRecord<unknown, unknown>, key: Uint8Array | null, value: Uint8Array | null, headers: Buffer): number {
    return singleBatchSize(key, value, headers.length) - this.limit
  }

  /** A record as it was read, with headers put behind its own, checked to the byte. */
  appendAdding(record: LogRecord<unknown, unknown>, partition: number, added: AddedHeaders, timestamp: number): void {
    const size = singleBatchSizeAdding(record, added)
    if (size > this.largest) throw this.tooLarge(size, record)
    this.records++
    this.writer(partition).appendAdding(record, added, timestamp)
  }

  /** As `excessBytes`. */
  excessBytesAdding(record: LogRecord<unknown, unknown>, added: AddedHeaders): number {
    return singleBatchSizeAdding(record, added) - this.limit
  }

  /** Kafka's default for a key; the record's own partition, modulo, without one: that keeps its order. */
  partitionOf(record: LogRecord<unknown, unknown>, key: Encoded): number {
    if (key === null) return record.source.partition >= 0 ? record.source.partition % this.partitions : this.turn++ % this.partitions
    const bytes = typeof key === 'string' ? Buffer.from(key, 'utf8') : key
    return partitionOfKey(bytes, 0, bytes.length, this.partitions)
  }

  /** `partitionOf` for a record whose key is still in its batch: no buffer is made for it. */
  partitionOfRaw(record: LogRecord<unknown, unknown>): number {
    const bytes = record.source.bytes
    const length = readVarint(bytes, record.start)
    if (length < 0) return this.partitionOf(record, null)
    return partitionOfKey(bytes, cursor.pos, cursor.pos + length, this.partitions)
  }

  get bytes(): number {
    let bytes = 0
    for (const writer of this.filled) bytes += writer.bytes
    return bytes
  }

  take(all: boolean, into: OutputBatch[]): void {
    for (const writer of this.filled) {
      if (writer.bytes > 0) for (const batch of writer.take(all)) into.push(batch)
      if (writer.bytes === 0) this.filled.delete(writer)
    }
  }

  /** The writer of a partition, about to be written with. */
  private writer(partition: number): BatchWriter {
    const writer = this.writers[partition] ?? this.newWriter(partition)
    if (writer.bytes === 0) this.filled.add(writer)
    return writer
  }

  private newWriter(partition: number): BatchWriter {
    if (!Number.isInteger(partition) || partition < 0 || partition >= this.partitions) {
      throw new MillraceError(
        'ENCODE_FAILED',
        `toTopic '${this.topic}': partition ${String(partition)} does not exist, the topic has ${this.partitions}`,
      )
    }
    return (this.writers[partition] = new BatchWriter(this.topic, partition, this.batchBytes))
  }

  /** Whether a record of that size is taken for one that fits; of what will be compressed nobody can tell. */
  protected fits(size: number): boolean {
    return size + SINGLE_RECORD_OVERHEAD <= this.largest
  }

  private checkFits(size: number, record: LogRecord<unknown, unknown>): void {
    if (!this.fits(size)) throw this.tooLarge(size, record)
  }

  private tooLarge(size: number, record: LogRecord<unknown, unknown>): MillraceError {
    return new MillraceError(
      'RECORD_TOO_LARGE',
      `a record of ${size} bytes for '${this.topic}'${record.offset < 0 ? '' : `, made from ${record.id},`} is larger than the topic takes (max.message.bytes=${this.largest}): raise the topic's limit, make the record smaller, or set compression`,
      record.offset < 0 ? {} : { origin: record.origin },
    )
  }
}

export type MakeOutput = (info: TopicInfo, checkSize: boolean) => TopicOutput

const plainOutput: MakeOutput = ({ topic, partitions, maxMessageBytes }, checkSize) =>
  new TopicOutput(topic, partitions, maxMessageBytes, checkSize)

/** All outputs of one transaction. */
export class Outputs {
  private readonly topics = new Map<string, TopicOutput>()

  constructor(infos: Iterable<TopicInfo>, checkSize: boolean, changelogs: readonly TopicInfo[] = [], make: MakeOutput = plainOutput) {
    for (const info of infos) this.topics.set(info.topic, make(info, checkSize))
    for (const info of changelogs)
      this.topics.set(info.topic, new TopicOutput(info.topic, info.partitions, info.maxMessageBytes, checkSize, true))
  }

  topic(name: string): TopicOutput | undefined {
    return this.topics.get(name)
  }

  /** Partitions were added to topics, or taken away with the topic created anew: what is written from here on goes by the new count. */
  resize(infos: Iterable<TopicInfo>): void {
    for (const { topic, partitions } of infos) {
      const output = this.topics.get(topic)
      if (output !== undefined) output.partitions = partitions
    }
  }

  get bytes(): number {
    let bytes = 0
    for (const topic of this.topics.values()) bytes += topic.bytes
    return bytes
  }

  get records(): number {
    let records = 0
    for (const topic of this.topics.values()) if (!topic.internal) records += topic.records
    return records
  }

  /** Records of the transaction by topic, of those that have any; changelogs left out. */
  byTopic(): [topic: string, records: number][] {
    const found: [string, number][] = []
    for (const { topic, records, internal } of this.topics.values()) if (!internal && records > 0) found.push([topic, records])
    return found
  }

  /** Takes finished batches; with `all`, the unfinished ones too. */
  take(all: boolean): OutputBatch[] {
    const taken: OutputBatch[] = []
    for (const topic of this.topics.values()) topic.take(all, taken)
    return taken
  }

  /** Forgets what was not taken and starts counting anew. */
  reset(): void {
    this.take(true)
    for (const topic of this.topics.values()) topic.records = 0
  }
}

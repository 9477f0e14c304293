import { z } from 'zod'
import type { Encoded } from '../../log/batch/write.js'
import type { CompressionName } from '../../log/batch/compression.js'
import type { Duration } from '../../record/duration.js'
import type { HeadersInput } from '../../record/headers.js'
import type { AnySerde } from '../../record/serde.js'
import { duration, functionOption, objectWith, parseOptions, positiveInteger, timeLimit, topicName } from '../../runtime/options.js'

/** A record to write. */
export interface ProducerRecord<K = Encoded, V = Encoded> {
  /** Default: the producer's `topic`. */
  readonly topic?: string
  readonly key?: K | null
  /** null is a tombstone. */
  readonly value: V | null
  readonly headers?: HeadersInput
  /** Milliseconds since the epoch. Default: now. */
  readonly timestamp?: number
  /** Default: what `partitioner` says. */
  readonly partition?: number
}

/** Where a record stands in the log. */
export interface WrittenRecord {
  readonly topic: string
  readonly partition: number
  /** -1 where the broker took the record at an earlier try and no longer tells. */
  readonly offset: number
}

export interface ProducerOptions<K = Encoded, V = Encoded> {
  /** Topic of records that name none. */
  readonly topic?: string
  /** Serdes, which may answer later. Without one, keys and values are bytes, text or null. */
  readonly key?: Pick<AnySerde<K>, 'name' | 'encode'>
  readonly value?: Pick<AnySerde<V>, 'name' | 'encode'>
  /**
   * How long a batch waits for more records. Default 0: what is sent in one turn of the event loop goes together, and what comes while two
   * batches of the partition are on their way. Raise it for fewer, larger batches.
   */
  readonly linger?: Duration
  /** A batch is sent when it holds this many bytes. Default 1 MiB, or what the topic takes. */
  readonly batchBytes?: number
  /**
   * Bytes encoded and not acknowledged; what is sent beyond waits in order, and so do `sendBatch` and `ready`. One partition may have half
   * of it, so that one without a leader does not hold up the others. Default 32 MiB.
   */
  readonly maxInFlightBytes?: number
  /** Default 'none'. */
  readonly compression?: CompressionName
  /** Default: Kafka's hash of the key; without a key, the partitions in turn. */
  readonly partitioner?: (record: ProducerRecord<K, V>, partitions: number) => number
  /** How long a record is tried for before its promise rejects. Default '2m'. */
  readonly deliveryTimeout?: Duration
  /** Of `transaction`: another producer with the same id is fenced. Default: a new one for each producer. */
  readonly transactionalId?: string
  /** A transaction open for longer is aborted by the broker. Default '1m'. */
  readonly transactionTimeout?: Duration
  /** Closes the producer, as `close` does. */
  readonly signal?: AbortSignal
}

const encoder = objectWith<Pick<AnySerde<unknown>, 'name' | 'encode'>>(['encode'], 'a serde such as json()')

const schema = z.strictObject({
  topic: topicName.optional(),
  key: encoder.optional(),
  value: encoder.optional(),
  linger: duration.default(0),
  batchBytes: positiveInteger.default(1024 * 1024),
  maxInFlightBytes: positiveInteger.default(32 * 1024 * 1024),
  compression: z.enum(['none', 'gzip', 'snappy', 'lz4', 'zstd']).default('none'),
  partitioner: functionOption<(record: ProducerRecord<unknown, unknown>, partitions: number) => number>(
    'a function of the record and the number of partitions',
  ).optional(),
  deliveryTimeout: timeLimit.default(120_000),
  transactionalId: z.string().min(1).optional(),
  transactionTimeout: timeLimit.default(60_000),
  signal: z.custom<AbortSignal>((given) => given instanceof AbortSignal, { message: 'expected an AbortSignal' }).optional(),
})

export type ProducerSettings = z.output<typeof schema>

/** @throws MillraceError INVALID_OPTIONS */
export function producerSettings(options: unknown): ProducerSettings {
  return parseOptions(schema, options, 'producer')
}

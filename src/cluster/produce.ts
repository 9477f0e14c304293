import { z } from 'zod'
import type { Encoded } from '../log/batch/write.js'
import type { HeadersInput } from '../record/headers.js'
import { parseOptions, topicName } from '../runtime/options.js'
import { checkPlain } from './producer/encode.js'
import type { LogRecordProducer } from './producer/producer.js'

/** A record to produce: bytes, or text written as UTF-8; a null value is a tombstone. */
export interface ProduceRecord {
  readonly key?: Encoded
  readonly value: Encoded
  readonly headers?: HeadersInput
  /** Milliseconds since the epoch. Default: now. */
  readonly timestamp?: number
  /** Default: Kafka's hash of the key; without a key, the partitions in turn. */
  readonly partition?: number
}

export interface ProduceOptions {
  readonly topic: string
  readonly records: Iterable<ProduceRecord> | AsyncIterable<ProduceRecord>
  readonly compression?: 'none' | 'gzip' | 'snappy' | 'lz4' | 'zstd'
}

const schema = z.strictObject({
  topic: topicName,
  records: z.custom<ProduceOptions['records']>(
    (given) => typeof given === 'object' && given !== null && (Symbol.iterator in given || Symbol.asyncIterator in given),
    { message: 'expected an array or another iterable of { key, value, headers, timestamp, partition }' },
  ),
  compression: z.enum(['none', 'gzip', 'snappy', 'lz4', 'zstd']).default('none'),
})

/** @throws MillraceError INVALID_OPTIONS */
export function scriptSettings(options: ProduceOptions): z.output<typeof schema> {
  return parseOptions(schema, options, 'produce')
}

/** `cluster.produce`: a call of the producer that the cluster keeps for it. */
export async function produce(
  producer: Pick<LogRecordProducer<Encoded, Encoded>, 'writeAll'>,
  { topic, records }: z.output<typeof schema>,
): Promise<number> {
  // So that a mistake in an array has nothing written.
  if (Array.isArray(records)) records.forEach((given, number) => checkPlain(given, `produce: record ${number}`))
  return producer.writeAll('produce', records, { topic })
}

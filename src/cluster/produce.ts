import { z } from 'zod'
import type { Encoded } from '../log/batch/write.js'
import { parseOptions, topicName } from '../runtime/options.js'
import type { ProducerOptions, ProducerRecord } from './producer/options.js'
import type { LogRecordProducer } from './producer/producer.js'

/** A record to produce: bytes, or text written as UTF-8; a null value is a tombstone. */
export type ProduceRecord = Omit<ProducerRecord, 'topic'>

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

/** `cluster.produce`: a producer for one call. */
export async function produce(
  producerOf: (options: ProducerOptions) => LogRecordProducer<Encoded, Encoded>,
  options: ProduceOptions,
): Promise<number> {
  const { topic, records, compression } = parseOptions(schema, options, 'produce')
  const producer = producerOf({ topic, compression })
  try {
    return await producer.writeAll('produce', records)
  } finally {
    await producer.close()
  }
}

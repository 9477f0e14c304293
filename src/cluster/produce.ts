import { z } from 'zod'
import type { Encoded } from '../log/batch/write.js'
import type { LogClient } from '../log/port.js'
import type { Clock } from '../record/clock.js'
import { MillraceError } from '../record/error.js'
import type { HeadersInput } from '../record/headers.js'
import { type LogRecord, record as newRecord } from '../record/record.js'
import { Outputs } from '../runtime/outputs.js'
import { parseOptions, topicName } from '../runtime/options.js'
import { checkPlain } from './producer/encode.js'

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

/** Encoded and not yet acknowledged beyond this, the iterable waits. */
const WINDOW_BYTES = 8 * 1024 * 1024

/** `cluster.produce`: encodes into batches of a window, waits for each window to be acknowledged. */
export async function produce(log: LogClient, clock: Clock, options: ProduceOptions): Promise<number> {
  const { topic, records, compression } = parseOptions(schema, options, 'produce')
  const info = (await log.topics([topic])).get(topic)
  if (info === undefined)
    throw new MillraceError(
      'MISSING_TOPIC',
      `produce: topic '${topic}' does not exist. Create it first: cluster.createTopics([{ topic: '${topic}' }])`,
    )
  const producer = log.producer({ transactionalId: undefined, transactionTimeoutMs: 60_000, compression, trace: undefined })
  try {
    await producer.init()
    const outputs = new Outputs([info], compression === 'none')
    const output = outputs.topic(topic)
    if (output === undefined) return 0
    let number = 0
    for await (const given of records) {
      checkPlain(given, `produce: record ${number++}`)
      const { key = null, value, headers, timestamp = clock.now(), partition } = given
      const record = newRecord({ key, value, timestamp }) as LogRecord<Encoded, Encoded>
      output.append(record, partition ?? output.partitionOf(record, key), key, value, headers)
      if (outputs.bytes >= WINDOW_BYTES) await producer.send(outputs.take(true))
    }
    await producer.send(outputs.take(true))
    return outputs.records
  } finally {
    await producer.close()
  }
}

import { CompressionCodecs, CompressionTypes, Kafka, logLevel } from 'kafkajs'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import type { CompressionName } from '../../../src/log/batch/compression.js'
import type { LogClient } from '../../../src/log/port.js'
import { observe, type Observer } from '../../support/kafka/client.js'
import { registerCodecs } from '../../support/kafka/codecs.js'
import { until } from '../../support/until.js'
import { batchOf, client, drain, producer, readAll, uniqueName } from './support.js'

const values = Array.from({ length: 2_000 }, (_, i) => `value ${i % 17} ${i}`)
/** More than the block of any of the formats, in part not to be made smaller. */
const large = Array.from({ length: 40 }, (_, i) =>
  (i % 2 === 0 ? 'x' : Math.random().toString(36)).repeat(i % 2 === 0 ? 50_000 : 1),
).concat(Array.from({ length: 3_000 }, () => Array.from({ length: 10 }, () => Math.random().toString(36).slice(2)).join('')))

const TYPES = {
  gzip: CompressionTypes.GZIP,
  snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4,
  zstd: CompressionTypes.ZSTD,
} as const
const COMPRESSED = ['gzip', 'snappy', 'lz4', 'zstd'] satisfies CompressionName[]

describe('compression', () => {
  const brokers = inject('kafkaBrokers')
  let log: LogClient
  let other: Kafka
  let observer: Observer

  beforeAll(async () => {
    await registerCodecs()
    log = client(brokers)
    other = new Kafka({ brokers: [...brokers], logLevel: logLevel.NOTHING })
    observer = observe(brokers)
  })
  afterAll(async () => {
    await log.close()
    await observer.close()
  })

  const newTopic = async (compression: CompressionName, kept: string = 'producer'): Promise<string> => {
    const topic = uniqueName(compression)
    await log.createTopics([{ topic, partitions: 1, config: { 'compression.type': kept, 'max.message.bytes': '10000000' } }])
    return topic
  }

  it.each(['none', ...COMPRESSED] satisfies CompressionName[])(
    '%s: what is written here is read here, by kafkajs and by Java',
    async (compression) => {
      const topic = await newTopic(compression)
      const sender = await producer(log, uniqueName('tx'), { compression })
      await sender.send([batchOf(topic, 0, values.slice(0, 1_000)), batchOf(topic, 0, values.slice(1_000)), batchOf(topic, 0, large)])
      await sender.commit([], undefined)
      const written = [...values, ...large]
      expect(await readAll(log, topic, 0)).toEqual(written)
      expect(await readAll(log, topic, 0, { from: 1_500, prefetchBytes: 100 })).toEqual(written.slice(1_500))

      const seen: string[] = []
      const consumer = other.consumer({ groupId: uniqueName('group'), rebalanceTimeout: 5_000, maxBytesPerPartition: 10_000_000 })
      await consumer.connect()
      await consumer.subscribe({ topic, fromBeginning: true })
      await consumer.run({ eachBatch: async ({ batch }) => void seen.push(...batch.messages.map(({ value }) => String(value))) })
      await until(() => seen.length >= written.length, { what: 'kafkajs to read it all' })
      await consumer.disconnect()
      expect(seen).toEqual(written)
      expect((await observer.readAllJava(topic)).map(({ value }) => String(value))).toEqual(written)
    },
  )

  it.each(COMPRESSED)('%s: what kafkajs writes is read here', async (compression) => {
    const topic = await newTopic(compression)
    const sender = other.producer()
    await sender.connect()
    await sender.send({ topic, compression: TYPES[compression], messages: values.map((value) => ({ value })) })
    await sender.disconnect()
    expect(await readAll(log, topic, 0)).toEqual(values)
  })

  it.each(COMPRESSED)('%s: what the broker compresses is read here', async (compression) => {
    const topic = await newTopic(compression, compression)
    const sender = await producer(log, uniqueName('tx'))
    await sender.send([batchOf(topic, 0, values), batchOf(topic, 0, large)])
    await sender.commit([], undefined)
    expect(await readAll(log, topic, 0)).toEqual([...values, ...large])
    expect(await readAll(log, topic, 0, { from: 1_999, prefetchBytes: 1 })).toEqual([...values, ...large].slice(1_999))
  })

  const PACKAGES = { snappy: 'kafkajs-snappy', lz4: 'lz4-napi', zstd: 'fzstd' } as const

  it.each(['snappy', 'lz4', 'zstd'] as const)(
    '%s without a codec: both ways the error names the package; once registered, all goes on',
    async (compression) => {
      const topic = await newTopic(compression, compression)
      const plain = await producer(log, uniqueName('tx'))
      await plain.send([batchOf(topic, 0, values)])
      await plain.commit([], undefined)
      const missing = {
        code: 'UNSUPPORTED_FORMAT',
        message: expect.stringMatching(new RegExp(`${compression}.*npm install ${PACKAGES[compression]}`)),
      }
      const codec = CompressionCodecs[TYPES[compression]]
      delete CompressionCodecs[TYPES[compression]]
      const seen: string[] = []
      const errors: unknown[] = []
      const reader = log.reader({
        isolation: 'read_committed',
        prefetchBytes: 1_000,
        onData() {
          try {
            drain(reader, topic, 0, seen)
          } catch (error) {
            errors.push(error)
          }
        },
      })
      const sender = await producer(log, uniqueName('tx'), { compression })
      try {
        reader.assign([{ topic, partition: 0, offset: 0 }])
        await until(() => errors.length > 0)
        expect(errors[0]).toMatchObject({ ...missing, reaction: 'retry' })
        await expect(sender.send([batchOf(topic, 0, ['a'])])).rejects.toMatchObject({ ...missing, reaction: 'abort' })
      } finally {
        CompressionCodecs[TYPES[compression]] = codec
      }
      await sender.abort()
      await sender.send([batchOf(topic, 0, ['a'])])
      await sender.commit([], undefined)
      await until(() => seen.length > values.length)
      reader.close()
      expect(seen).toEqual([...values, 'a'])
    },
  )

  it('a codec that cannot be set up, or gives nonsense, is reported as what it is', async () => {
    const topic = await newTopic('zstd', 'zstd')
    const codec = CompressionCodecs[CompressionTypes.ZSTD]
    try {
      CompressionCodecs[CompressionTypes.ZSTD] = () => {
        throw new Error('no WebAssembly here')
      }
      const sender = await producer(log, uniqueName('tx'), { compression: 'zstd', transactionTimeoutMs: 2_000 })
      await expect(sender.send([batchOf(topic, 0, ['a'])])).rejects.toMatchObject({
        code: 'UNSUPPORTED_FORMAT',
        reaction: 'abort',
        message: expect.stringContaining('no WebAssembly here'),
      })
      await sender.abort()
      CompressionCodecs[CompressionTypes.ZSTD] = () => ({
        compress: async () => Buffer.from('nonsense'),
        decompress: async (buffer: Buffer) => buffer,
      })
      await expect(sender.send([batchOf(topic, 0, ['a'])])).rejects.toMatchObject({ reaction: 'abort' })
    } finally {
      CompressionCodecs[CompressionTypes.ZSTD] = codec
    }
  })
})

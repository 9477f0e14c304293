import { CompressionCodecs, CompressionTypes, Kafka, logLevel } from 'kafkajs'
// @ts-expect-error the package has no types
import kafkaJsSnappy from 'kafkajs-snappy'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import type { CompressionName } from '../../../src/log/batch/compression.js'
import type { LogClient } from '../../../src/log/port.js'
import { batchOf, client, producer, readAll, uniqueName } from './support.js'

const values = Array.from({ length: 2_000 }, (_, i) => `value ${i % 17} ${i}`)

/** LZ4 frames whose blocks are stored as they are: enough for a broker, which looks into what it is given. */
const storedLz4 = {
  async compress({ buffer }: { buffer: Buffer }): Promise<Buffer> {
    const parts: Buffer[] = [Buffer.from('04224d18604082', 'hex')]
    for (let at = 0; at < buffer.length; at += LZ4_BLOCK) {
      const block = buffer.subarray(at, at + LZ4_BLOCK)
      const size = Buffer.alloc(4)
      size.writeUInt32LE((block.length | 0x8000_0000) >>> 0)
      parts.push(size, block)
    }
    return Buffer.concat([...parts, Buffer.alloc(4)])
  },
  async decompress(buffer: Buffer): Promise<Buffer> {
    const blocks: Buffer[] = []
    for (let at = 7; ; ) {
      const size = buffer.readUInt32LE(at) & 0x7fff_ffff
      if (size === 0) return Buffer.concat(blocks)
      blocks.push(buffer.subarray(at + 4, at + 4 + size))
      at += 4 + size
    }
  },
}
const LZ4_BLOCK = 64 * 1024

describe('compression', () => {
  const brokers = inject('kafkaBrokers')
  let log: LogClient
  let other: Kafka

  beforeAll(() => {
    CompressionCodecs[CompressionTypes.Snappy] = kafkaJsSnappy
    CompressionCodecs[CompressionTypes.LZ4] = () => storedLz4
    log = client(brokers)
    other = new Kafka({ brokers: [...brokers], logLevel: logLevel.NOTHING })
  })
  afterAll(() => log.close())

  it.each(['none', 'gzip', 'snappy', 'lz4'] satisfies CompressionName[])('%s: what is written here is read here and by kafkajs', async (compression) => {
    const topic = uniqueName(compression)
    await log.createTopics([{ topic, partitions: 1 }])
    const sender = await producer(log, uniqueName('tx'), { compression })
    await sender.send([batchOf(topic, 0, values.slice(0, 1_000)), batchOf(topic, 0, values.slice(1_000))])
    await sender.commit([], undefined)
    expect(await readAll(log, topic, 0)).toEqual(values)
    expect(await readAll(log, topic, 0, { from: 1_500, prefetchBytes: 100 })).toEqual(values.slice(1_500))

    const seen: string[] = []
    const consumer = other.consumer({ groupId: uniqueName('group'), rebalanceTimeout: 5_000 })
    await consumer.connect()
    await consumer.subscribe({ topic, fromBeginning: true })
    await new Promise<void>((resolve, reject) => {
      consumer
        .run({
          eachBatch: async ({ batch }) => {
            for (const { value } of batch.messages) seen.push(String(value))
            if (seen.length >= values.length) resolve()
          },
        })
        .catch(reject)
    })
    await consumer.disconnect()
    expect(seen).toEqual(values)
  })

  it.each([CompressionTypes.GZIP, CompressionTypes.Snappy, CompressionTypes.LZ4])('%i: what kafkajs writes is read here', async (compression) => {
    const topic = uniqueName('from-kafkajs')
    await log.createTopics([{ topic, partitions: 1 }])
    const sender = other.producer()
    await sender.connect()
    await sender.send({ topic, compression, messages: values.map((value) => ({ value })) })
    await sender.disconnect()
    expect(await readAll(log, topic, 0)).toEqual(values)
  })

  it('names the package to install where a codec is missing', async () => {
    const topic = uniqueName('zstd')
    await log.createTopics([{ topic, partitions: 1 }])
    const sender = await producer(log, uniqueName('tx'), { compression: 'zstd' })
    await expect(sender.send([batchOf(topic, 0, ['a'])])).rejects.toMatchObject({ code: 'UNSUPPORTED_FORMAT', reaction: 'abort', message: expect.stringContaining('@kafkajs/zstd') })
  })
})

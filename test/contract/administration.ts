import { expect } from 'vitest'
import { BatchWriter, type OutputBatch } from '../../src/log/batch/write.js'
import type { LogClient, PartitionOffset } from '../../src/log/port.js'
import { NO_HEADERS } from '../../src/record/headers.js'
import { until } from '../support/until.js'
import type { ContractCase } from './case.js'
import { batchOf, newTopic, producer, readAll, uniqueName } from './support.js'

/** Topics, and where offsets stand. */
export const administration: readonly ContractCase[] = [
  {
    name: 'offsets: earliest, latest, stable, in the order asked',
    async run({ client }) {
      const topic = await newTopic(client, 3)
      const at = [2, 0, 1].map((partition) => ({ topic, partition }))
      expect(await client.offsets(at, 'earliest')).toEqual([0, 0, 0])
      expect(await client.offsets(at, 'latest')).toEqual([0, 0, 0])
      const plain = await producer(client, undefined)
      await plain.send([batchOf(topic, 0, ['a', 'b']), batchOf(topic, 1, ['c'])])
      const sender = await producer(client, uniqueName('tx'))
      await sender.send([batchOf(topic, 0, ['open'])])
      expect(await client.offsets(at, 'earliest')).toEqual([0, 0, 0])
      expect(await client.offsets(at, 'latest')).toEqual([0, 3, 1])
      expect(await client.offsets(at, 'stable')).toEqual([0, 2, 1])
      await sender.abort()
      await until(async () => (await client.offsets(at, 'stable')).join() === '0,4,1', { what: 'the abort marker' })
    },
  },
  {
    name: 'offsets by time: the first record at or after it, the high watermark after the last',
    async run({ client }) {
      const topic = await newTopic(client)
      const plain = await producer(client, undefined)
      const base = 1_700_000_000_000
      // Not in the order of time, within a batch and between batches.
      for (const times of [[10, 30, 20], [5, 40], [35]])
        await plain.send([
          timed(
            topic,
            times.map((time) => base + time),
          ),
        ])
      const found: number[] = []
      for (const time of [0, 10, 11, 30, 31, 40])
        found.push(...(await client.offsets([{ topic, partition: 0 }], { timestamp: base + time })))
      expect(found).toEqual([0, 0, 1, 1, 4, 4])
      expect(await client.offsets([{ topic, partition: 0 }], { timestamp: base + 41 })).toEqual([6])

      // A marker is no record anybody would want to start from, but it may be where the answer points.
      const sender = await producer(client, uniqueName('tx'))
      await sender.send([timed(topic, [base + 50])])
      await sender.commit([], undefined)
      expect(await client.offsets([{ topic, partition: 0 }], { timestamp: base + 50 })).toEqual([6])
      await until(async () => (await client.offsets([{ topic, partition: 0 }], 'stable'))[0] === 8, { what: 'the commit marker' })
      const [after = 0] = await client.offsets([{ topic, partition: 0 }], { timestamp: base + 51 })
      expect(await readAll(client, topic, 0, { from: after })).toEqual([])
    },
  },
  {
    name: 'reading where the log is not: OFFSET_OUT_OF_RANGE once, with the place; reading goes on elsewhere',
    async run({ client }) {
      const topic = await newTopic(client)
      await (await producer(client, undefined)).send([batchOf(topic, 0, ['a'])])
      const origin = { topic, partition: 0, offset: 99 }
      expect(await firstError(client, origin)).toMatchObject({
        code: 'OFFSET_OUT_OF_RANGE',
        origin,
        message: expect.stringContaining(`${topic}/0 at offset 99`) as string,
      })
      expect(await readAll(client, topic, 0)).toEqual(['a'])
    },
  },
  {
    name: 'topics that do not exist are left out; a topic that exists cannot be created',
    async run({ client, newClient }) {
      const [topic, missing] = [uniqueName('topic'), uniqueName('missing')]
      await client.createTopics([{ topic, partitions: 3, config: { 'max.message.bytes': '5000' } }])
      const found = await newClient().topics([missing, topic])
      expect([...found.keys()]).toEqual([topic])
      expect(found.get(topic)).toMatchObject({ topic, partitions: 3, maxMessageBytes: 5_000 })
      await expect(client.createTopics([{ topic, partitions: 3 }])).rejects.toMatchObject({ code: 'TOPIC_EXISTS' })
      await expect(client.createTopics([{ topic: 'not allowed!' }])).rejects.toMatchObject({ code: 'BROKER_REFUSED' })
      await expect(client.createTopics([{ topic: missing, config: { nonsense: '1' } }])).rejects.toMatchObject({ code: 'BROKER_REFUSED' })
      await client.deleteTopics([topic, missing])
      expect(await client.topics([topic, missing])).toEqual(new Map())
    },
  },
  {
    name: 'configuration that is only wished for is left out where it is not known; what is asked for is refused all the same',
    async run({ client }) {
      const [plain, wishful, wrong] = [uniqueName('plain'), uniqueName('wishful'), uniqueName('wrong')]
      const limits = { 'max.message.bytes': '5000' }
      await client.createTopics([
        { topic: plain, config: limits, ifKnown: { 'message.timestamp.after.max.ms': '9223372036854775807' } },
        { topic: wishful, config: limits, ifKnown: { nonsense: '1' } },
      ])
      const found = await client.topics([plain, wishful])
      expect([plain, wishful].map((topic) => found.get(topic)?.maxMessageBytes)).toEqual([5_000, 5_000])
      const refused = client.createTopics([{ topic: wrong, config: { nonsense: '1' }, ifKnown: { nonsense: '1' } }])
      await expect(refused).rejects.toMatchObject({ code: 'BROKER_REFUSED' })
      await client.deleteTopics([plain, wishful])
    },
  },
]

function timed(topic: string, times: readonly number[]): OutputBatch {
  const writer = new BatchWriter(topic, 0, 1024 * 1024)
  for (const time of times) writer.append(null, `at ${time}`, NO_HEADERS, time)
  return writer.take(true)[0] as OutputBatch
}

function firstError(client: LogClient, at: PartitionOffset): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const take = (): void => {
      try {
        if (reader.take(at.topic, at.partition) !== undefined) reject(new Error('there was something to take'))
      } catch (error) {
        reader.close()
        resolve(error)
      }
    }
    const reader = client.reader({ isolation: 'read_committed', prefetchBytes: 1_000, onData: take })
    reader.assign([at])
  })
}

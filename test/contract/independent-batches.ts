import { expect } from 'vitest'
import type { ContractCase } from './case.js'
import { batchOf, newTopic, readAll } from './support.js'

/** A producer whose batches have nothing to do with each other. */
export const independentBatches: readonly ContractCase[] = [
  {
    name: 'a producer of independent batches tells their offsets; one that is refused fails alone, and those behind it keep their order',
    async run({ client }) {
      const topic = await newTopic(client, 2, { 'max.message.bytes': '2000' })
      const producer = client.producer({
        transactionalId: undefined,
        transactionTimeoutMs: 60_000,
        compression: 'none',
        independent: true,
        deliveryTimeoutMs: 20_000,
      })
      await producer.init()
      expect(await producer.write(batchOf(topic, 0, ['a', 'b']))).toBe(0)
      const results = await Promise.allSettled([
        producer.write(batchOf(topic, 0, ['c'])),
        producer.write(batchOf(topic, 0, ['x'.repeat(5_000)])),
        producer.write(batchOf(topic, 0, ['d', 'e'])),
        producer.write(batchOf(topic, 1, ['f'])),
        producer.write(batchOf(topic, 0, ['g'])),
      ])
      expect(results.map((result) => (result.status === 'fulfilled' ? result.value : (result.reason as { code: string }).code))).toEqual([
        2,
        'RECORD_TOO_LARGE',
        3,
        0,
        5,
      ])
      expect(await readAll(client, topic, 0)).toEqual(['a', 'b', 'c', 'd', 'e', 'g'])
      expect(producer.pendingBytes).toBe(0)
    },
  },
]

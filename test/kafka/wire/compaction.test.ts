import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { BatchWriter, type OutputBatch } from '../../../src/log/batch/write.js'
import type { LogClient } from '../../../src/log/port.js'
import { NO_HEADERS } from '../../../src/record/headers.js'
import { startKafka, type KafkaServer } from '../../support/kafka/broker.js'
import { until } from '../../support/until.js'
import { client, producer, readAll, uniqueName } from './support.js'

const ROUNDS = 30
const KEYS = 10

function keyed(topic: string, round: number): OutputBatch {
  const writer = new BatchWriter(topic, 0, 1024 * 1024)
  for (let key = 0; key < KEYS; key++) writer.append(`key ${key}`, `${key} in round ${round}`, NO_HEADERS, Date.now())
  return writer.take(true)[0] as OutputBatch
}

describe('a compacted topic', () => {
  let server: KafkaServer
  let log: LogClient

  beforeAll(async () => {
    server = await startKafka({ config: { 'log.cleaner.backoff.ms': '100' } })
    log = client(server.brokers)
  })
  afterAll(async () => {
    await log.close()
    await server.stop()
  })

  it('reads over gaps, batches without records, and what is left of transactions', async () => {
    const topic = uniqueName('compacted')
    const config = {
      'cleanup.policy': 'compact',
      'segment.ms': '200',
      'min.cleanable.dirty.ratio': '0.01',
      'max.compaction.lag.ms': '200',
      'delete.retention.ms': '0',
    }
    await log.createTopics([{ topic, partitions: 1, config }])
    const sender = await producer(log, uniqueName('tx'))
    const passing = await producer(log, uniqueName('tx'))
    const last = Array.from({ length: KEYS }, (_, key) => `${key} in round ${ROUNDS - 1}`)
    // All of what this producer wrote is overwritten later; its last batch stays, without records.
    await passing.send([keyed(topic, -1)])
    await passing.commit([], undefined)
    for (let round = 0; round < ROUNDS; round++) {
      await sender.send([keyed(topic, round)])
      await (round % 3 === 1 ? sender.abort() : sender.commit([], undefined))
    }
    // The active segment is never compacted: one more record closes it.
    const cleaned = await until(
      async () => {
        await passing.send([keyed(topic, ROUNDS - 1)])
        await passing.commit([], undefined)
        const values = await readAll(log, topic, 0)
        expect(values.slice(-KEYS)).toEqual(last)
        return values.length < 10 * KEYS ? values : undefined
      },
      { within: 40_000, every: 300 },
    )
    for (const value of cleaned) expect(value).toMatch(/in round/)
    const [end = 0] = await log.offsets([{ topic, partition: 0 }], 'latest')
    expect(end).toBeGreaterThan(ROUNDS * KEYS)
    for (const prefetchBytes of [1, 1_000]) expect((await readAll(log, topic, 0, { prefetchBytes })).slice(-KEYS)).toEqual(last)
    for (const from of [1, 15, 111, end - 1]) await readAll(log, topic, 0, { from })
  })
})

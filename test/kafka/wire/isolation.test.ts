import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import type { LogClient } from '../../../src/log/port.js'
import { startKafka, type KafkaServer } from '../../support/kafka/broker.js'
import { until } from '../../support/until.js'
import { batchOf, client, producer, readAll, uniqueName } from './support.js'

describe.each([2, 0] as const)('read_committed, transaction.version %i', (transactionVersion) => {
  let server: KafkaServer | undefined
  let log: LogClient

  beforeAll(async () => {
    if (transactionVersion === 0) server = await startKafka({ transactionVersion })
    log = client(server?.brokers ?? inject('kafkaBrokers'))
  })
  afterAll(async () => {
    await log.close()
    await server?.stop()
  })

  const newTopic = async (): Promise<string> => {
    const topic = uniqueName('isolation')
    await log.createTopics([{ topic, partitions: 1 }])
    return topic
  }

  it('shows what committed, in order, however transactions interleave and wherever fetches are cut', async () => {
    const topic = await newTopic()
    const producers = await Promise.all(Array.from({ length: 4 }, () => producer(log, uniqueName('tx'))))
    const random = lcg(7)
    const open: string[][] = producers.map(() => [])
    const expected = new Map<string, number>()
    const order: string[] = []
    for (let i = 0; i < 400; i++) {
      const who = random(producers.length)
      const sender = producers[who]
      const values = open[who]
      if (sender === undefined || values === undefined) continue
      if (random(4) === 0) {
        const commit = random(2) === 0
        if (commit) for (const value of values) expected.set(value, 1)
        await (commit ? sender.commit([], undefined) : sender.abort())
        open[who] = []
      } else {
        const batch = Array.from({ length: 1 + random(5) }, (_, n) => `${who}-${i}-${n}-${'x'.repeat(random(300))}`)
        values.push(...batch)
        order.push(...batch)
        await sender.send([batchOf(topic, 0, batch)])
      }
    }
    await Promise.all(producers.map((sender) => sender.abort()))
    const visible = order.filter((value) => expected.has(value))
    expect(visible.length).toBeGreaterThan(100)
    for (const prefetchBytes of [1, 700, 5_000, 1024 * 1024]) expect(await readAll(log, topic, 0, { prefetchBytes })).toEqual(visible)
    expect(await readAll(log, topic, 0, { isolation: 'read_uncommitted' })).toEqual(order)
    const middle = Math.floor(order.length / 2)
    const tail = await readAll(log, topic, 0, { from: middle })
    expect(visible.slice(visible.length - tail.length)).toEqual(tail)
    for (const sender of producers) await sender.close()
  })

  it('waits at an open transaction, and goes on when it ends', async () => {
    const topic = await newTopic()
    const [first, second] = [await producer(log, uniqueName('tx')), await producer(log, uniqueName('tx'))]
    await first.send([batchOf(topic, 0, ['open'])])
    await second.send([batchOf(topic, 0, ['done'])])
    await second.commit([], undefined)
    expect(await log.offsets([{ topic, partition: 0 }], 'stable')).toEqual([0])
    let calls = 0
    const reader = log.reader({ isolation: 'read_committed', prefetchBytes: 1024, onData: () => calls++ })
    reader.assign([{ topic, partition: 0, offset: 0 }])
    await until(() => reader.end(topic, 0) === 0)
    expect(reader.take(topic, 0)).toBeUndefined()
    const before = calls
    await first.commit([], undefined)
    await until(() => calls > before && reader.take(topic, 0)?.batch !== undefined)
    reader.close()
    expect(await readAll(log, topic, 0)).toEqual(['open', 'done'])
  })

  it('steps over aborted records and markers alone', async () => {
    const topic = await newTopic()
    const sender = await producer(log, uniqueName('tx'))
    await sender.send([batchOf(topic, 0, ['a', 'b'])])
    await sender.abort()
    expect(await readAll(log, topic, 0)).toEqual([])
  })
})

/** Small and repeatable. */
function lcg(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
}

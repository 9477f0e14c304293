import { afterEach, beforeEach, describe, expect, inject, it } from 'vitest'
import { kafka, type Cluster } from '../../../src/index.js'
import { Proxy, type ProxiedRequest } from '../../support/kafka/proxy.js'
import { uniqueName } from './support.js'

const PRODUCE = 0

describe('producer on Kafka', () => {
  let proxy: Proxy
  let cluster: Cluster
  let direct: Cluster
  let topic: string

  beforeEach(async () => {
    const [broker = ''] = inject('kafkaBrokers')
    proxy = await Proxy.start(broker)
    cluster = kafka({ brokers: [proxy.address], requestTimeout: '4s' })
    direct = kafka({ brokers: [broker] })
    topic = uniqueName('producer')
    await direct.createTopics([{ topic, partitions: 3 }])
  })
  afterEach(async () => {
    proxy.decide = () => 'pass'
    await cluster.close()
    await direct.close()
    await proxy.stop()
  })

  const stored = async (): Promise<{ key: string; value: string; partition: number; offset: number }[]> => {
    const all = []
    for await (const { key, value, origin } of direct.read({ topic }))
      all.push({ key: String(key), value: String(value), partition: origin.partition, offset: origin.offset })
    return all
  }
  const losing = (seed: number): ((request: ProxiedRequest) => 'pass' | 'lose answer' | 'lose request') => {
    let state = seed
    return ({ apiKey }) => {
      state = (state * 48_271) % 2_147_483_647
      const draw = apiKey === PRODUCE ? state / 2_147_483_647 : 1
      return draw < 0.15 ? 'lose answer' : draw < 0.3 ? 'lose request' : 'pass'
    }
  }

  it('requests and answers lost all along: each record stands in the log once, in order by key, where its promise says', async () => {
    const producer = cluster.producer({ topic, batchBytes: 400 })
    proxy.decide = losing(17)
    const sent = await Promise.all(Array.from({ length: 600 }, (_, i) => producer.send({ key: `k${i % 11}`, value: `${i}` })))
    const all = await stored()
    expect(all).toHaveLength(600)
    const last = new Map<string, number>()
    for (const { key, value, partition, offset } of all) {
      expect(Number(value)).toBeGreaterThan(last.get(key) ?? -1)
      last.set(key, Number(value))
      expect(sent[Number(value)]).toEqual({ topic, partition, offset })
    }
  })

  it('a batch given up without an answer may be in the log; what comes next is written once, behind it', async () => {
    const producer = cluster.producer({ topic, deliveryTimeout: '2s' })
    await producer.send({ key: 'a', value: 'first' })
    proxy.decide = ({ apiKey }) => (apiKey === PRODUCE ? 'lose answer' : 'pass')
    await expect(producer.send({ key: 'a', value: 'unsure' })).rejects.toMatchObject({ code: 'BROKER_UNREACHABLE' })
    proxy.decide = () => 'pass'
    await producer.send({ key: 'a', value: 'next' })
    await producer.send({ key: 'a', value: 'last' })
    expect((await stored()).map(({ value }) => value)).toEqual(['first', 'unsure', 'next', 'last'])
  })

  it('a batch that the broker refuses fails alone, also with others behind it; partitions go on', async () => {
    const small = uniqueName('small')
    await direct.createTopics([{ topic: small, partitions: 2, config: { 'max.message.bytes': '2000' } }])
    const producer = cluster.producer({ topic: small, compression: 'gzip' })
    await producer.send({ partition: 0, value: 'a' })
    const { randomBytes } = await import('node:crypto')
    const bad = producer.send({ partition: 0, value: randomBytes(5_000) })
    const others = [producer.send({ partition: 0, value: 'b' }), producer.send({ partition: 1, value: 'c' })]
    await expect(bad).rejects.toMatchObject({ code: 'RECORD_TOO_LARGE' })
    expect((await Promise.all(others)).map(({ partition, offset }) => [partition, offset])).toEqual([
      [0, 1],
      [1, 0],
    ])
  })

  it('a transaction is there whole or not at all, and a topic made late is waited for', async () => {
    const late = uniqueName('late')
    const producer = cluster.producer({ topic })
    await producer.transaction(async (tx) => {
      for (let i = 0; i < 20; i++) void tx.send({ key: `k${i}`, value: 'yes' })
    })
    await expect(
      producer.transaction(async (tx) => {
        await tx.send({ key: 'k', value: 'no' })
        throw new Error('changed my mind')
      }),
    ).rejects.toThrow('changed my mind')
    expect((await stored()).map(({ value }) => value)).toEqual(Array.from({ length: 20 }, () => 'yes'))
    const sent = producer.send({ topic: late, value: 'x' })
    await direct.createTopics([{ topic: late, partitions: 1 }])
    expect(await sent).toEqual({ topic: late, partition: 0, offset: 0 })
  })
})

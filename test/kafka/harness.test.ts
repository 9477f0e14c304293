import { existsSync } from 'node:fs'
import { dirname } from 'node:path'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { startKafka, type KafkaServer } from '../support/kafka/broker.js'
import { kafkaJs, observe, uniqueName, type Observer, type SeenRecord, type SentRecord } from '../support/kafka/client.js'

// What the other tests stand on: if these fail, look at the test support, not at millrace.

const awkward: SentRecord[] = [
  { key: 'plain', value: 'text', headers: { one: '1', two: 'a:b,c' }, timestamp: 1_700_000_000_000, partition: 0 },
  { key: null, value: Buffer.from([0, 1, 9, 10, 13, 92, 127, 128, 255]), timestamp: 1_700_000_000_001, partition: 0 },
  { key: Buffer.alloc(0), value: null, timestamp: 1_700_000_000_002, partition: 1 },
  { key: '\\x41\t\n', value: 'null', headers: { ünï: Buffer.from([0, 1, 255]) }, timestamp: 1_700_000_000_003, partition: 1 },
]

function asSeen(records: readonly SentRecord[]): SeenRecord[] {
  const next = [0, 0]
  const bytes = (data: Buffer | string | null): Buffer | null => (data === null ? null : Buffer.from(data))
  return records.map(({ key = null, value, headers = {}, partition = 0, timestamp = -1 }) => ({
    partition,
    offset: next[partition]!++,
    timestamp,
    key: bytes(key),
    value: bytes(value),
    headers: Object.entries(headers).map(([name, data]) => [name, bytes(data)] as const),
  }))
}

describe('the shared broker', () => {
  let observer: Observer
  beforeAll(() => {
    observer = observe(inject('kafkaBrokers'))
  })
  afterAll(() => observer.close())

  it('gives back the bytes, headers and timestamps it was given, to either reader', async () => {
    const topic = await observer.createTopic({ partitions: 2 })
    await observer.produce(topic, awkward)
    expect(await observer.readAll(topic)).toEqual(asSeen(awkward))
    expect(await observer.readAllJava(topic)).toEqual(asSeen(awkward))
  })

  it('shows committed records only, whatever transactions interleave', async () => {
    const topic = await observer.createTopic()
    const kafka = kafkaJs(observer.connection)
    const producers = ['a', 'b', 'c'].map((name) =>
      kafka.producer({ transactionalId: uniqueName(name), idempotent: true, maxInFlightRequests: 1 }),
    )
    await Promise.all(producers.map((producer) => producer.connect()))
    try {
      const [a, b, c] = await Promise.all(producers.map((producer) => producer.transaction()))
      // Two aborted transactions end in the other order than they began, around and after a committed one.
      await a!.send({ topic, messages: [{ value: 'a1' }, { value: 'a2' }] })
      await b!.send({ topic, messages: [{ value: 'b1' }] })
      await c!.send({ topic, messages: [{ key: Buffer.from([0, 0, 0, 0]), value: 'c1' }] })
      await b!.send({ topic, messages: [{ value: 'b2' }] })
      await b!.abort()
      await a!.send({ topic, messages: [{ value: 'a3' }] })
      await c!.commit()
      await a!.abort()
    } finally {
      await Promise.all(producers.map((producer) => producer.disconnect()))
    }
    const values = (records: readonly SeenRecord[]): string[] => records.map(({ value }) => String(value))
    expect(values(await observer.readAll(topic, { isolation: 'read_uncommitted' }))).toEqual(['a1', 'a2', 'b1', 'c1', 'b2', 'a3'])
    expect(values(await observer.readAllJava(topic))).toEqual(['c1'])
    expect(values(await observer.readAll(topic))).toEqual(['c1'])
  })

  it('ends a reading at the last stable offset while a transaction is open', async () => {
    const topic = await observer.createTopic()
    const producer = kafkaJs(observer.connection).producer({ transactionalId: uniqueName(), idempotent: true, maxInFlightRequests: 1 })
    await producer.connect()
    try {
      await observer.produce(topic, [{ value: 'before' }])
      const open = await producer.transaction()
      await open.send({ topic, messages: [{ value: 'open' }] })
      expect(await observer.offsets(topic)).toEqual([{ partition: 0, low: 0, high: 1 }])
      expect(await observer.offsets(topic, 'read_uncommitted')).toEqual([{ partition: 0, low: 0, high: 2 }])
      expect(await observer.readAll(topic)).toHaveLength(1)
      await open.abort()
    } finally {
      await producer.disconnect()
    }
  })
})

describe('a broker of its own', () => {
  let server: KafkaServer
  let observer: Observer
  beforeAll(async () => {
    server = await startKafka({ transactionVersion: 0 })
    observer = observe(server.connection)
  })
  afterAll(async () => {
    await observer.close()
    await server.stop()
    expect(existsSync(dirname(server.logFile))).toBe(false)
  })

  it('keeps its records over kill -9 and a restart', async () => {
    const topic = await observer.createTopic({ partitions: 2 })
    await observer.produce(topic, awkward)
    await server.kill('SIGKILL')
    await server.restart()
    await observer.produce(topic, awkward)
    const values = (records: readonly { value: Buffer | string | null }[]): string[] => records.map(({ value }) => String(value))
    const [first, second] = [awkward.slice(0, 2), awkward.slice(2)]
    expect(values(await observer.readAll(topic))).toEqual(values([...first, ...first, ...second, ...second]))
  })
})

describe('a broker with TLS, a login and ACLs', () => {
  let server: KafkaServer
  beforeAll(async () => {
    server = await startKafka({
      tls: true,
      sasl: { mechanism: 'PLAIN', username: 'admin', password: 'admin-secret' },
      authorizer: { unprivileged: { username: 'nobody', password: 'nobody-secret' } },
    })
  })
  afterAll(() => server.stop())

  it('lets its administrator do everything and the other user nothing', async () => {
    const observer = observe(server.connection)
    const other = kafkaJs(server.unprivileged!).admin()
    try {
      const topic = await observer.createTopic({ partitions: 2 })
      await observer.produce(topic, awkward)
      expect(await observer.readAllJava(topic)).toEqual(asSeen(awkward))
      await other.connect()
      await expect(other.createTopics({ topics: [{ topic: uniqueName() }] })).rejects.toMatchObject({
        errors: [{ type: 'TOPIC_AUTHORIZATION_FAILED' }],
      })
    } finally {
      await Promise.all([observer.close(), other.disconnect()])
    }
  })
})

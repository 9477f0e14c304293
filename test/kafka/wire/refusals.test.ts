import { createServer, type AddressInfo, type Socket } from 'node:net'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import type { LogClient } from '../../../src/log/port.js'
import { startKafka, type KafkaServer } from '../../support/kafka/broker.js'
import { until } from '../../support/until.js'
import { batchOf, client, producer, readAll, soleMember, uniqueName } from './support.js'

describe('what a broker refuses', () => {
  const brokers = inject('kafkaBrokers')
  let log: LogClient

  beforeAll(() => {
    log = client(brokers)
  })
  afterAll(() => log.close())

  it('a batch too large: RECORD_TOO_LARGE with the partition; nothing commits until abort(), then all is well', async () => {
    const topic = uniqueName('small')
    await log.createTopics([{ topic, partitions: 2, config: { 'max.message.bytes': '1000' } }])
    expect((await log.topics([topic])).get(topic)).toMatchObject({ topic, partitions: 2, maxMessageBytes: 1000 })
    const sender = await producer(log, uniqueName('tx'))
    const good = sender.send([batchOf(topic, 0, ['good'])])
    const large = sender.send([batchOf(topic, 1, ['x'.repeat(2000)]), batchOf(topic, 1, ['behind it'])])
    await expect(large).rejects.toMatchObject({
      code: 'RECORD_TOO_LARGE',
      reaction: 'abort',
      retryable: false,
      message: expect.stringContaining(`${topic}/1`),
    })
    await good
    await expect(sender.send([batchOf(topic, 0, ['refused'])])).rejects.toMatchObject({ code: 'RECORD_TOO_LARGE' })
    await expect(sender.commit([], undefined)).rejects.toMatchObject({ code: 'RECORD_TOO_LARGE', reaction: 'abort' })
    expect(sender.pendingBytes).toBe(0)
    await sender.abort()
    await sender.send([batchOf(topic, 1, ['fits'])])
    await sender.commit([], undefined)
    expect([await readAll(log, topic, 0), await readAll(log, topic, 1)]).toEqual([[], ['fits']])
  })

  it('a topic that is not there is never created, only reported', async () => {
    const topic = uniqueName('missing')
    expect(await log.topics([topic])).toEqual(new Map())
    const sender = await producer(log, uniqueName('tx'), { transactionTimeoutMs: 2_000 })
    await expect(sender.send([batchOf(topic, 0, ['a'])])).rejects.toMatchObject({ code: 'MISSING_TOPIC', reaction: 'abort' })
    const failure = await firstError(log, topic, 0)
    expect(failure).toMatchObject({ code: 'MISSING_TOPIC' })
    expect(await log.topics([topic])).toEqual(new Map())
  })

  it('a partition the topic does not have', async () => {
    const topic = uniqueName('narrow')
    await log.createTopics([{ topic, partitions: 1 }])
    const sender = await producer(log, uniqueName('tx'), { transactionTimeoutMs: 2_000 })
    await expect(sender.send([batchOf(topic, 7, ['a'])])).rejects.toMatchObject({
      code: 'MISSING_TOPIC',
      reaction: 'abort',
      message: expect.stringContaining(`${topic}/7`),
    })
  })

  it('an offset that is not in the log', async () => {
    const topic = uniqueName('range')
    await log.createTopics([{ topic, partitions: 1 }])
    expect(await firstError(log, topic, 99)).toMatchObject({
      code: 'OFFSET_OUT_OF_RANGE',
      message: expect.stringContaining(`${topic}/0 at offset 99`),
    })
  })

  it('topics that exist, and impossible ones', async () => {
    const topic = uniqueName('twice')
    await log.createTopics([{ topic, partitions: 1 }])
    await expect(log.createTopics([{ topic }])).rejects.toMatchObject({ code: 'TOPIC_EXISTS' })
    await expect(log.createTopics([{ topic: uniqueName('rf'), replicationFactor: 9 }])).rejects.toMatchObject({ code: 'BROKER_REFUSED' })
    await expect(log.createTopics([{ topic: uniqueName('config'), config: { nonsense: '1' } }])).rejects.toMatchObject({
      code: 'BROKER_REFUSED',
      message: expect.stringContaining('nonsense'),
    })
    await expect(log.createTopics([{ topic: 'not allowed!' }])).rejects.toMatchObject({ code: 'BROKER_REFUSED' })
    await log.deleteTopics([topic, uniqueName('never-there')])
    expect(await log.topics([topic])).toEqual(new Map())
  })

  it('a session timeout outside the limits', async () => {
    const group = log.group({ group: uniqueName('group'), instanceId: undefined, sessionTimeoutMs: 1, rebalanceTimeoutMs: 1_000 })
    await expect(group.join('', [{ name: 'test', metadata: Buffer.alloc(0) }])).rejects.toMatchObject({
      code: 'INVALID_OPTIONS',
      reaction: 'fatal',
    })
  })

  it('a transaction timeout above the limit', async () => {
    await expect(producer(log, uniqueName('tx'), { transactionTimeoutMs: 2 ** 30 })).rejects.toMatchObject({
      code: 'INVALID_OPTIONS',
      reaction: 'fatal',
    })
  })
})

describe('closing', () => {
  const brokers = inject('kafkaBrokers')

  it('ends all that waits, at once', async () => {
    const log = client(brokers)
    const topic = uniqueName('closing')
    await log.createTopics([{ topic, partitions: 1 }])
    const name = uniqueName('group')
    const member = await soleMember(log, name)
    const other = log.group({ group: name, instanceId: undefined, sessionTimeoutMs: 10_000, rebalanceTimeoutMs: 10_000 })
    const joining = other.join('', [{ name: 'test', metadata: Buffer.from([0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]) }])
    const reader = log.reader({ isolation: 'read_committed', prefetchBytes: 1_000, onData: () => {} })
    reader.assign([{ topic, partition: 0, offset: 0 }])
    await until(() => reader.end(topic, 0) !== undefined)
    const sender = await producer(log, uniqueName('tx'))
    const outcomes = Promise.allSettled([joining, sender.send([batchOf(topic, 0, ['a'])])])
    await until(
      () =>
        other.heartbeat(member).then(
          () => false,
          () => true,
        ),
      { what: 'the coordinator to hold the join' },
    )
    await log.close()
    const [joined] = await outcomes
    expect(joined).toMatchObject({ status: 'rejected', reason: { code: 'CLOSED' } })
    await expect(sender.commit([{ topic, partition: 0, offset: 1 }], member)).rejects.toMatchObject({ code: 'CLOSED' })
    await expect(log.topics([topic])).rejects.toMatchObject({ code: 'CLOSED' })
    await expect(log.connect()).rejects.toMatchObject({ code: 'CLOSED' })
  })
})

describe('getting in', () => {
  it('an address without a broker: BROKER_UNREACHABLE with the address, in bounded time', { timeout: 20_000 }, async () => {
    const log = client(['127.0.0.1:1', 'no-such-host.invalid:9092'])
    await expect(log.connect()).rejects.toMatchObject({
      code: 'BROKER_UNREACHABLE',
      message: expect.stringMatching(/127\.0\.0\.1:1: connection refused.*no-such-host\.invalid:9092: .*host name/s),
    })
    await log.close()
  })

  it('something that listens and says nothing', { timeout: 20_000 }, async () => {
    const server = createServer((socket) => socket.on('error', () => {}))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const log = client([`127.0.0.1:${(server.address() as AddressInfo).port}`], { connectionTimeoutMs: 300, requestTimeoutMs: 2_000 })
    await expect(log.connect()).rejects.toMatchObject({ code: 'BROKER_UNREACHABLE', message: expect.stringContaining('TLS') })
    await log.close()
    server.close()
  })

  it('something that is not Kafka', async () => {
    const server = createServer((socket) => {
      socket.on('error', () => {})
      socket.on('data', () => socket.write('\0\0\0\x06\0\0\0\0hi'))
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const log = client([`127.0.0.1:${(server.address() as AddressInfo).port}`])
    await expect(log.connect()).rejects.toMatchObject({ code: 'BROKER_REFUSED' })
    await log.close()
    server.close()
  })

  it('many addresses that say nothing take no longer than one', { timeout: 15_000 }, async () => {
    const sockets = new Set<Socket>()
    const server = createServer((socket) => sockets.add(socket.on('error', () => {})))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    const log = client(
      Array.from({ length: 20 }, () => `127.0.0.1:${port}`),
      { requestTimeoutMs: 2_000 },
    )
    await expect(log.connect()).rejects.toMatchObject({ code: 'BROKER_UNREACHABLE' })
    const again = log.connect()
    const closing = expect(again).rejects.toMatchObject({ code: 'CLOSED' })
    await until(() => [...sockets].some(({ destroyed }) => !destroyed))
    await log.close()
    await closing
    for (const socket of sockets) socket.destroy()
    server.close()
  })

  // Key, least and largest version, as the brokers of then answer. Version 3 is answered with version 0 where it is not known.
  const OLD_BROKERS = [
    [
      '2.4',
      3,
      0,
      [
        [0, 0, 8],
        [1, 0, 11],
        [3, 0, 9],
        [9, 0, 6],
        [18, 0, 3],
        [28, 0, 2],
      ],
    ],
    [
      '1.0',
      0,
      35,
      [
        [0, 0, 5],
        [1, 0, 6],
        [3, 0, 5],
        [9, 0, 3],
        [18, 0, 1],
        [28, 0, 0],
      ],
    ],
  ] as const
  const FUTURE = [
    [0, 12, 20],
    [1, 12, 30],
    [3, 9, 20],
    [9, 8, 12],
    [18, 0, 5],
    [28, 3, 8],
  ] as const

  it.each(OLD_BROKERS)('Kafka %s: BROKER_TOO_OLD, and which to upgrade to', async (_, version, error, apis) => {
    const broker = await answering(version, error, apis)
    const log = client([broker.address])
    await expect(log.connect()).rejects.toMatchObject({
      code: 'BROKER_TOO_OLD',
      reaction: 'fatal',
      message: expect.stringMatching(new RegExp(`${broker.address}.*upgrade it to 2.5 or later`)),
    })
    await log.close()
    broker.close()
  })

  it('a Kafka of the future that has dropped what is needed here', async () => {
    const broker = await answering(3, 0, FUTURE)
    const log = client([broker.address])
    await expect(log.connect()).rejects.toMatchObject({
      code: 'BROKER_REFUSED',
      reaction: 'fatal',
      message: expect.stringContaining('millrace is too old'),
    })
    await log.close()
    broker.close()
  })

  it('an address of the wrong form is refused by name', () => {
    expect(() => client(['localhost'])).toThrow("brokers: 'localhost' is not an address of the form host:port")
  })
})

describe('rights', () => {
  const boss = { username: 'boss', password: 'secret' }
  const guest = { username: 'guest', password: 'secret' }
  let server: KafkaServer

  beforeAll(async () => {
    server = await startKafka({ sasl: { mechanism: 'SCRAM-SHA-256', ...boss }, tls: true, authorizer: { unprivileged: guest } })
  })
  afterAll(() => server.stop())

  const ssl = (): { ca: string[] } => ({ ca: [...(server.connection.ssl?.ca ?? [])] })
  const as = (user: { username: string; password: string }): LogClient =>
    client(server.brokers, { ssl: ssl(), sasl: { mechanism: 'scram-sha-256', ...user } })

  it('TLS and SCRAM let in whoever may', async () => {
    const log = as(boss)
    const topic = uniqueName('secure')
    await log.createTopics([{ topic, partitions: 1 }])
    const sender = await producer(log, uniqueName('tx'))
    await sender.send([batchOf(topic, 0, ['a'])])
    await sender.commit([], undefined)
    expect(await readAll(log, topic, 0)).toEqual(['a'])

    const visitor = as(guest)
    await expect(visitor.topics([topic])).rejects.toMatchObject({ code: 'UNAUTHORIZED' })
    await expect(visitor.createTopics([{ topic: uniqueName('no'), partitions: 1 }])).rejects.toMatchObject({ code: 'UNAUTHORIZED' })
    await expect(producer(visitor, uniqueName('tx'))).rejects.toMatchObject({ code: 'UNAUTHORIZED', reaction: 'fatal' })
    await expect(visitor.committedOffsets('theirs', [{ topic, partition: 0 }])).rejects.toMatchObject({ code: 'UNAUTHORIZED' })
    await expect(producer(visitor, undefined)).rejects.toMatchObject({ code: 'UNAUTHORIZED', reaction: 'fatal' })
    expect(await firstError(visitor, topic, 0)).toMatchObject({ code: 'UNAUTHORIZED', reaction: 'fatal' })
    const group = visitor.group({ group: 'theirs', instanceId: undefined, sessionTimeoutMs: 10_000, rebalanceTimeoutMs: 10_000 })
    await expect(group.join('', [{ name: 'test', metadata: Buffer.alloc(0) }])).rejects.toMatchObject({
      code: 'UNAUTHORIZED',
      reaction: 'fatal',
    })
    await visitor.close()
    await log.close()
  })

  it('a wrong password is refused, not tried again', async () => {
    const log = as({ ...boss, password: 'wrong' })
    await expect(log.connect()).rejects.toMatchObject({ code: 'UNAUTHORIZED', reaction: 'fatal', message: expect.stringContaining('sasl') })
    await log.close()
  })

  it('a mechanism the broker does not offer', async () => {
    const log = client(server.brokers, { ssl: ssl(), sasl: { mechanism: 'plain', ...boss } })
    await expect(log.connect()).rejects.toMatchObject({ code: 'UNAUTHORIZED', reaction: 'fatal' })
    await log.close()
  })

  it('no TLS, no log-in, an unknown authority: the message guesses which', async () => {
    const plain = client(server.brokers, { connectionTimeoutMs: 500, requestTimeoutMs: 2_000 })
    await expect(plain.connect()).rejects.toMatchObject({ code: 'BROKER_UNREACHABLE', message: expect.stringContaining('set ssl') })
    const nobody = client(server.brokers, { ssl: ssl(), requestTimeoutMs: 3_000 })
    await expect(nobody.connect()).rejects.toMatchObject({ message: expect.stringContaining('set sasl') })
    const stranger = client(server.brokers, { ssl: true })
    await expect(stranger.connect()).rejects.toMatchObject({ code: 'BROKER_UNREACHABLE', message: expect.stringContaining('ssl.ca') })
    for (const log of [plain, nobody, stranger]) await log.close()
  })

  it('TLS to a listener without it', async () => {
    const log = client(inject('kafkaBrokers'), { ssl: true, connectionTimeoutMs: 1_000, requestTimeoutMs: 3_000 })
    await expect(log.connect()).rejects.toMatchObject({ code: 'BROKER_UNREACHABLE', message: expect.stringContaining('may not speak TLS') })
    await log.close()
  })
})

/** Answers whatever it is asked with the versions it says to know. */
async function answering(
  version: 0 | 3,
  error: number,
  apis: readonly (readonly [key: number, min: number, max: number])[],
): Promise<{ readonly address: string; close(): void }> {
  const server = createServer((socket) => {
    socket.on('error', () => {})
    socket.on('data', (request) => {
      const body = Buffer.alloc(256)
      let at = body.writeInt32BE(request.readInt32BE(8), 4)
      at = body.writeInt16BE(error, at)
      at = version === 0 ? body.writeInt32BE(apis.length, at) : body.writeUInt8(apis.length + 1, at)
      for (const api of apis) {
        for (const number of api) at = body.writeInt16BE(number, at)
        if (version !== 0) at = body.writeUInt8(0, at)
      }
      if (version !== 0) at = body.writeUInt8(0, body.writeInt32BE(0, at))
      body.writeInt32BE(at - 4, 0)
      socket.write(body.subarray(0, at))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return { address: `127.0.0.1:${(server.address() as AddressInfo).port}`, close: () => void server.close() }
}

/** What a reader gives for a partition instead of data. */
async function firstError(log: LogClient, topic: string, offset: number): Promise<unknown> {
  const reader = log.reader({ isolation: 'read_committed', prefetchBytes: 1_000, onData: () => {} })
  reader.assign([{ topic, partition: 0, offset }])
  try {
    return await until(
      () => {
        try {
          reader.take(topic, 0)
          return undefined
        } catch (error) {
          return error as Error
        }
      },
      { within: 15_000 },
    )
  } finally {
    reader.close()
  }
}

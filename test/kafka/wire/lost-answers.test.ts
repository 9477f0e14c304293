import { afterEach, beforeEach, describe, expect, inject, it, afterAll, beforeAll } from 'vitest'
import type { GroupMember, LogClient } from '../../../src/log/port.js'
import { startKafka, type KafkaServer } from '../../support/kafka/broker.js'
import { until } from '../../support/until.js'
import { Proxy, type Fate } from '../../support/kafka/proxy.js'
import { batchOf, client, producer, readAll, soleMember, uniqueName } from './support.js'

const PRODUCE = 0
const METADATA = 3
const INIT_PRODUCER_ID = 22
const ADD_PARTITIONS = 24
const END_TXN = 26
const TXN_OFFSET_COMMIT = 28

describe.each([2, 0] as const)('lost answers, transaction.version %i', (transactionVersion) => {
  let server: KafkaServer | undefined
  let proxy: Proxy
  let log: LogClient
  let direct: LogClient
  let topic: string
  let group: string
  let member: GroupMember

  beforeAll(async () => {
    if (transactionVersion === 0) server = await startKafka({ transactionVersion })
  })
  afterAll(() => server?.stop())

  beforeEach(async () => {
    const [broker = ''] = server?.brokers ?? inject('kafkaBrokers')
    proxy = await Proxy.start(broker)
    log = client([proxy.address])
    direct = client([broker])
    topic = uniqueName('lost')
    group = uniqueName('group')
    await direct.createTopics([{ topic, partitions: 2 }])
    member = await soleMember(direct, group)
  })
  afterEach(async () => {
    await log.close()
    await direct.close()
    await proxy.stop()
  })

  /** The first `times` requests of a kind fare so, the others pass. */
  const first = (apiKey: number, fate: Fate, times = 1): void => {
    let left = times
    proxy.decide = (request) => (request.apiKey === apiKey && left-- > 0 ? fate : 'pass')
  }
  const committed = async (): Promise<(number | undefined)[]> => [...(await direct.committedOffsets(group, [{ topic, partition: 1 }]))]

  it.each(['lose answer', 'lose request'] as const)('produce: %s, and the batch stands in the log once', async (fate) => {
    const sender = await producer(log, uniqueName('tx'))
    first(PRODUCE, fate, 3)
    await sender.send([batchOf(topic, 0, ['a', 'b']), batchOf(topic, 0, ['c']), batchOf(topic, 1, ['d'])])
    await sender.commit([], undefined)
    expect(await readAll(direct, topic, 0)).toEqual(['a', 'b', 'c'])
    expect(await readAll(direct, topic, 1)).toEqual(['d'])
  })

  it('many batches, requests and answers lost all along: each stands in the log once, in order', async () => {
    // So many losses take their time.
    const sender = await producer(log, uniqueName('tx'), { transactionTimeoutMs: 50_000 })
    let seed = 17
    const random = (): number => (seed = (seed * 48_271) % 2_147_483_647) / 2_147_483_647
    let lost = 0
    proxy.decide = ({ apiKey }) => {
      const draw = apiKey === PRODUCE ? random() : 1
      if (draw < 0.3) lost++
      return draw < 0.15 ? 'lose answer' : draw < 0.3 ? 'lose request' : 'pass'
    }
    const expected: string[][] = [[], []]
    for (let transaction = 0; transaction < 3; transaction++) {
      const batches = Array.from({ length: 40 }, (_, i) => {
        const value = `${transaction}-${i}`
        ;(expected[i % 2] as string[]).push(value, `${value}b`)
        return batchOf(topic, i % 2, [value, `${value}b`])
      })
      await sender.send(batches)
      await sender.commit([], undefined)
    }
    proxy.decide = () => 'pass'
    expect(lost).toBeGreaterThan(10)
    expect([await readAll(direct, topic, 0), await readAll(direct, topic, 1)]).toEqual(expected)
  })

  it('a leader that is not among the brokers is looked up again; each batch, of the other partitions too, is sent once', async () => {
    const sender = await producer(log, uniqueName('tx'))
    let lies = 5
    // Error 0, the partition, its leader: node 1, which stands in other answers too.
    const partition0 = Buffer.from([0, 0, 0, 0, 0, 0, 0, 0, 0, 1])
    proxy.answered = (apiKey, answer) => {
      const at = apiKey === METADATA ? answer.indexOf(partition0, answer.indexOf(topic)) : -1
      if (answer.includes(topic) && at >= 0 && lies-- > 0) answer.writeInt32BE(99, at + 6)
    }
    let produced = 0
    proxy.decide = ({ apiKey }) => {
      if (apiKey === PRODUCE) produced++
      return 'pass'
    }
    await sender.send([batchOf(topic, 0, ['a']), batchOf(topic, 1, ['b'])])
    await sender.commit([], undefined)
    expect(lies).toBeLessThan(5)
    expect(produced).toBe(2)
    expect([await readAll(direct, topic, 0), await readAll(direct, topic, 1)]).toEqual([['a'], ['b']])
  })

  it.each(['lose answer', 'lose request'] as const)('the offsets: %s, and they are committed', async (fate) => {
    const sender = await producer(log, uniqueName('tx'))
    first(TXN_OFFSET_COMMIT, fate)
    await sender.send([batchOf(topic, 0, ['a'])])
    await sender.commit([{ topic, partition: 1, offset: 7 }], member)
    expect(await committed()).toEqual([7])
  })

  it.each(['lose answer', 'lose request'] as const)(
    'the commit: %s, the same commit is tried again, and the next transaction works',
    async (fate) => {
      const sender = await producer(log, uniqueName('tx'))
      first(END_TXN, fate, 2)
      for (const value of ['a', 'b', 'c']) {
        await sender.send([batchOf(topic, 0, [value])])
        await sender.commit([{ topic, partition: 1, offset: value.charCodeAt(0) }], member)
      }
      expect(await readAll(direct, topic, 0)).toEqual(['a', 'b', 'c'])
      expect(await committed()).toEqual([99])
    },
  )

  it.each(['lose answer', 'lose request'] as const)('the abort: %s, and nothing is seen of the transaction', async (fate) => {
    const sender = await producer(log, uniqueName('tx'))
    first(END_TXN, fate)
    await sender.send([batchOf(topic, 0, ['no'])])
    await sender.abort()
    await sender.send([batchOf(topic, 0, ['yes'])])
    await sender.commit([], undefined)
    expect(await readAll(direct, topic, 0)).toEqual(['yes'])
  })

  it.each(['lose answer', 'lose request'] as const)('getting a producer id: %s, and it is asked for again', async (fate) => {
    first(INIT_PRODUCER_ID, fate, 2)
    const sender = await producer(log, uniqueName('tx'))
    await sender.send([batchOf(topic, 0, ['a'])])
    await sender.commit([], undefined)
    expect(await readAll(direct, topic, 0)).toEqual(['a'])
  })

  if (transactionVersion === 0)
    it('adding partitions: the answer is lost, and they are added again', async () => {
      const sender = await producer(log, uniqueName('tx'))
      first(ADD_PARTITIONS, 'lose answer')
      await sender.send([batchOf(topic, 0, ['a'])])
      await sender.commit([], undefined)
      expect(await readAll(direct, topic, 0)).toEqual(['a'])
    })

  it.each(['lose answer', 'lose request'] as const)(
    'no answer to the commit at all (%s): indeterminate, never to be aborted, decided after init()',
    async (fate) => {
      const sender = await producer(log, uniqueName('tx'), { transactionTimeoutMs: 2_000 })
      await sender.send([batchOf(topic, 0, ['a'])])
      proxy.decide = ({ apiKey }) => (apiKey === END_TXN ? fate : 'pass')
      const failure = sender.commit([{ topic, partition: 1, offset: 7 }], member)
      await expect(failure).rejects.toMatchObject({ code: 'COMMIT_INDETERMINATE', reaction: 'indeterminate' })
      await expect(sender.abort()).rejects.toMatchObject({ code: 'COMMIT_INDETERMINATE', reaction: 'fatal' })
      await expect(sender.send([batchOf(topic, 0, ['x'])])).rejects.toMatchObject({ reaction: 'indeterminate' })
      await expect(sender.commit([], undefined)).rejects.toMatchObject({ reaction: 'indeterminate' })
      proxy.decide = () => 'pass'
      await sender.init()
      const carriedOut = fate === 'lose answer'
      expect(await committed()).toEqual([carriedOut ? 7 : undefined])
      await sender.send([batchOf(topic, 0, ['b'])])
      await sender.commit([], undefined)
      expect(await readAll(direct, topic, 0)).toEqual(carriedOut ? ['a', 'b'] : ['b'])
    },
  )

  it('a commit that arrives after init() does not end the next transaction', async () => {
    const sender = await producer(log, uniqueName('tx'), { transactionTimeoutMs: 2_000 })
    await sender.send([batchOf(topic, 0, ['lost'])])
    proxy.decide = ({ apiKey }) => (apiKey === END_TXN ? 'hold' : 'pass')
    await expect(sender.commit([], undefined)).rejects.toMatchObject({ reaction: 'indeterminate' })
    proxy.decide = () => 'pass'
    await sender.init()
    await sender.send([batchOf(topic, 0, ['open'])])
    expect(proxy.holding).toBeGreaterThan(0)
    await proxy.release()
    await sender.abort()
    await sender.send([batchOf(topic, 0, ['kept'])])
    await sender.commit([], undefined)
    expect(await readAll(direct, topic, 0)).toEqual(['kept'])
  })

  it('a batch that arrives after its transaction was aborted does not get into the next', async () => {
    const sender = await producer(log, uniqueName('tx'), { transactionTimeoutMs: 2_000 })
    await sender.send([batchOf(topic, 1, ['first'])])
    first(PRODUCE, 'hold', 1000)
    await expect(sender.send([batchOf(topic, 0, ['late'])])).rejects.toMatchObject({ reaction: 'abort' })
    proxy.decide = () => 'pass'
    // The broker has ended the transaction by then, or an epoch of its own is needed: the runtime goes on with init().
    await sender.abort().catch(async (error: unknown) => {
      expect(error).toMatchObject({ reaction: 'reinit' })
      await sender.init()
    })
    expect(proxy.holding).toBeGreaterThan(0)
    await proxy.release()
    await sender.send([batchOf(topic, 0, ['kept'])])
    await sender.commit([], undefined)
    await until(async () => (await readAll(direct, topic, 0)).includes('kept'))
    expect(await readAll(direct, topic, 0)).toEqual(['kept'])
    expect(await readAll(direct, topic, 1)).toEqual([])
  })
})

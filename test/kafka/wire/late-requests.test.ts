import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { GroupMember, LogClient, LogProducer } from '../../../src/log/port.js'
import { startKafka, type KafkaServer } from '../../support/kafka/broker.js'
import { Proxy } from '../../support/kafka/proxy.js'
import { batchOf, client, producer, readAll, soleMember, uniqueName } from './support.js'

const ADD_PARTITIONS = 24
const END_TXN = 26
const TXN_OFFSET_COMMIT = 28
const INVALID_PRODUCER_EPOCH = 47

/**
 * A connection breaks, the request on it is tried again over another and acknowledged, and then the first try arrives: brokers read what is
 * left in the sockets of the dead. In the first transaction protocol nothing but the epoch tells one transaction from the next.
 */
describe('requests that arrive after their transaction, on Kafka 3.9', () => {
  let server: KafkaServer
  let proxy: Proxy
  let log: LogClient
  let direct: LogClient
  let topic: string
  let group: string
  let member: GroupMember
  let sender: LogProducer

  beforeAll(async () => {
    server = await startKafka({ release: '3.9' })
  })
  afterAll(() => server?.stop())

  beforeEach(async () => {
    const [broker = ''] = server.brokers
    proxy = await Proxy.start(broker)
    log = client([proxy.address])
    direct = client([broker])
    topic = uniqueName('late')
    group = uniqueName('group')
    await direct.createTopics([{ topic, partitions: 2 }])
    member = await soleMember(direct, group)
    expect(await log.connect()).toMatchObject({ transactionProtocol: 1 })
    sender = await producer(log, uniqueName('tx'))
  })
  afterEach(async () => {
    await log.close()
    await direct.close()
    await proxy.stop()
  })

  /** The next request of a kind is tried twice: its first try waits for `release`. */
  const late = (apiKey: number): void => {
    let left = 1
    proxy.decide = (request) => (request.apiKey === apiKey && left-- > 0 ? 'deliver late' : 'pass')
  }
  const committed = async (): Promise<number | undefined> => (await direct.committedOffsets(group, [{ topic, partition: 1 }]))[0]
  const send = (partition: number, value: string): Promise<void> => sender.send([batchOf(topic, partition, [value])])
  const values = async (): Promise<string[]> => [...(await readAll(direct, topic, 0)), ...(await readAll(direct, topic, 1))]

  it('a commit does not commit the half of the next transaction', async () => {
    await send(0, 'a')
    late(END_TXN)
    await sender.commit([{ topic, partition: 1, offset: 1 }], member)
    expect(proxy.heldKinds).toEqual(new Set([END_TXN]))
    await send(0, 'half')
    await proxy.release()
    await sender.abort()
    await send(0, 'b')
    await sender.commit([{ topic, partition: 1, offset: 2 }], member)
    expect(await values()).toEqual(['a', 'b'])
    expect(await committed()).toBe(2)
  })

  it('an abort does not abort the half of the next transaction', async () => {
    await send(0, 'no')
    late(END_TXN)
    await sender.abort()
    expect(proxy.heldKinds).toEqual(new Set([END_TXN]))
    await send(0, 'first')
    await proxy.release()
    await send(1, 'second')
    await sender.commit([{ topic, partition: 1, offset: 1 }], member)
    expect(await values()).toEqual(['first', 'second'])
  })

  /** What the broker says to the request of a kind that arrives late. */
  const releasing = async (apiKey: number, errorAt: number): Promise<number> => {
    let error = -1
    proxy.answered = (key, answer) => {
      if (key === apiKey) error = answer.readInt16BE(answer.length + errorAt)
    }
    await proxy.release(apiKey)
    proxy.answered = () => {}
    return error
  }

  it('offsets are refused, and do not move those committed since', async () => {
    await send(0, 'a')
    late(TXN_OFFSET_COMMIT)
    await sender.commit([{ topic, partition: 1, offset: 5 }], member)
    expect(proxy.heldKinds).toEqual(new Set([TXN_OFFSET_COMMIT]))
    await sender.commit([{ topic, partition: 1, offset: 9 }], member)
    await send(0, 'b')
    // One topic's partition with its error, and the tags of three structures.
    expect(await releasing(TXN_OFFSET_COMMIT, -5)).toBe(INVALID_PRODUCER_EPOCH)
    await sender.abort()
    expect(await committed()).toBe(9)
    await sender.commit([{ topic, partition: 1, offset: 12 }], member)
    expect(await committed()).toBe(12)
    expect(await values()).toEqual(['a'])
  })

  it('partitions begin no transaction that nobody ends', async () => {
    late(ADD_PARTITIONS)
    await send(0, 'a')
    await sender.commit([], undefined)
    expect(proxy.heldKinds).toEqual(new Set([ADD_PARTITIONS]))
    expect(await releasing(ADD_PARTITIONS, -2)).toBe(INVALID_PRODUCER_EPOCH)
    await send(0, 'b')
    await sender.commit([], undefined)
    expect(await values()).toEqual(['a', 'b'])
  })
})

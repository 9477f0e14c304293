import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { LogClient } from '../../../src/log/port.js'
import { startKafka, type KafkaServer } from '../../support/kafka/broker.js'
import { batchOf, client, producer, readAll, soleMember, uniqueName } from './support.js'

const PARTITIONS = 6
const TRANSACTIONS = 120

describe('three brokers, one of them killed while transactions run', () => {
  let server: KafkaServer
  let log: LogClient

  beforeAll(async () => {
    server = await startKafka({ brokers: 3 })
    log = client(server.brokers)
  }, 120_000)
  afterAll(async () => {
    await log.close()
    await server.stop()
  })

  it.each([0, 1, 2])('broker %i: nothing is lost, nothing stands twice, offsets and outputs agree', { timeout: 180_000 }, async (broker) => {
    const topic = uniqueName('failover')
    await log.createTopics([{ topic, partitions: PARTITIONS }])
    const member = await soleMember(log, uniqueName('group'))
    const sender = await producer(log, uniqueName('tx'), { transactionTimeoutMs: 20_000 })
    const committed = async (): Promise<number> => (await log.committedOffsets(member.group, [{ topic, partition: 0 }]))[0] ?? 0

    let killed: Promise<void> | undefined
    let done = 0
    while (done < TRANSACTIONS) {
      if (done >= TRANSACTIONS / 3 && killed === undefined) killed = server.kill('SIGKILL', broker)
      try {
        const batches = Array.from({ length: PARTITIONS }, (_, partition) => [batchOf(topic, partition, [`${done}-a`]), batchOf(topic, partition, [`${done}-b`])])
        await Promise.all(batches.map((pair) => sender.send(pair)))
        await sender.commit([{ topic, partition: 0, offset: done + 1 }], member)
        done++
      } catch (error) {
        const { reaction } = error as { reaction?: string }
        if (reaction === 'abort') await sender.abort().catch(() => sender.init())
        else if (reaction === 'reinit' || reaction === 'indeterminate') await sender.init()
        else throw error
        done = await committed()
      }
    }
    await killed
    const expected = Array.from({ length: TRANSACTIONS }, (_, i) => [`${i}-a`, `${i}-b`]).flat()
    for (let partition = 0; partition < PARTITIONS; partition++) expect(await readAll(log, topic, partition)).toEqual(expected)
    expect(await committed()).toBe(TRANSACTIONS)
    await sender.close()
    await server.restart(broker)
  })
})

import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { LogClient } from '../../../src/log/port.js'
import { startKafka, type KafkaServer } from '../../support/kafka/broker.js'
import { until } from '../../support/until.js'
import { batchOf, client, drain, producer, readAll, soleMember, uniqueName } from './support.js'

const PARTITIONS = 6
const TRANSACTIONS = 120

describe('three brokers, one of them gone while transactions run', () => {
  let server: KafkaServer
  let down: number | undefined
  let log: LogClient

  beforeAll(async () => {
    server = await startKafka({ brokers: 3 })
    log = client(server.brokers, { requestTimeoutMs: 10_000 })
  }, 120_000)
  afterEach(async () => {
    if (down !== undefined) await server.restart(down)
    down = undefined
  }, 120_000)
  afterAll(async () => {
    await log.close()
    await server.stop()
  })

  it.each([
    ['SIGKILL', 0],
    ['SIGKILL', 1],
    ['SIGKILL', 2],
    // Its connections stay open and say nothing.
    ['SIGSTOP', 0],
  ] as const)(
    '%s of broker %i: nothing is lost, nothing stands twice, offsets and outputs agree',
    { timeout: 180_000 },
    async (signal, broker) => {
      const topic = uniqueName('failover')
      await log.createTopics([{ topic, partitions: PARTITIONS }])
      const member = await soleMember(log, uniqueName('group'), 300_000)
      const sender = await producer(log, uniqueName('tx'), { transactionTimeoutMs: 20_000 })
      const committed = async (): Promise<number> => (await log.committedOffsets(member.group, [{ topic, partition: 0 }]))[0] ?? 0

      const seen: string[][] = Array.from({ length: PARTITIONS }, () => [])
      const refused: unknown[] = []
      const take = (values: string[], partition: number): void => {
        try {
          drain(reader, topic, partition, values)
        } catch (error) {
          // Given up for now; the next fetch goes on from there.
          if ((error as { reaction?: string }).reaction !== 'retry') refused.push(error)
        }
      }
      const reader = log.reader({ isolation: 'read_committed', prefetchBytes: 20_000, onData: () => seen.forEach(take) })
      reader.assign(seen.map((_, partition) => ({ topic, partition, offset: 0 })))

      let done = 0
      while (done < TRANSACTIONS) {
        if (done >= TRANSACTIONS / 3 && down === undefined) {
          down = broker
          void server.kill(signal, broker)
        }
        try {
          const batches = Array.from({ length: PARTITIONS }, (_, partition) => [
            batchOf(topic, partition, [`${done}-a`]),
            batchOf(topic, partition, [`${done}-b`]),
          ])
          await Promise.all(batches.map((pair) => sender.send(pair)))
          await sender.commit([{ topic, partition: 0, offset: done + 1 }], member)
          done++
        } catch (error) {
          const { reaction } = error as { reaction?: string }
          if (reaction === 'fatal' || reaction === 'lost') throw error
          if (reaction !== 'abort' || !(await succeeds(sender.abort())))
            await until(() => succeeds(sender.init()), { what: 'init()', within: 120_000 })
          done = await committed()
        }
      }
      const expected = Array.from({ length: TRANSACTIONS }, (_, i) => [`${i}-a`, `${i}-b`]).flat()
      for (let partition = 0; partition < PARTITIONS; partition++) expect(await readAll(log, topic, partition)).toEqual(expected)
      expect(await committed()).toBe(TRANSACTIONS)
      await until(() => seen.every((values) => values.length >= expected.length), {
        what: 'the reader that was there all the time',
        within: 30_000,
      })
      for (const values of seen) expect(values).toEqual(expected)
      expect(refused).toEqual([])
      reader.close()
      await sender.close()
    },
  )
})

function succeeds(step: Promise<void>): Promise<boolean> {
  return step.then(
    () => true,
    () => false,
  )
}

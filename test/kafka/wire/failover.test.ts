import { lastValueFrom, takeWhile } from 'rxjs'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { kafka, silentLogger, toTopic, withTransaction, type SourceOptions } from '../../../src/index.js'
import type { LogClient } from '../../../src/log/port.js'
import { startKafka, type KafkaServer } from '../../support/kafka/broker.js'
import { kafkaJs } from '../../support/kafka/client.js'
import { until } from '../../support/until.js'
import { batchOf, client, drain, producer, readAll, soleMember, uniqueName } from './support.js'

const PARTITIONS = 6
const TRANSACTIONS = 120

describe('three brokers', () => {
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
    ['SIGKILL', 2],
    // Its connections stay open and say nothing.
    ['SIGSTOP', 0],
  ] as const)(
    '%s of broker %i while transactions run: nothing is lost, nothing stands twice, offsets and outputs agree',
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

  it(
    'an unclean election while a member is down: it notices at its start that records it read are lost',
    { timeout: 120_000 },
    async () => {
      const [topic, output, group] = [uniqueName('unclean'), uniqueName('out'), uniqueName('group')]
      const admin = kafkaJs(server.brokers).admin()
      await admin.connect()
      const configEntries = ['unclean.leader.election.enable=true', 'min.insync.replicas=1'].map((entry) => {
        const [name = '', value = ''] = entry.split('=')
        return { name, value }
      })
      await admin.createTopics({ topics: [{ topic, replicaAssignment: [{ partition: 0, replicas: [1, 2] }], configEntries }] })
      await admin.disconnect()
      await log.createTopics([{ topic: output, partitions: 1 }])
      const write = async (...values: string[]): Promise<void> => {
        const sender = await producer(log, undefined)
        for (const value of values) await sender.send([batchOf(topic, 0, [value])])
        await sender.close()
      }
      const cluster = kafka({ brokers: server.brokers, logger: silentLogger })
      const copy = async (records: number, options: Partial<SourceOptions> = {}): Promise<void> => {
        let read = 0
        await lastValueFrom(
          cluster.source({ group, topics: [topic], ...options }).pipe(
            withTransaction((stream) => stream.pipe(toTopic({ topic: output })), { every: 10 }),
            takeWhile((commit) => (read += commit.records) < records, true),
          ),
        )
      }
      await write('a', 'b')
      // What is written now, the first broker alone has.
      await server.kill('SIGKILL', 1)
      await write('c', 'd', 'e')
      await copy(5)
      down = 0
      await server.kill('SIGKILL', 0)
      await server.restart(1)
      // The log grows past the position of the member: offsets tell it nothing.
      await write('x', 'y', 'z', 'u')
      expect(await log.offsets([{ topic, partition: 0 }], 'latest')).toEqual([6])
      await expect(copy(1)).rejects.toMatchObject({
        code: 'OFFSET_OUT_OF_RANGE',
        origin: { topic, partition: 0, offset: 5 },
        message: expect.stringMatching(/was read up to offset 5 .*truncated.* offset 2 or before/),
      })
      await copy(4, { onOutOfRange: 'earliest' })
      expect(await readAll(log, output, 0)).toEqual(['a', 'b', 'c', 'd', 'e', 'x', 'y', 'z', 'u'])
      await cluster.close()
    },
  )
})

function succeeds(step: Promise<void>): Promise<boolean> {
  return step.then(
    () => true,
    () => false,
  )
}

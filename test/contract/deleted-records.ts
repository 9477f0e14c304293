import { lastValueFrom, takeWhile, toArray, type Subscription } from 'rxjs'
import { expect } from 'vitest'
import { LogCluster } from '../../src/cluster/cluster.js'
import { joinTable, table, toTopic, withTransaction, type Cluster, type RecordStream, type SourceOptions } from '../../src/index.js'
import { BatchWriter, type OutputBatch } from '../../src/log/batch/write.js'
import type { LogClient } from '../../src/log/port.js'
import { systemClock } from '../../src/record/clock.js'
import { silentLogger, type Logger } from '../../src/record/logger.js'
import { json, string } from '../../src/record/serde.js'
import { memoryStore, type MemoryStore } from '../../src/state/memory-store.js'
import { restore } from '../../src/state/restore.js'
import { stateHeader } from '../../src/state/state-header.js'
import { until } from '../support/until.js'
import type { ContractCase, ContractLog } from './case.js'
import { batchOf, newTopic, producer, readAll, soleMember, uniqueName } from './support.js'

/** A reader whose place in the log was deleted: what the port says of it, and what is built on that. */
export const deletedRecords: readonly ContractCase[] = [
  {
    name: 'the start of a partition was deleted: OFFSET_OUT_OF_RANGE with the place, again at each try; reading goes on from the new start',
    async run({ client, deleteBefore }) {
      const topic = await newTopic(client, 2)
      await send(client, ...['a', 'b', 'c'].map((value) => batchOf(topic, 1, [value])))
      await deleteBefore({ topic, partition: 1, offset: 2 })
      expect(await client.offsets([{ topic, partition: 1 }], 'earliest')).toEqual([2])
      const errors: unknown[] = []
      const reader = client.reader({
        isolation: 'read_committed',
        prefetchBytes: 1_000,
        onData() {
          try {
            reader.take(topic, 1)
          } catch (error) {
            errors.push(error)
          }
        },
      })
      reader.assign([{ topic, partition: 1, offset: 1 }])
      await until(() => errors.length >= 2)
      reader.close()
      for (const error of errors) expect(error).toMatchObject({ code: 'OFFSET_OUT_OF_RANGE', origin: { topic, partition: 1, offset: 1 } })
      expect(await readAll(client, topic, 1, { from: 2 })).toEqual(['c'])
    },
  },
  {
    name: "deleted before they were read: a pipeline stops, naming the place, or goes on at 'earliest' or 'latest'",
    async run(log) {
      const { client } = log
      for (const onOutOfRange of [undefined, 'earliest', 'latest'] as const) {
        const { topic, group } = await behind(log)
        const output = await newTopic(client)
        const told: object[] = []
        const run = copy(log, { group, topics: [topic], ...(onOutOfRange && { onOutOfRange }) }, output, told)
        if (onOutOfRange === undefined) {
          await expect(run(0)).rejects.toMatchObject({ code: 'OFFSET_OUT_OF_RANGE', origin: { topic, partition: 0, offset: 1 } })
          continue
        }
        const later = until(() => told.length > 0).then(() => send(client, batchOf(topic, 0, ['later'])))
        await Promise.all([run(onOutOfRange === 'earliest' ? 3 : 1), later])
        expect(await readAll(client, output, 0)).toEqual(onOutOfRange === 'earliest' ? ['3', '4', 'later'] : ['later'])
        expect(told).toEqual([{ origin: { topic, partition: 0, offset: 1 }, offset: onOutOfRange === 'earliest' ? 3 : 5, onOutOfRange }])
        expect(await client.committedOffsets(group, [{ topic, partition: 0 }])).toEqual([6])
      }
    },
  },
  {
    name: 'deleted before they were read: a source without a transaction goes on too',
    async run(log) {
      const { topic, group } = await behind(log)
      const seen: string[] = []
      const subscriptions: Subscription[] = []
      subscriptions.push(
        clusterOf(log)
          .source({ group, topics: [topic], onOutOfRange: 'earliest' })
          .subscribe((stream) => subscriptions.push(stream.subscribe(({ value }) => seen.push(String(value))))),
      )
      await until(() => seen.length === 2)
      expect(seen).toEqual(['3', '4'])
      for (const subscription of subscriptions) subscription.unsubscribe()
    },
  },
  {
    name: 'the start of a changelog was deleted while it was read: the restore says so, and the next one has what is left',
    async run({ client, deleteBefore }) {
      const topic = await newTopic(client)
      await send(client, ...['a', 'b', 'c'].map((key) => change(topic, key)))
      // Between the look at where it begins and the first fetch.
      const late: LogClient = Object.create(client, {
        offsets: {
          async value(...asked: Parameters<LogClient['offsets']>) {
            const found = await client.offsets(...asked)
            if (asked[1] === 'earliest') await deleteBefore({ topic, partition: 0, offset: 2 })
            return found
          },
        },
      }) as LogClient
      await expect(restored(late, topic)).rejects.toMatchObject({
        code: 'OFFSET_OUT_OF_RANGE',
        reaction: 'retry',
        origin: { topic, partition: 0, offset: 0 },
      })
      expect(await restored(client, topic)).toEqual(['c'])
      // A copy that was kept warm up to an offset before, or behind what there is now.
      for (const reached of [1, 4])
        await expect(restored(client, topic, reached)).rejects.toMatchObject({ code: 'OFFSET_OUT_OF_RANGE', reaction: 'retry' })
      expect(await restored(client, topic, 3)).toEqual([])
    },
  },
  {
    name: 'the start of a table was deleted before it was read: the table is read again, and holds what its topic holds',
    async run(log) {
      const { client, deleteBefore } = log
      const [topic, rows, output] = [await newTopic(client), await newTopic(client), await newTopic(client)]
      const at = { topic: rows, partition: 0 }
      await send(client, row(rows, 'k', 'old'), row(rows, 'gone', 'old'))
      const view = table({ topic: rows, value: string() })
      const told: object[] = []
      const cluster = clusterOf(log, told)
      const running = lastValueFrom(
        cluster.source({ group: uniqueName('group'), topics: [topic] }).pipe(
          withTransaction(
            (records: RecordStream) =>
              records.pipe(
                joinTable(view, { kind: 'left', join: ({ value }, found) => `${String(value)} ${found ?? 'none'}` }),
                toTopic({ topic: output }),
              ),
            { every: 10 },
          ),
          takeWhile(() => true),
        ),
        { defaultValue: undefined },
      )
      const ask = async (key: string, count: number): Promise<string | undefined> => {
        await send(client, row(topic, key, 'sees'))
        return until(async () => {
          const found = await readAll(client, output, 0)
          return found.length === count && found.at(-1)
        })
      }
      expect(await ask('k', 1)).toBe('sees old')
      // What stands behind an open transaction is not read before it ends.
      const holding = await producer(client, uniqueName('tx'))
      await holding.send([row(rows, 'held', 'x')])
      await send(client, row(rows, 'gone', null), row(rows, 'k', 'new'))
      await deleteBefore({ ...at, offset: 4 })
      await holding.abort()
      await until(() => told.length > 0)
      expect(await ask('k', 2)).toBe('sees new')
      // Its last word lay before the new start: the table holds what its topic holds.
      expect(await ask('gone', 3)).toBe('sees none')
      await cluster.close()
      await running
    },
  },
]

async function send(client: LogClient, ...batches: OutputBatch[]): Promise<void> {
  const sender = await producer(client, undefined)
  await sender.send(batches)
  await sender.close()
}

function clusterOf({ newClient }: ContractLog, told: object[] = []): Cluster {
  const logger: Logger = { ...silentLogger, warn: (about: object) => void ('origin' in about && told.push(about)) }
  return new LogCluster({ openLog: async () => newClient(), clock: systemClock, logger })
}

/** A topic with the records 0 to 4, of which 3 and 4 are left, and a group that is about to read record 1. */
async function behind({ client, deleteBefore }: ContractLog): Promise<{ readonly topic: string; readonly group: string }> {
  const topic = await newTopic(client)
  const group = uniqueName('group')
  await send(client, ...[0, 1, 2, 3, 4].map((value) => batchOf(topic, 0, [String(value)])))
  const member = await soleMember(client, group)
  await (await producer(client, uniqueName('tx'))).commit([{ topic, partition: 0, offset: 1 }], member)
  const conversation = client.group({ group, instanceId: undefined, sessionTimeoutMs: 10_000, rebalanceTimeoutMs: 10_000 })
  await conversation.leave(member)
  await deleteBefore({ topic, partition: 0, offset: 3 })
  return { topic, group }
}

/** Runs a pipeline until it has read so many records. */
function copy(log: ContractLog, source: SourceOptions, output: string, told: object[]): (records: number) => Promise<unknown> {
  return (records) => {
    let read = 0
    return lastValueFrom(
      clusterOf(log, told)
        .source(source)
        .pipe(
          withTransaction((stream) => stream.pipe(toTopic({ topic: output })), { every: 10 }),
          takeWhile((commit) => (read += commit.records) < records, true),
          toArray(),
        ),
    )
  }
}

const STORE = memoryStore<number>({ name: 's', kind: 'test', version: 1, serde: json<number>(), timed: false })

function change(topic: string, key: string): OutputBatch {
  const writer = new BatchWriter(topic, 0, 1024)
  writer.append(key, '1', stateHeader(STORE), 0)
  return writer.take(true)[0] as OutputBatch
}

function row(topic: string, key: string, value: string | null): OutputBatch {
  const writer = new BatchWriter(topic, 0, 1024)
  writer.append(key, value, {}, 0)
  return writer.take(true)[0] as OutputBatch
}

async function restored(log: LogClient, topic: string, reached?: number): Promise<string[]> {
  const store: MemoryStore<number> = STORE.create()
  const part = { spec: STORE, store, topic, partition: 0, ...(reached === undefined ? {} : { reached }) }
  await restore([part], { log, clock: systemClock, logger: silentLogger, cancelled: () => false })
  return [...store].map(([key]) => String(key))
}

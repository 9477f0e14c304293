import { expect } from 'vitest'
import { BatchWriter } from '../../src/log/batch/write.js'
import type { LogClient, LogProducer } from '../../src/log/port.js'
import type { HeadersInput } from '../../src/record/headers.js'
import { until } from '../support/until.js'
import type { ContractCase } from './case.js'
import { batchOf, drain, newTopic, producer, readAll, readPartition, uniqueName } from './support.js'

/** From less than one batch at a time to everything at once. */
const PREFETCHES = [1, 300, 1_500, 1024 * 1024]

/** What a reader sees, and when. */
export const visibility: readonly ContractCase[] = [
  {
    name: 'a reader tells of which partitions there is news, before it says that there is: of data, of where one ends, and of errors',
    async run({ client, deleteBefore }) {
      const topic = await newTopic(client, 4)
      const news = new Set<number>()
      let untold = 0
      const reader = client.reader({
        isolation: 'read_committed',
        prefetchBytes: 10_000,
        onNews: (of, partition) => void (of === topic && news.add(partition)),
        onData: () => (untold += [0, 1, 2, 3].filter((partition) => !news.has(partition) && has(partition)).length),
      })
      const seen = [0, 0, 0, 0]
      const errors: unknown[] = []
      const has = (partition: number): boolean => {
        try {
          const fetched = reader.take(topic, partition)
          seen[partition] = fetched?.nextOffset ?? (seen[partition] as number)
          return fetched !== undefined
        } catch (error) {
          errors.push(error)
          return true
        }
      }
      const takeNews = (): void => {
        for (const partition of [...news]) {
          news.delete(partition)
          while (has(partition));
        }
      }
      reader.assign([0, 1, 2, 3].map((partition) => ({ topic, partition, offset: 0 })))
      // Where each ends is news.
      const told = new Set<number>()
      await until(() => {
        for (const partition of news) told.add(partition)
        return told.size === 4
      })
      takeNews()
      const sender = await producer(client, undefined)
      for (let i = 1; i <= 5; i++) {
        await sender.send([batchOf(topic, 2, [`${i}`])])
        await until(() => {
          takeNews()
          return seen[2] === i
        })
      }
      expect([seen, errors]).toEqual([[0, 0, 5, 0], []])
      // Of those that nothing happened to there is none.
      expect([...news]).toEqual([])
      await sender.send([batchOf(topic, 1, ['a', 'b'])])
      await until(() => news.has(1))
      await deleteBefore({ topic, partition: 1, offset: 2 })
      reader.assign([0, 1, 2, 3].map((partition) => ({ topic, partition, offset: partition === 1 ? 1 : (seen[partition] as number) })))
      await until(() => {
        takeNews()
        return errors.length > 0
      })
      expect(errors[0]).toMatchObject({ code: 'OFFSET_OUT_OF_RANGE', origin: { topic, partition: 1, offset: 1 } })
      expect(untold).toBe(0)
      reader.close()
    },
  },
  {
    name: 'records come in the order sent, offsets rising, bytes, headers and timestamps equal',
    async run({ client, newClient }) {
      const topic = await newTopic(client, 2)
      const headers: HeadersInput = { trace: Buffer.from([0, 255]), none: null, empty: '', twice: ['1', null] }
      const sent = Array.from({ length: 60 }, (_, i) => ({
        key: [null, Buffer.alloc(0), Buffer.from(`key ${i}`)][i % 3] as Buffer | null,
        value: [Buffer.from([i, 0, 255]), null, Buffer.alloc(0), Buffer.alloc(4_000, i)][i % 4] as Buffer | null,
        headers: i % 2 === 0 ? headers : {},
        timestamp: 1_700_000_000_000 + ((i * 37) % 11) * 1_000,
      }))
      for (const compression of ['none', 'gzip'] as const) {
        const sender = await producer(client, undefined, { compression })
        const writer = new BatchWriter(topic, compression === 'none' ? 0 : 1, 20_000)
        for (const { key, value, headers: given, timestamp } of sent) writer.append(key, value, given, timestamp)
        const batches = writer.take(true)
        expect(batches.length).toBeGreaterThan(2)
        // Not one after the other: the order of calls is what counts.
        await Promise.all(batches.map((batch) => sender.send([batch])))
      }
      for (const partition of [0, 1]) {
        const { records, nextOffset } = await readPartition(newClient(), topic, partition)
        expect(nextOffset).toBe(sent.length)
        expect(records.map(({ origin }) => origin)).toEqual(sent.map((_, offset) => ({ topic, partition, offset })))
        expect(records.map(({ key, value, timestamp }) => ({ key, value, timestamp }))).toEqual(
          sent.map(({ key, value, timestamp }) => ({ key, value, timestamp })),
        )
        const stored = { trace: Buffer.from([0, 255]), none: null, empty: Buffer.alloc(0), twice: [Buffer.from('1'), null] }
        expect(records.map((record) => ({ ...record.headers }))).toEqual(sent.map((_, i) => (i % 2 === 0 ? stored : {})))
        const [tail] = (await readPartition(newClient(), topic, partition, { from: 41 })).records
        expect(tail?.origin.offset).toBe(41)
      }
    },
  },
  {
    name: "a transaction's records are visible after its commit, not before, in all partitions",
    async run({ client, newClient }) {
      const partitions = [0, 1, 2]
      const topic = await newTopic(client, partitions.length)
      const sender = await producer(client, uniqueName('tx'))
      await sender.send(partitions.map((partition) => batchOf(topic, partition, [`${partition}a`, `${partition}b`])))
      // What stands behind an open transaction waits with it.
      const plain = await producer(client, undefined)
      await plain.send([batchOf(topic, 0, ['behind'])])
      const at = partitions.map((partition) => ({ topic, partition }))
      expect(await client.offsets(at, 'stable')).toEqual([0, 0, 0])
      expect(await client.offsets(at, 'latest')).toEqual([3, 2, 2])

      const reader = newClient().reader({ isolation: 'read_committed', prefetchBytes: 1024 * 1024, onData: () => {} })
      const values: string[][] = partitions.map(() => [])
      const read = (): string[][] => {
        for (const partition of partitions) drain(reader, topic, partition, values[partition] as string[])
        return values
      }
      reader.assign(at.map((partition) => ({ ...partition, offset: 0 })))
      await until(() => partitions.every((partition) => reader.end(topic, partition) !== undefined), { what: 'the first fetch' })
      expect(partitions.map((partition) => reader.end(topic, partition))).toEqual([0, 0, 0])
      expect(read()).toEqual([[], [], []])
      await sender.commit([], undefined)
      await until(() => read().flat().length === 7, { what: 'the committed records' })
      expect(values).toEqual([
        ['0a', '0b', 'behind'],
        ['1a', '1b'],
        ['2a', '2b'],
      ])
      reader.close()
    },
  },
  {
    name: 'how much is fetched ahead may change, and each fetch is told of',
    async run({ client, newClient }) {
      const topic = await newTopic(client)
      const sender = await producer(client, undefined)
      for (let i = 0; i < 8; i++) await sender.send([batchOf(topic, 0, [`${i}`.repeat(100)])])
      let prefetchBytes = 1
      const told: { readonly ms: number; readonly error?: unknown; readonly topic?: string | undefined }[] = []
      const reader = newClient().reader({
        isolation: 'read_committed',
        get prefetchBytes() {
          return prefetchBytes
        },
        onData: () => {},
        onFetched: (took) => told.push(took),
      })
      const batches = (): number | undefined => {
        let count = 0
        while (reader.take(topic, 0)?.batch !== undefined) count++
        return count > 0 ? count : undefined
      }
      reader.assign([{ topic, partition: 0, offset: 0 }])
      const taken = [await until(batches, { what: 'the first' }), await until(batches, { what: 'the second' })]
      expect(taken).toEqual([1, 1])
      expect(told.length).toBeGreaterThanOrEqual(2)
      expect(told.every(({ ms, error, topic: of }) => ms >= 0 && error === undefined && of === topic)).toBe(true)
      prefetchBytes = 1024 * 1024
      const after: number[] = []
      const all = (): boolean => after.push(batches() ?? 0) > 0 && after.reduce((sum, count) => sum + count, 0) === 6
      await until(all, { what: 'all others' })
      expect(Math.max(...after)).toBeGreaterThan(1)
      reader.close()
    },
  },
  {
    name: 'aborted records are never visible, however transactions interleave',
    async run({ client }) {
      const topic = await newTopic(client)
      // Aborts end in another order than they began, and one producer aborts and commits in turn.
      const { visible, sent } = await play(client, topic, 'a b c b- a+ c a b b- c- a- a a+ b c a c- b+ a- b b- c+ c')
      expect(visible.length).toBeGreaterThan(5)
      for (const prefetchBytes of PREFETCHES) expect(await readAll(client, topic, 0, { prefetchBytes })).toEqual(visible)
      expect(await readAll(client, topic, 0, { isolation: 'read_uncommitted' })).toEqual(sent)
    },
  },
  {
    name: 'aborted records are never visible where a transaction spans several fetches',
    async run({ client }) {
      const topic = await newTopic(client)
      const [aborting, committing, plain] = await Promise.all([
        producer(client, uniqueName('tx')),
        producer(client, uniqueName('tx')),
        producer(client, undefined),
      ])
      const visible: string[] = []
      for (let i = 0; i < 20; i++) {
        await aborting.send([batchOf(topic, 0, [`aborted ${i} ${'x'.repeat(300)}`])])
        const value = `kept ${i} ${'x'.repeat(300)}`
        await (i % 2 === 0 ? committing : plain).send([batchOf(topic, 0, [value])])
        visible.push(value)
      }
      await committing.commit([], undefined)
      await aborting.abort()
      for (const prefetchBytes of PREFETCHES) {
        expect(await readAll(client, topic, 0, { prefetchBytes })).toEqual(visible)
        // In the midst of the aborted transaction, whose beginning the reader never fetches.
        expect(await readAll(client, topic, 0, { prefetchBytes, from: 20 })).toEqual(visible.slice(10))
      }
    },
  },
  {
    name: 'positions go past control records, up to the high watermark',
    async run({ client }) {
      const topic = await newTopic(client)
      const sender = await producer(client, uniqueName('tx'))
      await sender.send([batchOf(topic, 0, ['a', 'b'])])
      await sender.commit([], undefined)
      await sender.send([batchOf(topic, 0, ['aborted'])])
      await sender.abort()
      // Two records and a marker, one record and a marker. A marker is written some time after the answer.
      const end = 5
      await until(async () => (await client.offsets([{ topic, partition: 0 }], 'stable'))[0] === end, { what: 'both markers' })
      for (const isolation of ['read_committed', 'read_uncommitted'] as const) {
        for (let from = 0; from < end; from++) {
          const { records, nextOffset } = await readPartition(client, topic, 0, { isolation, from })
          expect(nextOffset).toBe(end)
          const offsets = isolation === 'read_committed' ? [0, 1] : [0, 1, 3]
          expect(records.map(({ origin }) => origin.offset)).toEqual(offsets.filter((offset) => offset >= from))
        }
      }
      const plain = await producer(client, undefined)
      await plain.send([batchOf(topic, 0, ['next'])])
      const { records } = await readPartition(client, topic, 0, { from: end })
      expect(records.map(({ origin }) => origin.offset)).toEqual([end])
    },
  },
]

interface Played {
  readonly sent: readonly string[]
  readonly visible: readonly string[]
}

/** Each letter is a producer: `a` sends two records, `a+` commits, `a-` aborts. What is open in the end is aborted. */
async function play(client: LogClient, topic: string, script: string): Promise<Played> {
  const producers = new Map<string, LogProducer>()
  const sent: string[] = []
  const open = new Map<string, string[]>()
  const committed = new Set<string>()
  for (const [i, step] of script.split(' ').entries()) {
    const who = step.charAt(0)
    const sender = producers.get(who) ?? (await producer(client, uniqueName(`tx-${who}`)))
    producers.set(who, sender)
    const values = open.get(who) ?? []
    if (step === who) {
      const batch = [`${who}${i}.1`, `${who}${i}.2`]
      await sender.send([batchOf(topic, 0, batch)])
      sent.push(...batch)
      open.set(who, [...values, ...batch])
      continue
    }
    if (step === `${who}+`) {
      await sender.commit([], undefined)
      for (const value of values) committed.add(value)
    } else await sender.abort()
    open.delete(who)
  }
  for (const sender of producers.values()) await sender.abort()
  return { sent, visible: sent.filter((value) => committed.has(value)) }
}

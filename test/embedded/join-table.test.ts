import { lastValueFrom, map, merge, toArray, type Observable } from 'rxjs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { z } from 'zod'
import {
  count,
  describe as describePipeline,
  aggregate,
  embedded,
  json,
  joinTable,
  silentLogger,
  string,
  table,
  toTopic,
  withTransaction,
  type Cluster,
  type Commit,
  type RecordStream,
  type Table,
  type TransactionOptions,
} from '../../src/index.js'
import { createEmbeddedBroker, type EmbeddedBroker } from '../../src/testing/index.js'
import { contents, runUntil, sumOf, values } from '../support/pipelines.js'
import { until } from '../support/until.js'

const Customer = z.object({ city: z.string() })
const customerRecord = (key: string, city: string) => ({ key, value: JSON.stringify({ city }) })

describe('joinTable', () => {
  let broker: EmbeddedBroker
  let cluster: Cluster

  beforeEach(async () => {
    broker = createEmbeddedBroker()
    cluster = embedded({ broker, logger: silentLogger })
    await cluster.createTopics([
      { topic: 'orders', partitions: 4 },
      { topic: 'customers', partitions: 4, config: { 'cleanup.policy': 'compact' } },
      { topic: 'out', partitions: 4 },
    ])
  })

  afterEach(() => cluster.close())

  const run = (
    records: number,
    project: (records: RecordStream) => Observable<unknown>,
    options: TransactionOptions = {},
  ): Promise<Commit[]> =>
    runUntil(
      cluster,
      { group: 'g', topics: ['orders'], records, options: { maxRecords: 40, provision: true, retryDelay: 5, ...options } },
      project,
    )

  const customers = (): Table<{ city: string }> => table({ topic: 'customers', value: Customer })
  const left =
    (rows: Table<{ city: string }> = customers()) =>
    (records: RecordStream): Observable<unknown> =>
      records.pipe(
        joinTable(rows, { kind: 'left', join: (order, customer) => `${String(order.value)}@${customer?.city ?? '-'}` }),
        toTopic({ topic: 'out' }),
      )
  const inner = (records: RecordStream): Observable<unknown> =>
    records.pipe(
      joinTable(customers(), { join: (order, customer) => `${String(order.value)}@${customer.city}` }),
      toTopic({ topic: 'out' }),
    )

  it('knows the whole table before the first record, and its latest value of each key', async () => {
    const keys = Array.from({ length: 200 }, (_, i) => `c${i}`)
    for (const round of ['first', 'second', 'last'])
      await cluster.produce({ topic: 'customers', records: keys.map((key) => customerRecord(key, `${round} of ${key}`)) })
    await cluster.produce({ topic: 'orders', records: keys.map((key) => ({ key, value: key })) })
    await run(keys.length, left())
    expect(await values(cluster, 'out')).toEqual(keys.map((key) => `${key}@last of ${key}`).sort())
  })

  it('inner drops what has no row, left joins it with undefined; a tombstone takes a row away', async () => {
    await cluster.produce({
      topic: 'customers',
      records: [customerRecord('a', 'Rome'), customerRecord('gone', 'Troy'), { key: 'gone', value: null }],
    })
    await cluster.produce({
      topic: 'orders',
      records: [
        { key: 'a', value: '1' },
        { key: 'gone', value: '2' },
        { key: 'never', value: '3' },
      ],
    })
    const commits = await run(3, (records) => merge(inner(records), left()(records)), { maxRecords: 100 }).catch((error: unknown) => error)
    // Two definitions of one topic are two readers of it.
    expect(commits).toMatchObject({ code: 'PLAN_FAILED' })
    const both = customers()
    const done = await run(3, (records) =>
      merge(
        records.pipe(joinTable(both, { join: (order, { city }) => `inner ${String(order.value)}@${city}` })),
        records.pipe(joinTable(both, { kind: 'left', join: (order, row) => `left ${String(order.value)}@${row?.city ?? '-'}` })),
      ).pipe(toTopic({ topic: 'out' })),
    )
    expect(await values(cluster, 'out')).toEqual(['inner 1@Rome', 'left 1@Rome', 'left 2@-', 'left 3@-'])
    expect(sumOf(done, 'processed')).toBe(3)
  })

  it('a record that inner drops counts as filtered', async () => {
    await cluster.produce({ topic: 'orders', records: [{ key: 'a', value: '1' }] })
    expect(sumOf(await run(1, inner), 'filtered')).toBe(1)
  })

  it('keeps key, headers, timestamp and origin', async () => {
    await cluster.produce({ topic: 'customers', records: [customerRecord('a', 'Rome')] })
    await cluster.produce({ topic: 'orders', records: [{ key: 'a', value: '1', headers: { h: 'x' }, timestamp: 55 }] })
    const seen: unknown[] = []
    await run(1, (records) =>
      records.pipe(
        joinTable(customers(), { join: (_, row) => row.city }),
        map((record) =>
          seen.push({
            key: String(record.key),
            value: record.value,
            h: String(record.headers['h']),
            timestamp: record.timestamp,
            topic: record.origin.topic,
          }),
        ),
      ),
    )
    expect(seen).toEqual([{ key: 'a', value: 'Rome', h: 'x', timestamp: 55, topic: 'orders' }])
  })

  /** Asks again and again with new orders until the table's new value answers. */
  async function follows(rows: Table<{ city: string }>, within: number): Promise<string[]> {
    await cluster.produce({ topic: 'customers', records: [customerRecord('a', 'Rome'), customerRecord('b', 'Bonn')] })
    const stop = new AbortController()
    const running = lastValueFrom(
      cluster.source({ group: 'g', topics: ['orders'], signal: stop.signal }).pipe(withTransaction(left(rows), { every: 5 }), toArray()),
    )
    const ask = async (answer: string): Promise<void> => {
      let n = 0
      await until(
        async () => {
          await cluster.produce({ topic: 'orders', records: ['a', 'b'].map((key) => ({ key, value: `${key}${n++}` })) })
          return (await values(cluster, 'out')).some((value) => value?.startsWith('a') === true && value.endsWith(answer))
        },
        { within, what: `an order joined with ${answer}` },
      )
    }
    try {
      await ask('@Rome')
      await cluster.produce({ topic: 'customers', records: [customerRecord('a', 'Paris')] })
      await ask('@Paris')
      await cluster.produce({ topic: 'customers', records: [{ key: 'a', value: null }] })
      await ask('@-')
    } finally {
      stop.abort()
      await running
    }
    return (await values(cluster, 'out')).filter((value) => value?.startsWith('b') === true).map((value) => String(value?.split('@')[1]))
  }

  it('follows the table while it runs; a new value shows in the orders to come', async () => {
    expect(new Set(await follows(customers(), 5_000))).toEqual(new Set(['Bonn']))
  })

  it('the same check notices a table that is loaded and not followed', async () => {
    const deaf = customers()
    const { create } = deaf.spec
    Object.assign(deaf.spec, {
      create: () => {
        const store = create()
        store.loaded = () => Object.assign(store, { load: () => {} })
        return store
      },
    })
    await expect(follows(deaf, 500)).rejects.toThrow('@Paris')
  })

  it('moves with the task to another member, complete', async () => {
    const keys = Array.from({ length: 60 }, (_, i) => `c${i}`)
    await cluster.produce({ topic: 'customers', records: keys.map((key) => customerRecord(key, `of ${key}`)) })
    const stop = new AbortController()
    const seen: Commit[] = []
    const start = (): Promise<unknown> =>
      lastValueFrom(
        cluster.source({ group: 'g', topics: ['orders'], sessionTimeout: '1s', signal: stop.signal }).pipe(
          withTransaction(left(), { every: 5 }),
          map((commit) => seen.push(commit)),
        ),
        { defaultValue: 0 },
      )
    const members = [start()]
    let n = 0
    const ask = async (): Promise<void> => {
      n++
      await cluster.produce({ topic: 'orders', records: keys.map((key) => ({ key, value: `${n} ${key}` })) })
      await until(async () => (await values(cluster, 'out')).length === n * keys.length, { what: 'all orders' })
    }
    await ask()
    members.push(start())
    await until(
      async () => {
        await ask()
        return new Set(seen.map(({ generation }) => generation)).size > 1
      },
      { what: 'a commit of a later generation' },
    )
    await ask()
    stop.abort()
    await Promise.all(members)
    for (const value of await values(cluster, 'out')) expect(value).toMatch(/^\d+ (c\d+)@of \1$/)
  })

  it('a row that cannot be read fails the records that ask for it, and no others', async () => {
    await cluster.createTopics([{ topic: 'dead', partitions: 4 }])
    await cluster.produce({
      topic: 'customers',
      records: [{ key: 'a', value: '{ not json' }, { key: 'b', value: '{"city":5}' }, customerRecord('c', 'Rome')],
    })
    await cluster.produce({ topic: 'orders', records: ['a', 'b', 'c', 'a', 'c'].map((key, i) => ({ key, value: `${key}${i}` })) })
    const commits = await run(5, left(), { onError: { deadLetter: 'dead' }, retries: 0 })
    expect(sumOf(commits, 'failed')).toBe(3)
    expect(await values(cluster, 'dead')).toEqual(['a0', 'a3', 'b1'])
    expect(await values(cluster, 'out')).toEqual(['c2@Rome', 'c4@Rome'])
    await cluster.produce({ topic: 'orders', records: [{ key: 'b', value: 'b9' }] })
    await expect(run(1, left(), { retries: 0 })).rejects.toMatchObject({
      code: 'RECORD_FAILED',
      cause: {
        code: 'DECODE_FAILED',
        message: expect.stringMatching(
          /joinTable 'customers': the row of key 'b' in topic 'customers', which orders\/\d\/\d+ asks for, .*schema: city/,
        ) as string,
      },
    })
  })

  it('the partitions of table and inputs must match, and the error says which do not', async () => {
    await cluster.createTopics([{ topic: 'few', partitions: 2 }])
    await expect(run(1, left(table({ topic: 'few', value: Customer, name: 'customers' })))).rejects.toMatchObject({
      code: 'PARTITION_MISMATCH',
      message: expect.stringMatching(/table 'customers'.*'few' has 2 partitions and topic 'orders' has 4/) as string,
    })
    await expect(run(1, left(table({ topic: 'none', value: Customer })))).rejects.toMatchObject({
      code: 'MISSING_TOPIC',
      message: expect.stringContaining("'none'") as string,
    })
  })

  it('refuses a table of an input, and a name that other state has', async () => {
    await expect(run(1, left(table({ topic: 'orders', value: Customer })))).rejects.toMatchObject({ code: 'PLAN_FAILED' })
    const clash = (records: RecordStream): Observable<unknown> =>
      merge(records.pipe(aggregate(count(), { name: 'customers' })), left()(records))
    await expect(run(1, clash)).rejects.toMatchObject({ code: 'PLAN_FAILED', message: expect.stringContaining("'customers'") as string })
  })

  it('looks up the key the record was read with, or one that the inputs are partitioned by', async () => {
    await cluster.produce({ topic: 'customers', records: [customerRecord('a', 'Rome')] })
    await cluster.produce({ topic: 'orders', records: [{ key: 'a', value: 'a' }] })
    await run(1, (records) =>
      records.pipe(
        joinTable(customers(), { key: (order) => String(order.value), partitioned: true, join: (_, { city }) => city }),
        toTopic({ topic: 'out' }),
      ),
    )
    expect(await values(cluster, 'out')).toEqual(['Rome'])
    await cluster.produce({ topic: 'orders', records: [{ key: 'b', value: 'a' }] })
    const rekeyed = (records: RecordStream): Observable<unknown> =>
      left()(records.pipe(map((order) => order.with({ key: Buffer.from('a') }))) as RecordStream)
    await expect(run(1, rekeyed, { retries: 0 })).rejects.toMatchObject({ code: 'NOT_REPARTITIONED' })
  })

  it('fails a record without a key', async () => {
    await cluster.produce({ topic: 'orders', records: [{ key: null, value: 'x' }] })
    await expect(run(1, left(), { retries: 0 })).rejects.toMatchObject({ cause: { code: 'MISSING_KEY' } })
  })

  it('takes text values by a serde, and is described', async () => {
    await cluster.produce({ topic: 'customers', records: [{ key: 'a', value: 'plain' }] })
    await cluster.produce({ topic: 'orders', records: [{ key: 'a', value: '1' }] })
    const plain = table({ topic: 'customers', value: string() })
    const project = (records: RecordStream): Observable<unknown> =>
      records.pipe(joinTable(plain, { join: (_, text) => text.toUpperCase() }), toTopic({ topic: 'out' }))
    await run(1, project)
    expect(await values(cluster, 'out')).toEqual(['PLAIN'])
    expect(String(describePipeline(cluster.source({ group: 'g', topics: ['orders'] }).pipe(withTransaction(project))))).toContain(
      "keeps  customers  (joinTable 'customers', table) on customers",
    )
  })

  it('refuses wrong options by name', () => {
    expect(() => table({ topic: 'customers' } as never)).toThrow(/value: expected a serde/)
    expect(() => table({ topic: 'a b', value: json() })).toThrow(/topic: topic names/)
    expect(() => joinTable({} as never, { join: () => 1 })).toThrow(/first argument is a table/)
    expect(() => joinTable(customers(), { kind: 'outer', join: () => 1 } as never)).toThrow(/kind/)
    expect(() => joinTable(customers(), { key: () => 'a', join: () => 1 } as never)).toThrow(/partitioned: true/)
  })

  it('keeps the order of a partition', async () => {
    await cluster.produce({ topic: 'customers', records: [customerRecord('a', 'Rome')] })
    await cluster.produce({ topic: 'orders', records: Array.from({ length: 100 }, (_, i) => ({ key: 'a', value: String(i) })) })
    await run(100, left())
    expect((await contents(cluster, 'out')).map(({ value }) => value)).toEqual(Array.from({ length: 100 }, (_, i) => `${i}@Rome`))
  })
})

import { PGlite } from '@electric-sql/pglite'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { lastValueFrom } from 'rxjs'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { z } from 'zod'
import {
  aggregate,
  append,
  count,
  decode,
  dropFailed,
  embedded,
  json,
  repartition,
  silentLogger,
  toDatabase,
  toTopic,
  upsert,
  waitUntilWritten,
  withTransaction,
  type Cluster,
  type RecordStream,
  type StreamRecord,
} from '../../src/index.js'
import { pglite } from '../../src/sinks/database/pglite.js'
import { postgresPositions } from '../../src/sinks/database/postgres-positions.js'
import { until } from '../support/until.js'

const page = readFileSync(fileURLToPath(new URL('../../docs/databases.md', import.meta.url)), 'utf8')
const Order = z.object({ total: z.number() })

describe('docs/databases.md', () => {
  let cluster: Cluster
  let db: PGlite
  let stop: AbortController

  beforeAll(async () => {
    // It compiles PostgreSQL, which takes its time on a busy machine.
    db = await PGlite.create()
  }, 60_000)
  afterAll(() => db.close())

  beforeEach(async () => {
    await db.exec('DROP TABLE IF EXISTS millrace_positions')
    stop = new AbortController()
    cluster = embedded({ logger: silentLogger })
    await cluster.createTopics([
      { topic: 'orders', partitions: 2 },
      { topic: 'orders.stored', partitions: 2 },
    ])
    const records = [1, 2, 3].map((total, i) => ({ key: `o${i}`, value: JSON.stringify({ total }), partition: i % 2 }))
    await cluster.produce({ topic: 'orders', records: [...records, { key: 'bad', value: '?', partition: 0 }] })
  })
  afterEach(async () => {
    stop.abort()
    await cluster.close()
  })

  const run = async (
    project: (records: RecordStream) => ReturnType<Parameters<typeof withTransaction>[0]>,
    done: () => Promise<boolean>,
  ) => {
    const source = cluster.source({ group: 'billing', topics: ['orders'], signal: stop.signal })
    const running = lastValueFrom(source.pipe(withTransaction(project, { provision: true, every: 20 })), { defaultValue: undefined })
    await Promise.race([until(done), running])
    stop.abort()
    await running
  }
  const rows = async (sql: string): Promise<unknown[]> => (await db.query(sql)).rows

  it('its first program', async () => {
    await db.exec('CREATE TABLE orders (id text PRIMARY KEY, total int)')
    const store = pglite(db)
    await run(
      (records) =>
        records.pipe(
          decode(Order),
          dropFailed(),
          toDatabase(store, upsert({ table: 'orders', key: { id: (o) => o.id }, columns: { total: (o) => o.value.total } })),
          toTopic({ topic: 'orders.stored', value: json() }),
        ),
      async () => (await rows('SELECT 1 FROM orders')).length === 3,
    )
    expect(await rows('SELECT * FROM orders ORDER BY total')).toEqual([
      { id: 'orders/0/0', total: 1 },
      { id: 'orders/1/0', total: 2 },
      { id: 'orders/0/1', total: 3 },
    ])
  })

  it('a read model that is built anew beside the one in use, and a writer that reads its own write', async () => {
    const store = pglite(db)
    await db.exec('DROP VIEW IF EXISTS model; CREATE TABLE model_v1 (id text PRIMARY KEY, total int)')
    await db.exec('CREATE OR REPLACE VIEW model AS SELECT * FROM model_v1')
    const model = (version: number, country?: string) => {
      const columns = { total: (o: StreamRecord<unknown, z.infer<typeof Order>>) => o.value.total }
      const table = `model_v${version}`
      const stopped = new AbortController()
      const source = cluster.source({ group: `model-${version}`, topics: ['orders'], signal: stopped.signal })
      const key = { id: (o: StreamRecord<unknown, z.infer<typeof Order>>) => o.id }
      const write = upsert({ table, key, columns: country === undefined ? columns : { ...columns, country: () => country } })
      const running = lastValueFrom(
        source.pipe(withTransaction((records) => records.pipe(decode(Order), dropFailed(), toDatabase(store, write)), { every: 20 })),
        { defaultValue: undefined },
      )
      return async (): Promise<void> => {
        stopped.abort()
        await running
      }
    }
    const at = (offset: number) => [{ topic: 'orders', partition: 1, offset }]
    const old = model(1)
    await waitUntilWritten(store, { group: 'model-1', records: at(0) })
    expect(await rows("SELECT total FROM model WHERE id = 'orders/1/0'")).toEqual([{ total: 2 }])

    await db.exec('CREATE TABLE model_v2 (LIKE model_v1 INCLUDING ALL, country text)')
    const next = model(2, 'AT')
    await cluster.produce({ topic: 'orders', records: [{ value: '{"total":4}', partition: 1 }] })
    await waitUntilWritten(store, { group: 'model-2', records: [...at(1), { topic: 'orders', partition: 0, offset: 1 }] })
    await db.exec('CREATE OR REPLACE VIEW model AS SELECT * FROM model_v2')
    await old()
    expect(await rows('SELECT total, country FROM model ORDER BY total')).toEqual([1, 2, 3, 4].map((total) => ({ total, country: 'AT' })))
    await next()
    await expect(waitUntilWritten(store, { group: 'model-2', records: at(99), within: 30 })).rejects.toMatchObject({ code: 'TIMEOUT' })
  })

  it('the table of positions is as it says', () => {
    expect(page).toContain(postgresPositions('millrace_positions').create)
  })

  it('results of an aggregate, appended behind repartition', async () => {
    await db.exec('CREATE TABLE counts (n int)')
    const store = pglite(db)
    await run(
      (records) =>
        records.pipe(
          aggregate(count(), { emit: 'each' }),
          repartition({ key: ({ key }) => key, value: json<number>() }),
          toDatabase(store, append({ table: 'counts', columns: { n: ({ value }) => value } })),
        ),
      async () => (await rows('SELECT 1 FROM counts')).length === 4,
    )
    expect(await rows('SELECT n FROM counts')).toEqual([1, 1, 1, 1].map((n) => ({ n })))
  })
})

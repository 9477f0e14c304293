import { PGlite } from '@electric-sql/pglite'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { lastValueFrom, tap } from 'rxjs'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { z } from 'zod'
import {
  aggregate,
  append,
  count,
  databaseTable,
  decode,
  dropFailed,
  embedded,
  joinTable,
  json,
  project,
  readModel,
  repartition,
  silentLogger,
  toDatabase,
  toTopic,
  upsert,
  waitUntilWritten,
  withTransaction,
  type Cluster,
  type RecordStream,
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

  it('a read model, and a writer that reads its own write', async () => {
    await db.exec('DROP TABLE IF EXISTS orders')
    const store = pglite(db)
    const orders = readModel(store, {
      name: 'orders',
      version: 1,
      tables: { orders: 'id text PRIMARY KEY, customer text NOT NULL, total integer NOT NULL' },
      create: (tx, tables) => tx.query(`CREATE INDEX ON ${tables.orders} (customer)`),
    })
    const Order = z.object({ id: z.string(), customer: z.string(), total: z.number() })
    cluster
      .source({ group: orders.group, topics: ['orders'], signal: stop.signal })
      .pipe(
        withTransaction((records) =>
          records.pipe(
            decode(Order),
            dropFailed(),
            project(orders, (tables) =>
              upsert({
                table: tables.orders,
                key: { id: (o) => o.value.id },
                columns: { customer: (o) => o.value.customer, total: (o) => o.value.total },
              }),
            ),
          ),
        ),
      )
      .subscribe()
    const producer = cluster.producer({ topic: 'orders', value: json() })
    const order = { id: 'o9', customer: 'ann', total: 9 }
    const { partition, offset } = await producer.send({ key: order.id, value: order })
    await orders.waitFor([{ topic: 'orders', partition, offset }])
    expect(await rows("SELECT total FROM orders WHERE id = 'o9'")).toEqual([{ total: 9 }])
    await expect(
      waitUntilWritten(store, { group: 'nobody', records: [{ topic: 'orders', partition, offset }], within: 30 }),
    ).rejects.toMatchObject({
      code: 'TIMEOUT',
    })
    await db.exec('DROP VIEW orders; DROP TABLE orders_v1, millrace_projections')
  })

  it('a table of the database in a join', async () => {
    await db.exec(`CREATE TABLE customers (id text, city text, updated_at timestamptz DEFAULT now(), deleted boolean DEFAULT false);
INSERT INTO customers (id, city) VALUES ('ann', 'Oslo')`)
    const customers = databaseTable(pglite(db), {
      name: 'customers',
      query: 'SELECT id, city, updated_at, deleted FROM customers',
      key: 'id',
      version: 'updated_at',
      deleted: 'deleted',
    })
    const Order = z.object({ customer: z.string() })
    await cluster.produce({ topic: 'orders', records: [{ value: '{"customer":"ann"}', partition: 0 }] })
    const seen: unknown[] = []
    await run(
      (records) =>
        records.pipe(
          decode(Order),
          dropFailed(),
          joinTable(customers, { key: (o) => o.value.customer, join: (o, customer) => ({ ...o.value, city: customer['city'] }) }),
          tap((o) => seen.push(o.value)),
        ),
      async () => seen.length > 0,
    )
    expect(seen).toEqual([{ customer: 'ann', city: 'Oslo' }])
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

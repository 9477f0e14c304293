import { createClient } from '@libsql/client'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { lastValueFrom, type Observable } from 'rxjs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  append,
  embedded,
  project,
  readModel,
  repartition,
  silentLogger,
  toTopic,
  upsert,
  withTransaction,
  type Cluster,
  type Database,
  type DatabaseWrite,
  type RawRecord,
  type ReadModel,
  type ReadModelOptions,
  type RecordStream,
  type SqlTransaction,
} from '../../src/index.js'
import { pglite } from '../../src/sinks/database/pglite.js'
import { sqlite } from '../../src/sinks/database/sqlite.js'
import { twoDatabases } from '../support/two-databases.js'
import { until } from '../support/until.js'

const databases = twoDatabases()

type Tables = 'orders'
type Options = Partial<ReadModelOptions<Tables, SqlTransaction>>
type Write = (tables: { readonly orders: string }) => DatabaseWrite<SqlTransaction, RawRecord>

const kinds: [name: string, open: () => Database, run: (sql: string) => Promise<readonly Record<string, unknown>[]>][] = [
  ['PGlite', () => pglite(databases.pg), async (sql) => (await databases.pg.query<Record<string, unknown>>(sql)).rows],
  [
    'SQLite',
    () => sqlite(databases.client),
    async (sql) => {
      // It has one writer, and while that is at work nobody else.
      return until(
        async () => {
          // A statement that met that writer stays open in its connection, and then no table can be dropped over it.
          const own = createClient({ url: databases.url })
          try {
            return (await own.execute(sql)).rows.map((row) => ({ ...row }))
          } finally {
            own.close()
          }
        },
        { what: sql, every: 5 },
      )
    },
  ],
]

describe.each(kinds)('a read model in %s', (name, open, run) => {
  let db: Database
  let cluster: Cluster
  let running: { readonly stop: () => Promise<unknown>; readonly done: Promise<unknown> }[]

  beforeEach(async () => {
    await run('DROP VIEW IF EXISTS orders')
    for (const table of ['orders_v1', 'orders_v2', 'orders_v3', 'millrace_positions', 'millrace_projections'])
      await run(`DROP TABLE IF EXISTS ${table}`)
    db = open()
    cluster = embedded({ logger: silentLogger })
    await cluster.createTopics(['orders', 'raw'].map((topic) => ({ topic, partitions: 2 })))
    running = []
  })
  afterEach(async () => {
    for (const { stop } of running) await stop().catch(() => {})
    await cluster.close()
  })

  const model = (version: number, options: Options = {}, of: Database = db): ReadModel<Tables> =>
    readModel<Tables, SqlTransaction>(of, {
      name: 'orders',
      version,
      tables: { orders: version === 1 ? 'id text PRIMARY KEY, total integer' : 'id text PRIMARY KEY, total integer, version integer' },
      ...options,
    })
  const rowsOf =
    (version: number): Write =>
    ({ orders }) =>
      upsert({
        table: orders,
        key: { id: (o) => String(o.value) },
        columns: { total: (o) => Number(String(o.value)), ...(version === 1 ? {} : { version: () => version }) },
      })
  const start = (
    written: ReadModel<Tables>,
    write: Write = rowsOf(written.version),
    before: (records: RecordStream) => Observable<RawRecord> = (records) => records,
    group = written.group,
  ) => {
    const stopping = new AbortController()
    const done = lastValueFrom(
      cluster
        .source({ group, topics: ['orders'], signal: stopping.signal })
        .pipe(withTransaction((records) => before(records).pipe(project(written, write)), { every: 10, maxRecords: 5, provision: true })),
      { defaultValue: undefined },
    )
    done.catch(() => {})
    const stop = (): Promise<unknown> => {
      stopping.abort()
      return done
    }
    running.push({ stop, done })
    return { stop, done }
  }
  const order = (n: number): Promise<number> => cluster.produce({ topic: 'orders', records: [{ value: String(n), partition: n % 2 }] })
  const orders = async (from: number, to: number): Promise<void> => {
    for (let n = from; n < to; n++) await order(n)
  }
  const isLive = (written: ReadModel<Tables>): Promise<unknown> =>
    until(async () => (await written.live())?.version === written.version, { what: `version ${written.version} to be live` })
  const count = async (table = 'orders'): Promise<number> => Number((await run(`SELECT count(*) AS n FROM ${table}`))[0]?.['n'])
  const states = async (): Promise<string[]> => (await model(1).history()).map(({ version, state }) => `${version} ${state}`)
  const tables = async (): Promise<unknown[]> =>
    (await run(name === 'SQLite' ? 'SELECT name FROM sqlite_master' : 'SELECT tablename AS name FROM pg_tables')).map((row) => row['name'])

  it('is live when it has caught up, and is read by its name; who wrote reads their own write', async () => {
    await orders(0, 10)
    await run('DROP TABLE IF EXISTS counted')
    await run('CREATE TABLE counted (n integer)')
    const onLive = (tx: SqlTransaction, tables: { readonly orders: string }): unknown =>
      tx.query(`INSERT INTO counted SELECT count(*) FROM ${tables.orders}`)
    const first = model(1, { onLive })
    expect(await first.live()).toBeUndefined()
    await expect(first.waitFor([], { within: 20 })).rejects.toMatchObject({ code: 'TIMEOUT' })
    start(first)
    await first.waitFor([{ topic: 'orders', partition: 0, offset: 4 }])
    expect(await count()).toBe(10)
    expect(await run('SELECT n FROM counted')).toEqual([{ n: 10 }])
    await order(11)
    await first.waitFor([{ topic: 'orders', partition: 1, offset: 5 }])
    expect(await run("SELECT total FROM orders WHERE id = '11'")).toEqual([{ total: 11 }])
    expect(await first.live()).toMatchObject({ version: 1, group: 'orders-v1', tables: { orders: 'orders_v1' } })
    // One that only reads needs no more than the definition.
    expect(await model(1).live()).toMatchObject({ version: 1 })
  })

  it('builds the next version beside it, switches in one go, and removes what was replaced', async () => {
    await orders(0, 20)
    const [first, second] = [model(1), model(2, { removeAfter: 1 })]
    const old = start(first)
    await isLive(first)
    let looks = 0
    const seen: Record<string, unknown>[][] = []
    let reading = true
    const reader = (async () => {
      for (; reading; looks++) {
        seen.push([...(await run('SELECT * FROM orders'))])
        await nextTurn()
      }
    })()
    start(second)
    await until(async () => {
      await order(1_000 + looks)
      return (await states()).includes('2 live')
    })
    const after = looks + 3
    await until(() => looks >= after)
    reading = false
    await reader
    // Whole, and never less than before.
    expect(seen.every((rows) => rows.every((row) => (row['version'] ?? 1) === (rows[0]?.['version'] ?? 1)))).toBe(true)
    expect(seen.every((rows, i) => i === 0 || rows.length >= (seen[i - 1]?.length ?? 0))).toBe(true)
    expect(new Set(seen.map((rows) => rows[0]?.['version'] ?? 1))).toEqual(new Set([1, 2]))
    await until(async () => (await states()).join() === '1 removed,2 live', { what: 'version 1 to be removed' })
    expect(await tables()).not.toContain('orders_v1')
    // The one that was removed learns that it is over, and writes nothing more.
    await order(5_000)
    await order(5_001)
    await expect(old.done).rejects.toMatchObject({ code: 'SINK_REFUSED' })
    await expect(start(model(1)).done).rejects.toThrow(/version 2 is live, and this one is removed/)
  })

  it('stays with the live one as long as the next is behind it; where it may be, readers would see less', async () => {
    const first = model(1)
    const old = start(first)
    await orders(0, 10)
    await first.waitFor([8, 9].map((n) => ({ topic: 'orders', partition: n % 2, offset: 4 })))
    await old.stop()
    const second = model(2)
    // As if it had started before there was anything in the topic.
    const goal = (ends: number, lag: number) => ({
      places: [0, 1].map((partition) => ({ sink: 'orders', topic: 'orders', partition })),
      offsets: [0, 0],
      ends: [ends, ends],
      lag,
    })
    expect(await second.versions.switch(goal(5, 0), 1)).toBe('building')
    expect(await second.versions.switch(goal(5, 4), 1)).toBe('building')
    expect(await count()).toBe(10)
    expect(await second.versions.switch(goal(5, 5), 1)).toBe('live')
    expect(await count()).toBe(0)
    // Nobody can be further than the topic, whatever the position of a version that read another of its name.
    await run(`UPDATE millrace_positions SET "group" = 'orders-v2'`)
    expect(await model(3).versions.switch(goal(5, 0), 1)).toBe('building')
    expect(await model(3).versions.switch(goal(0, 0), 1)).toBe('live')
  })

  it('catches up behind repartition, and behind the marks of transactions', async () => {
    const stopping = new AbortController()
    const copied = lastValueFrom(
      cluster
        .source({ group: 'copy', topics: ['raw'], signal: stopping.signal })
        .pipe(withTransaction((records) => records.pipe(toTopic<RawRecord>({ topic: 'orders' })), { every: 10 })),
      { defaultValue: undefined },
    )
    await cluster.produce({ topic: 'raw', records: [1, 2, 3].map((n) => ({ value: String(n), partition: 0 })) })
    const first = model(1)
    start(first, undefined, (records) => records.pipe(repartition({ key: (o) => String(o.value) })))
    await isLive(first)
    await until(async () => (await count()) === 3)
    stopping.abort()
    await copied
    // All of it is there when the next is live, with its last record still in the topic in between when the input was read.
    const second = model(2)
    start(second, undefined, (records) => records.pipe(repartition({ key: (o) => String(o.value) })))
    await isLive(second)
    expect(await count()).toBe(3)
  })

  it('is switched once, whoever wants to', async () => {
    await run('DROP TABLE IF EXISTS switched')
    await run('CREATE TABLE switched (version integer)')
    const first = model(1)
    const old = start(first)
    await isLive(first)
    await old.stop()
    const onLive = (tx: SqlTransaction, { orders }: { readonly orders: string }): unknown =>
      tx.query(`INSERT INTO switched VALUES (${orders.slice(-1)})`)
    const members = [1, 2, 3].map(() => model(2, { onLive }, open()))
    const goal = { places: [], offsets: [], ends: [], lag: 0 }
    const switched = members.map(({ versions }) => until(() => versions.switch(goal, 1), { what: 'its turn', every: 5 }))
    expect(await Promise.all(switched)).toEqual(['live', 'live', 'live'])
    expect(await run('SELECT version FROM switched')).toEqual([{ version: 2 }])
    await run('DROP TABLE switched')
  })

  it('is as it was, or as it is to be, wherever the switch or the removal is cut short', async () => {
    const first = model(1)
    const old = start(first)
    await isLive(first)
    await old.stop()
    const goal = { places: [], offsets: [], ends: [], lag: 0 }
    let cut = false
    let left = 0
    const dying = open()
    const begin = dying.begin.bind(dying)
    dying.begin = async () => {
      const tx = await begin()
      const step = async <T>(work: () => Promise<T>): Promise<T> => {
        if (left-- > 0) return work()
        cut = true
        throw new Error('cut short')
      }
      return {
        ...tx,
        handle: { ...tx.handle, query: (sql, params) => step(() => tx.handle.query(sql, params)) },
        commit: (group, changes) => step(() => tx.commit(group, changes)),
      }
    }
    const second = model(2, { create: (tx, { orders }) => tx.query(`CREATE INDEX by_total ON ${orders} (total)`) }, dying)
    const whole = async (): Promise<string> => {
      const live = (await states()).filter((state) => state.endsWith('live')).join()
      const columns = (await run('SELECT * FROM orders LIMIT 1')).length
      return `${live} ${columns}`
    }
    let steps = 0
    for (cut = true; cut; steps++) {
      cut = false
      left = steps
      await second.versions.switch(goal, 1_000).catch(() => {})
      if (cut) expect([await whole(), await states()]).toEqual(['1 live 0', ['1 live']])
    }
    expect(steps).toBeGreaterThan(8)
    expect(await states()).toEqual(['1 replaced', '2 live'])
    await run("INSERT INTO orders_v2 VALUES ('a', 1, 2)")
    expect(await run('SELECT version FROM orders')).toEqual([{ version: 2 }])
    for (steps = 0, cut = true; cut; steps++) {
      cut = false
      left = steps
      await second.versions.removeReplaced(1_000, 2_000).catch(() => {})
      if (cut) expect([await states(), await count('orders_v1')]).toEqual([['1 replaced', '2 live'], 0])
    }
    expect(await states()).toEqual(['1 removed', '2 live'])
    expect(await tables()).not.toContain('orders_v1')
  })

  it('refuses tables that changed, an older version, another group, and what is no option', async () => {
    const first = model(1)
    await orders(0, 2)
    const old = start(first)
    await isLive(first)
    await old.stop()
    await order(3)
    await expect(start(model(1, { tables: { orders: 'id text PRIMARY KEY' } })).done).rejects.toMatchObject({
      code: 'SINK_REFUSED',
      message: expect.stringContaining('give it the next version') as string,
    })
    await expect(start(first, undefined, undefined, 'mine').done).rejects.toMatchObject({ code: 'PLAN_FAILED' })
    expect(() => model(0)).toThrow(/version/)
    expect(() => model(1, { tables: {} as never })).toThrow(/name at least one table/)
    expect(() =>
      readModel(Object.assign(open(), { positions: undefined }) as never, { name: 'a', version: 1, tables: { a: 'b int' } }),
    ).toThrow(/a database with positions/)
    expect(() => project({} as never, () => append({ table: 'a', columns: { a: () => 1 } }))).toThrow(/readModel/)
  })
})

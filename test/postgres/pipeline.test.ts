import pg from 'pg'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import {
  embedded,
  silentLogger,
  toTopic,
  upsert,
  append,
  withTransaction,
  type Cluster,
  type RawRecord,
  type RecordStream,
} from '../../src/index.js'
import { postgres, toPostgres, type PostgresTransaction } from '../../src/sinks/database/postgres.js'
import { psql, startPostgres, type PostgresServer } from '../support/postgres.js'
import { until } from '../support/until.js'
import { lastValueFrom, type Observable } from 'rxjs'

/** A pipeline on a log in this process, and PostgreSQL under it that is killed, held up and in the way. */
describe('a pipeline into PostgreSQL', () => {
  let server: PostgresServer
  let pool: pg.Pool
  let cluster: Cluster
  const running: { readonly stop: AbortController; readonly done: Promise<unknown> }[] = []

  beforeAll(async () => {
    server = await startPostgres({ deadlock_timeout: '50ms' })
  })
  afterAll(() => server.stop())

  beforeEach(async () => {
    await psql(server.url, 'DROP TABLE IF EXISTS lines, millrace_positions; CREATE TABLE lines (id text, n int)')
    pool = new pg.Pool({ connectionString: server.url, connectionTimeoutMillis: 1_000 })
    cluster = embedded({ logger: silentLogger })
    await cluster.createTopics([
      { topic: 'in', partitions: 2 },
      { topic: 'out', partitions: 2 },
      { topic: 'dead', partitions: 2 },
    ])
  })
  afterEach(async () => {
    for (const { stop, done } of running) {
      stop.abort()
      await done.catch(() => {})
    }
    running.length = 0
    await cluster.close()
    await pool.end()
  })

  const feed = async (from: number, to: number): Promise<void> =>
    void (await cluster.produce({
      topic: 'in',
      records: Array.from({ length: to - from }, (_, i) => ({ key: `k${from + i}`, value: String(from + i), partition: (from + i) % 2 })),
    }))
  const start = (project: (records: RecordStream) => Observable<unknown>, onError: 'stop' | { deadLetter: string } = 'stop') => {
    const stop = new AbortController()
    const source = cluster.source({ group: 'g', topics: ['in'], signal: stop.signal })
    const done = lastValueFrom(source.pipe(withTransaction(project, { every: 30, maxRecords: 200, onError, retries: 0 })), {
      defaultValue: undefined,
    })
    done.catch(() => {})
    running.push({ stop, done })
    return { stop, done }
  }
  const lines = append<RawRecord>({
    table: 'lines',
    columns: { id: (record) => record.id, n: (record) => Number(String(record.value)) },
  })
  const numbers = async (): Promise<number[]> => (await psql(server.url, 'SELECT n FROM lines ORDER BY n')).map(Number)
  const upTo = (count: number): number[] => Array.from({ length: count }, (_, n) => n)
  const written = (count: number) => until(async () => (await numbers()).length >= count, { what: `${count} rows`, within: 30_000 })

  it('writes every record once, and where each partition stands', async () => {
    start((records) => records.pipe(toPostgres(pool, lines), toTopic({ topic: 'out' })))
    await feed(0, 3_000)
    await written(3_000)
    expect(await numbers()).toEqual(upTo(3_000))
    await until(async () => (await psql(server.url, 'SELECT sum(position) FROM millrace_positions'))[0] === '3000')
    expect(await psql(server.url, 'SELECT "group", sink, topic, "partition", position, epoch FROM millrace_positions ORDER BY 4')).toEqual([
      'g|database|in|0|1500|1',
      'g|database|in|1|1500|1',
    ])
  })

  it('goes on where it stood when the server was killed and comes back, and when it was held up', async () => {
    start((records) => records.pipe(toPostgres(pool, lines, { within: '1s' })))
    await feed(0, 1_000)
    await written(200)
    const killed = server.restart()
    await feed(1_000, 2_000)
    await killed
    await written(1_200)
    await server.signal('SIGSTOP')
    await feed(2_000, 3_000)
    await until(() => pool.totalCount > 0, { what: 'something to hang' })
    await server.signal('SIGCONT')
    await written(3_000)
    expect(await numbers()).toEqual(upTo(3_000))
  })

  it('a deadlock with another is fought out without a record written twice', async () => {
    await psql(
      server.url,
      'DROP TABLE IF EXISTS totals; CREATE TABLE totals (k int PRIMARY KEY, n int); INSERT INTO totals VALUES (0, 0), (1, 0)',
    )
    const rival = new pg.Client({ connectionString: server.url })
    await rival.connect()
    const blames: unknown[] = []
    let finished: Promise<unknown> | undefined
    const add = async (tx: PostgresTransaction, records: readonly { readonly value: unknown }[]): Promise<void> => {
      const update = (k: number) => tx.query('UPDATE totals SET n = n + $2 WHERE k = $1', [k, records.length])
      await update(0)
      if (finished === undefined) {
        // The other way round; and this one is to notice it first.
        await tx.query("SET LOCAL deadlock_timeout = '10ms'")
        await rival.query("BEGIN; SET LOCAL deadlock_timeout = '20s'; UPDATE totals SET n = n WHERE k = 1")
        finished = rival.query('UPDATE totals SET n = n WHERE k = 0; COMMIT')
      }
      await update(1).catch((error: unknown) => {
        blames.push(postgres(pool).blame(error))
        throw error
      })
    }
    start((records) => records.pipe(toPostgres(pool, add)))
    await feed(0, 1_000)
    await until(async () => (await psql(server.url, 'SELECT sum(position) FROM millrace_positions'))[0] === '1000', { within: 20_000 })
    await finished
    await rival.end()
    expect(blames).toEqual(['again'])
    expect(await psql(server.url, 'SELECT n FROM totals')).toEqual(['1000', '1000'])
  })

  it('a row that no table takes goes to the dead letters, all others are there', async () => {
    await psql(server.url, 'ALTER TABLE lines ADD CHECK (n <> 77)')
    start((records) => records.pipe(toPostgres(pool, lines)), { deadLetter: 'dead' })
    await feed(0, 500)
    await written(499)
    expect(await numbers()).toEqual(upTo(500).filter((n) => n !== 77))
    const dead: string[] = []
    await until(async () => {
      dead.length = 0
      for await (const record of cluster.read({ topic: 'dead' })) dead.push(String(record.value))
      return dead.length > 0
    })
    expect(dead).toEqual(['77'])
  })

  it('what is checked at the commit only finds its record as well', async () => {
    await psql(server.url, 'ALTER TABLE lines ADD CONSTRAINT one UNIQUE (n) DEFERRABLE INITIALLY DEFERRED')
    await psql(server.url, 'INSERT INTO lines VALUES ($$before$$, 77)')
    start((records) => records.pipe(toPostgres(pool, lines)), { deadLetter: 'dead' })
    await feed(0, 300)
    await written(300)
    expect(await numbers()).toEqual(upTo(300))
    expect(await psql(server.url, 'SELECT id FROM lines WHERE n = 77')).toEqual(['before'])
  })

  it('a statement that is wrong ends the pipeline, and no record is blamed', async () => {
    const { done } = start(
      (records) => records.pipe(toPostgres(pool, append({ table: 'nowhere', columns: { id: (record) => record.id } }))),
      {
        deadLetter: 'dead',
      },
    )
    await feed(0, 10)
    await expect(done).rejects.toMatchObject({ code: 'SINK_REFUSED', message: expect.stringContaining('nowhere') as string })
  })

  it('rows written by key, and deleted by tombstones', async () => {
    await psql(
      server.url,
      'DROP TABLE IF EXISTS kinds; CREATE TABLE kinds (id text PRIMARY KEY, n numeric, b bytea, j jsonb, t timestamptz, big bigint, f float8, a int[])',
    )
    const kinds = upsert<RawRecord>({
      table: 'kinds',
      key: { id: ({ key }) => String(key) },
      columns: {
        n: ({ value }) => String(value),
        b: ({ value }) => value,
        j: ({ value }) => ({ quoted: `"${String(value)}'` }),
        t: () => new Date(Date.UTC(2024, 1, 29)),
        big: () => 2n ** 62n,
        f: () => Number.NaN,
        a: () => [1, 2],
      },
    })
    start((records) => records.pipe(toPostgres(pool, kinds)))
    await cluster.produce({
      topic: 'in',
      records: [
        { key: 'a', value: '1', partition: 0 },
        { key: 'a', value: '2', partition: 0 },
        { key: 'b', value: '3', partition: 0 },
        { key: 'b', value: null, partition: 0 },
        { key: 'c', value: '4', partition: 0 },
      ],
    })
    await until(async () => (await psql(server.url, 'SELECT 1 FROM kinds')).length === 2)
    expect(await psql(server.url, "SELECT id, n, b, j, t AT TIME ZONE 'UTC', big, f, a FROM kinds ORDER BY id")).toEqual([
      `a|2|\\x32|{"quoted": "\\"2'"}|2024-02-29 00:00:00|4611686018427387904|NaN|{1,2}`,
      `c|4|\\x34|{"quoted": "\\"4'"}|2024-02-29 00:00:00|4611686018427387904|NaN|{1,2}`,
    ])
    await cluster.produce({ topic: 'in', records: [{ key: 'a', value: null, partition: 0 }] })
    await until(async () => (await psql(server.url, 'SELECT id FROM kinds')).join() === 'c')
  })

  it('two members that both believe they own a partition: the one whose row was taken writes nothing', async () => {
    const db = postgres(pool)
    start((records) => records.pipe(toPostgres(pool, lines)))
    await feed(0, 100)
    await written(100)
    // The other takes the rows, as it would when it opens the task, and writes on its own.
    const places = [0, 1].map((partition) => ({ sink: 'database', topic: 'in', partition }))
    const rows = await db.take(
      'g',
      places.map((place) => ({ ...place, start: 0 })),
    )
    const other = await db.begin()
    await other.handle.query("INSERT INTO lines SELECT 'other', n FROM generate_series(100, 149) n")
    const ahead = places.map((place, i) => {
      const row = rows[i] as (typeof rows)[number]
      return { ...place, ...row, was: row.position, position: 75 }
    })
    expect(await other.commit('g', ahead)).toBe(true)
    await feed(100, 200)
    await written(200)
    expect(await numbers()).toEqual(upTo(200))
    expect(await psql(server.url, "SELECT count(*) FROM lines WHERE id = 'other'")).toEqual(['50'])
  })
})

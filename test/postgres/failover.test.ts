import pg from 'pg'
import { lastValueFrom } from 'rxjs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  append,
  embedded,
  silentLogger,
  toTopic,
  withTransaction,
  type Cluster,
  type MillraceError,
  type RawRecord,
} from '../../src/index.js'
import { toPostgres, type PostgresTransaction } from '../../src/sinks/database/postgres.js'
import type { DatabaseWrite } from '../../src/index.js'
import { psql, startPostgres, type PostgresServer } from '../support/postgres.js'
import { until } from '../support/until.js'

/** A primary that is gone, and its replica promoted in its place. What is there is read with psql. */
describe('a failover of PostgreSQL', () => {
  let primary: PostgresServer
  let standby: PostgresServer
  let pool: pg.Pool
  let cluster: Cluster
  let stop: AbortController
  let done: Promise<unknown>

  beforeEach(async () => {
    primary = await startPostgres()
    await psql(primary.url, 'CREATE TABLE lines (id text, n int)')
    standby = await startPostgres({}, primary.url)
    pool = new pg.Pool({ connectionString: primary.url, connectionTimeoutMillis: 1_000 })
    cluster = embedded({ logger: silentLogger })
    await cluster.createTopics(['in', 'out'].map((topic) => ({ topic, partitions: 2 })))
    await until(async () => (await psql(primary.url, 'SELECT count(*) FROM pg_stat_replication'))[0] === '1', {
      what: 'the replica to follow',
    })
  })
  afterEach(async () => {
    stop.abort()
    await done.catch(() => {})
    await cluster.close()
    await pool.end()
    await Promise.all([primary.stop(), standby.stop()])
  })

  const lines: DatabaseWrite<PostgresTransaction, RawRecord> = append<RawRecord>({
    table: 'lines',
    columns: { id: (record) => record.id, n: (record) => Number(String(record.value)) },
  })
  const start = (): void => {
    stop = new AbortController()
    const source = cluster.source({ group: 'g', topics: ['in'], signal: stop.signal })
    done = lastValueFrom(
      source.pipe(
        withTransaction((records) => records.pipe(toPostgres(pool, lines), toTopic({ topic: 'out' })), { every: 20, maxRecords: 100 }),
      ),
      { defaultValue: undefined },
    )
    done.catch(() => {})
  }
  const feed = async (from: number, to: number): Promise<void> =>
    void (await cluster.produce({
      topic: 'in',
      records: Array.from({ length: to - from }, (_, i) => ({ value: String(from + i), partition: (from + i) % 2 })),
    }))
  const rows = async ({ url }: PostgresServer): Promise<number[]> => (await psql(url, 'SELECT n FROM lines ORDER BY n')).map(Number)
  const written = (server: PostgresServer, count: number): Promise<unknown> =>
    until(async () => (await rows(server)).length >= count, { what: `${count} rows`, within: 30_000 })
  const outputs = async (): Promise<number[]> => {
    const values: number[] = []
    for await (const { value } of cluster.read({ topic: 'out' })) values.push(Number(String(value)))
    return values.sort((a, b) => a - b)
  }
  const upTo = (count: number): number[] => Array.from({ length: count }, (_, n) => n)
  /** The primary is gone for good; who connects from now on comes to what was its replica. */
  const failOver = async (): Promise<void> => {
    await primary.stop()
    await psql(standby.url, 'SELECT pg_promote()')
    Object.assign(pool.options, { connectionString: standby.url })
  }

  it('loses nothing and doubles nothing where the replica is synchronous', async () => {
    await psql(primary.url, "ALTER SYSTEM SET synchronous_standby_names = '*'")
    await psql(primary.url, 'SELECT pg_reload_conf()')
    await until(async () => (await psql(primary.url, 'SELECT sync_state FROM pg_stat_replication'))[0] === 'sync', {
      what: 'the replica to be synchronous',
    })
    start()
    await feed(0, 2_000)
    await written(primary, 300)
    await failOver()
    await feed(2_000, 3_000)
    await written(standby, 3_000)
    await until(async () => (await outputs()).length >= 3_000, { what: 'all outputs', within: 20_000 })
    expect(await rows(standby)).toEqual(upTo(3_000))
    expect(await outputs()).toEqual(upTo(3_000))
  })

  it('tells what is missing, and writes nothing, where the replica lacked what the log has committed', async () => {
    start()
    await feed(0, 100)
    await written(standby, 100)
    // It gets nothing more, and nobody waits for it: replication is asynchronous by default.
    await psql(standby.url, "ALTER SYSTEM SET primary_conninfo = ''")
    await psql(standby.url, 'SELECT pg_reload_conf()')
    await until(async () => (await psql(standby.url, 'SELECT count(*) FROM pg_stat_wal_receiver'))[0] === '0', {
      what: 'the replica to be cut off',
    })
    await feed(100, 200)
    await written(primary, 200)
    await until(async () => (await outputs()).length === 200, { what: 'the log to commit' })
    await failOver()
    await feed(200, 300)
    const error = (await done.catch((failure: unknown) => failure)) as MillraceError
    expect(error).toMatchObject({ code: 'SINK_MISMATCH' })
    expect(error.message).toMatch(/has in\/\d of group 'g', sink 'database' up to 50, and the log has committed 100/)
    expect(await rows(standby)).toEqual(upTo(100))
  })
})

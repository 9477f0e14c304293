import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { sqlClaims } from '../../src/index.js'
import { postgres, type PostgresTransaction } from '../../src/sinks/database/postgres.js'
import { claimStoreContract, externalStoreContract, type ExternalStoreHarness } from '../../src/testing/index.js'
import { psql, somePostgres } from '../support/postgres.js'
import { until } from '../support/until.js'

describe('PostgreSQL', () => {
  let server: Awaited<ReturnType<typeof somePostgres>>
  const pools: pg.Pool[] = []
  let harness: ExternalStoreHarness<PostgresTransaction>
  const schema = `contract_${process.pid}`

  const pool = (more: pg.PoolConfig = {}): pg.Pool => {
    pools.push(new pg.Pool({ connectionString: server.url, options: `-c search_path=${schema}`, ...more }))
    return pools.at(-1) as pg.Pool
  }

  beforeAll(async () => {
    server = await somePostgres()
    await psql(server.url, `CREATE SCHEMA ${schema}; CREATE TABLE ${schema}.lines (line text CHECK (line <> 'poison'))`)
    harness = {
      open: () => postgres(pool()),
      write: async (tx, text) => void (await tx.client.query('INSERT INTO lines VALUES ($1)', [text])),
      written: (prefix) => psql(server.url, `SELECT line FROM ${schema}.lines WHERE line LIKE '${prefix}%'`),
      writePoison: async (tx) => void (await tx.query("INSERT INTO lines VALUES ('poison')")),
    }
  })

  afterAll(async () => {
    await Promise.all(pools.map((each) => each.end()))
    await psql(server.url, `DROP SCHEMA ${schema} CASCADE`)
    await server.stop()
  })

  it.each(externalStoreContract)('$name', ({ run }) => run(harness))

  it.each(claimStoreContract)('claims: $name', ({ run }) => run(() => sqlClaims({ db: postgres(pool({ max: 2 })) })))

  it('claims: who meets one that is not committed yet waits, and gets the id where it never is', async () => {
    const db = postgres(pool())
    const claims = sqlClaims({ db, table: 'waited_for' })
    const terms = { group: 'g', transaction: '', generation: 1, withinMs: 60_000 }
    const claim = async (tx: PostgresTransaction, id: string, offset: number): Promise<boolean> =>
      (await claims.joined?.claim(tx, [{ id, origin: { topic: 't', partition: 0, offset } }], terms))?.[0] === undefined
    expect(await claims.count()).toBe(0)
    for (const commits of [true, false]) {
      const [one, other] = [await db.begin(), await db.begin()]
      const id = String(commits)
      expect(await claim(one.handle as PostgresTransaction, id, 1)).toBe(true)
      let answered = false
      const second = claim(other.handle as PostgresTransaction, id, 2).finally(() => (answered = true))
      await until(async () => (await psql(server.url, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"))[0] === '1', {
        what: 'the second to wait',
      })
      expect(answered).toBe(false)
      if (commits) await one.commit('g', [])
      else await one.rollback(false)
      expect(await second).toBe(!commits)
      await other.commit('g', [])
    }
  })

  it('is one and the same database for a pool, so that claims and rows have one transaction', () => {
    const own = pool()
    expect(postgres(own)).toBe(postgres(own))
    expect(postgres(own, { table: 'other' })).not.toBe(postgres(own))
  })

  it('makes its table once, however many begin at the same moment', async () => {
    const table = `${schema}.at_once`
    const stores = Array.from({ length: 8 }, () => postgres(pool({ max: 1 }), { table }))
    await Promise.all(stores.map((store, partition) => store.take('g', [{ sink: 's', topic: 't', partition, start: 0 }])))
    expect(await psql(server.url, `SELECT count(*) FROM ${table}`)).toEqual(['8'])
  })

  it('gives up a transaction in which nothing happens: what it has locked is free again', async () => {
    const [old, next] = [postgres(pool(), { idleTimeout: 200 }), postgres(pool())]
    await psql(server.url, `INSERT INTO ${schema}.lines VALUES ('locked')`)
    const stopped = await old.begin()
    await stopped.handle.query("UPDATE lines SET line = 'a' WHERE line = 'locked'")
    const heir = await next.begin()
    // It waits for the lock, which nobody gives back.
    await heir.handle.query("UPDATE lines SET line = 'b' WHERE line = 'locked'")
    expect(await heir.commit('g', [])).toBe(true)
    const late = await stopped.commit('g', []).catch((error: unknown) => old.blame(error))
    expect(late).toBe('away')
    await stopped.rollback(true)
    expect(await psql(server.url, `SELECT line FROM ${schema}.lines WHERE line IN ('a', 'b', 'locked')`)).toEqual(['b'])
  })

  it('tells who is to blame', async () => {
    const store = postgres(pool())
    const blameOf = async (sql: string): Promise<unknown> => {
      const tx = await store.begin()
      const blame = await tx.handle.query(sql).then(
        () => 'nobody',
        (error: unknown) => store.blame(error),
      )
      await tx.rollback(false)
      return blame
    }
    expect(await blameOf('SELECT 1')).toBe('nobody')
    expect(await blameOf("SELECT 'x'::int")).toBe('record')
    expect(await blameOf('SELECT 1 / 0')).toBe('record')
    expect(await blameOf("INSERT INTO lines VALUES (E'\\xff')")).toBe('record')
    expect(await blameOf("DO $$ BEGIN RAISE 'no'; END $$")).toBe('record')
    expect(await blameOf('SELECT nothing FROM nowhere')).toBe('program')
    expect(await blameOf('SELEC')).toBe('program')
    expect(await blameOf('SET LOCAL statement_timeout = 20; SELECT pg_sleep(5)')).toBe('again')
    expect(await blameOf('SELECT pg_terminate_backend(pg_backend_pid())')).toBe('away')
    const nowhere = postgres(pool({ port: 1, host: '127.0.0.1', connectionString: undefined }))
    expect(nowhere.blame(await nowhere.begin().catch((error: unknown) => error))).toBe('away')
    const silent = postgres(pool({ host: '10.255.255.1', connectionString: undefined, connectionTimeoutMillis: 100 }))
    expect(silent.blame(await silent.begin().catch((error: unknown) => error))).toBe('away')
    const nobody = postgres(pool({ database: 'nowhere', connectionString: server.url.replace(/\/[^/]*$/, '/nowhere') }))
    expect(nobody.blame(await nobody.begin().catch((error: unknown) => error))).toBe('program')
  })
})

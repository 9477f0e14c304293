import pg from 'pg'
import { lastValueFrom } from 'rxjs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  embedded,
  project,
  readModel,
  silentLogger,
  upsert,
  withTransaction,
  type RawRecord,
  type SqlTransaction,
} from '../../src/index.js'
import { postgres } from '../../src/sinks/database/postgres.js'
import { psql, somePostgres } from '../support/postgres.js'
import { until } from '../support/until.js'

describe('a read model in PostgreSQL', () => {
  let server: Awaited<ReturnType<typeof somePostgres>>
  const pools: pg.Pool[] = []
  const schema = `models_${process.pid}`
  const pool = (): pg.Pool => {
    pools.push(new pg.Pool({ connectionString: server.url, options: `-c search_path=${schema}` }))
    return pools.at(-1) as pg.Pool
  }
  const sql = (text: string): Promise<string[]> => psql(server.url, `SET search_path = ${schema}; ${text}`)

  beforeAll(async () => {
    server = await somePostgres()
    await psql(server.url, `CREATE SCHEMA ${schema}; CREATE TABLE ${schema}.switched (version int)`)
  })
  afterAll(async () => {
    await Promise.all(pools.map((each) => each.end()))
    await psql(server.url, `DROP SCHEMA ${schema} CASCADE`)
    await server.stop()
  })

  it('is switched once by members that run beside each other, while others write and read', async () => {
    const cluster = embedded({ logger: silentLogger })
    await cluster.createTopics([{ topic: 'orders', partitions: 4 }])
    const stopping = new AbortController()
    const running: Promise<unknown>[] = []
    const build = (version: number) => {
      const model = readModel(postgres(pool()), {
        name: 'orders',
        version,
        tables: { orders: `id text PRIMARY KEY, total int${version === 1 ? '' : ', version int DEFAULT 2'}` },
        removeAfter: 1,
        onLive: (tx: SqlTransaction, { orders }) => tx.query(`INSERT INTO switched VALUES (${orders.slice(-1)})`),
      })
      const ended = lastValueFrom(
        cluster
          .source({ group: model.group, topics: ['orders'], signal: stopping.signal })
          .pipe(
            withTransaction(
              (records) =>
                records.pipe(
                  project(model, ({ orders }) =>
                    upsert<RawRecord>({ table: orders, key: { id: (o) => String(o.value) }, columns: { total: (o) => o.origin.offset } }),
                  ),
                ),
              { every: 5 },
            ),
          ),
        { defaultValue: undefined },
      )
      // What was removed ends.
      running.push(ended.catch((error: unknown) => error))
      return model
    }
    let written = 0
    const write = async (): Promise<void> => {
      const records = Array.from({ length: 20 }, (_, i) => ({ value: String(written + i), partition: i % 4 }))
      await cluster.produce({ topic: 'orders', records })
      written += records.length
    }
    for (let i = 0; i < 20; i++) await write()
    const first = build(1)
    await first.waitFor([0, 1, 2, 3].map((partition) => ({ topic: 'orders', partition, offset: 99 })))
    await sql(`CREATE ROLE reader; GRANT SELECT ON orders TO reader; GRANT USAGE ON SCHEMA ${schema} TO reader`)

    const reader = pool()
    const seen: number[] = []
    let reading = true
    const reads = (async () => {
      while (reading) seen.push(Number((await reader.query('SELECT count(*) AS n FROM orders')).rows[0].n))
    })()
    const members = [build(2), build(2), build(2)]
    await until(async () => {
      await write()
      return (await first.live())?.version === 2
    })
    await until(async () => (await sql('SELECT version, state FROM millrace_projections ORDER BY 1')).join() === '1|removed,2|live')
    for (const member of members) await member.waitFor([{ topic: 'orders', partition: 3, offset: written / 4 - 1 }])
    reading = false
    await reads
    expect(seen.every((count, i) => i === 0 || count >= (seen[i - 1] as number))).toBe(true)
    await until(async () => (await sql('SELECT count(*) FROM orders')).join() === String(written))
    expect(await sql('SELECT version FROM switched ORDER BY 1')).toEqual(['1', '2'])
    expect(await sql(`SELECT DISTINCT "group" FROM millrace_positions`)).toContain('orders-v2')
    // A view to which columns are added stays the same view.
    expect(await sql('SET ROLE reader; SELECT DISTINCT version FROM orders')).toEqual(['2'])
    stopping.abort()
    await Promise.all(running)
    await cluster.close()
    await sql('DROP OWNED BY reader; DROP ROLE reader')
  })
})

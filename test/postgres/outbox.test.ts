import pg from 'pg'
import { lastValueFrom } from 'rxjs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { embedded, outbox, outboxTable, silentLogger, toTopic, withTransaction, writeToOutbox } from '../../src/index.js'
import { postgres } from '../../src/sinks/database/postgres.js'
import { psql, startPostgres, type PostgresServer } from '../support/postgres.js'
import { until } from '../support/until.js'

describe('an outbox in PostgreSQL', () => {
  let server: PostgresServer
  beforeAll(async () => {
    server = await startPostgres()
  })
  afterAll(() => server.stop())

  it('is published once, woken by NOTIFY, also when the server was killed; and lets go of its connections', async () => {
    const pool = new pg.Pool({ connectionString: server.url, connectionTimeoutMillis: 1_000 })
    const cluster = embedded({ logger: silentLogger })
    await cluster.createTopics([
      { topic: 'relay', partitions: 1 },
      { topic: 'events', partitions: 1 },
    ])
    await psql(server.url, outboxTable())
    const db = postgres(pool)
    const stop = new AbortController()
    const running = lastValueFrom(
      cluster.source({ group: 'outbox', topics: ['relay'], signal: stop.signal }).pipe(
        withTransaction((records) => records.pipe(outbox({ db, poll: '1h', batch: 10 }), toTopic({ topic: 'events' })), {
          every: 20,
          provision: true,
        }),
      ),
      { defaultValue: undefined },
    )
    running.catch(() => {})
    const published = async (): Promise<number[]> => {
      const found: number[] = []
      for await (const { value } of cluster.read({ topic: 'events' })) found.push(Number(String(value)))
      return found
    }
    const write = async (from: number, to: number): Promise<void> => {
      const client = await pool.connect()
      await client.query('BEGIN')
      const events = Array.from({ length: to - from }, (_, i) => ({ aggregateType: 'order', aggregateId: 'o', payload: from + i }))
      await writeToOutbox(client, events)
      await client.query('COMMIT')
      client.release()
    }
    const listens = (): Promise<boolean> =>
      psql(server.url, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'").then(([count]) => count === '1')

    await until(listens, { what: 'the relay to listen' })
    await write(0, 25)
    await until(async () => (await published()).length >= 25, { what: 'the first events' })
    await server.restart()
    await until(listens, { what: 'the relay to listen again', within: 20_000 })
    await write(25, 40)
    await until(async () => (await published()).length >= 40, { what: 'the events after that', within: 20_000 })
    expect(await published()).toEqual(Array.from({ length: 40 }, (_, n) => n))
    stop.abort()
    await running
    await cluster.close()
    await pool.end()
  })
})

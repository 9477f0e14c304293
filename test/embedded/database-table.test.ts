import { lastValueFrom } from 'rxjs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { z } from 'zod'
import {
  databaseTable,
  embedded,
  joinTable,
  json,
  silentLogger,
  toTopic,
  withTransaction,
  type Cluster,
  type Database,
  type DatabaseTable,
  type DatabaseTableOptions,
  type SqlRow,
} from '../../src/index.js'
import { pglite } from '../../src/sinks/database/pglite.js'
import { sqlite } from '../../src/sinks/database/sqlite.js'
import { contents } from '../support/pipelines.js'
import { twoDatabases } from '../support/two-databases.js'
import { until } from '../support/until.js'

const databases = twoDatabases()

const kinds: [name: string, open: () => Database, run: (sql: string) => Promise<unknown>, version: string][] = [
  ['PGlite, by dates', () => pglite(databases.pg), (sql) => databases.pg.exec(sql), `timestamptz '2026-01-01' + interval '1 second' * N`],
  ['PGlite, by numbers beyond 32 bits', () => pglite(databases.pg), (sql) => databases.pg.exec(sql), '10000000000000 + N'],
  ['SQLite', () => sqlite(databases.client), (sql) => databases.client.execute(sql), 'N'],
]

describe.each(kinds)('a table of %s', (name, open, run, version) => {
  const byDate = name.includes('dates')
  let cluster: Cluster
  let stopping: AbortController
  let done: Promise<unknown>

  beforeEach(async () => {
    await run('DROP TABLE IF EXISTS customers')
    const type = byDate ? 'timestamptz' : 'bigint'
    await run(`CREATE TABLE customers (id text PRIMARY KEY, city text, gone boolean, version ${type})`)
    cluster = embedded({ logger: silentLogger })
    await cluster.createTopics(['orders', 'out', 'dead'].map((topic) => ({ topic, partitions: 2 })))
    asked = 0
    stopping = new AbortController()
    done = Promise.resolve()
  })
  afterEach(async () => {
    stopping.abort()
    await done.catch(() => {})
    await cluster.close()
  })

  const at = (n: number): string => version.replace('N', String(n))
  const put = (id: string, city: string, n: number, gone = false): Promise<unknown> =>
    run(
      `INSERT INTO customers VALUES ('${id}', '${city}', ${gone}, ${at(n)})
ON CONFLICT (id) DO UPDATE SET city = EXCLUDED.city, gone = EXCLUDED.gone, version = EXCLUDED.version`,
    )
  const customers = (options: Partial<DatabaseTableOptions> = {}, db = open()): DatabaseTable<SqlRow> =>
    databaseTable(db, {
      name: 'customers',
      query: 'SELECT id, city, gone, version FROM customers',
      key: 'id',
      version: 'version',
      poll: 10,
      reload: false,
      deleted: 'gone',
      overlap: byDate ? '5s' : 5,
      ...options,
    })
  const start = (table: DatabaseTable<SqlRow>): void => {
    done = lastValueFrom(
      cluster.source({ group: 'g', topics: ['orders'], signal: stopping.signal }).pipe(
        withTransaction(
          (records) =>
            records.pipe(
              // The customer is in the value: in whatever partition the record is, every row is at hand.
              joinTable(table, {
                kind: 'left',
                key: (order) => String(order.value),
                join: (order, customer) => `${String(order.value)} ${customer === undefined ? '-' : String(customer['city'])}`,
              }),
              // A table may stand in several places.
              joinTable(table, { kind: 'left', key: () => 'a', join: (order, a) => `${order.value} ${a === undefined ? '-' : 'a'}` }),
              toTopic({ topic: 'out', value: json() }),
            ),
          { every: 10, onError: { deadLetter: 'dead' } },
        ),
      ),
      { defaultValue: undefined },
    )
    done.catch(() => {})
  }
  let asked = 0
  const ask = async (...ids: readonly string[]): Promise<void> => {
    await cluster.produce({ topic: 'orders', records: ids.map((value, i) => ({ value, partition: (asked + i) % 2 })) })
    asked += ids.length
  }
  const answers = async (): Promise<string[]> => {
    const all = await until(async () => {
      const seen = await contents(cluster, 'out')
      return seen.length === asked && seen
    })
    return all.map(({ value }) => JSON.parse(value as string) as string)
  }
  /** What a record finds now. */
  const found = async (id: string): Promise<string> => {
    const [partition, ours] = [asked % 2, `${id} `]
    await ask(id)
    await answers()
    const last = (await contents(cluster, 'out')).filter((one) => one.partition === partition && String(one.value).startsWith(`"${ours}`))
    return (JSON.parse(last.at(-1)?.value ?? '" "') as string).split(' ')[1] ?? ''
  }
  const finds = (id: string, city: string): Promise<unknown> =>
    until(async () => (await found(id)) === city, { what: `${id} to be in ${city}` })

  it('is loaded before the first record, and followed', async () => {
    await put('a', 'London', 1)
    await put('b', 'Rome', 2)
    await ask('a', 'b', 'c')
    start(customers())
    expect((await answers()).sort()).toEqual(['a London a', 'b Rome a', 'c - a'])
    await put('a', 'Paris', 3)
    await put('c', 'Oslo', 4)
    await finds('a', 'Paris')
    await finds('c', 'Oslo')
    await put('b', 'Rome', 5, true)
    await finds('b', '-')
  })

  it('sees what committed late, if not later than the overlap; and the rest, and what was deleted, when it is read anew', async () => {
    await put('a', 'London', 1)
    await put('b', 'Rome', 100)
    start(customers())
    await finds('b', 'Rome')
    await put('c', 'Oslo', 97)
    await finds('c', 'Oslo')
    await put('d', 'Bern', 50)
    await put('e', 'Wien', 101)
    await finds('e', 'Wien')
    // As this shows, one that is later than that is not seen.
    expect(await found('d')).toBe('-')
    stopping.abort()
    await done

    stopping = new AbortController()
    start(customers({ reload: 50 }))
    await finds('d', 'Bern')
    await put('f', 'Brno', 20)
    await run("DELETE FROM customers WHERE id = 'a'")
    await finds('f', 'Brno')
    await finds('a', '-')
  })

  it('goes by the rows as they were while the database is away, and waits for it before the first', async () => {
    await put('a', 'London', 1)
    const db = open()
    const begin = db.begin.bind(db)
    let down = true
    let refused = 0
    db.begin = () => {
      if (!down) return begin()
      refused++
      return Promise.reject(Object.assign(new Error('down'), { code: name === 'SQLite' ? 'SQLITE_CANTOPEN' : '57P03' }))
    }
    await ask('a')
    start(customers({}, db))
    await until(() => refused > 2)
    expect(await contents(cluster, 'out')).toEqual([])
    down = false
    await finds('a', 'London')
    down = true
    await put('a', 'Paris', 2)
    refused = 0
    await until(() => refused > 1)
    expect(await found('a')).toBe('London')
    down = false
    await finds('a', 'Paris')
  })

  it('a row that does not fit is the failure of who asks for it; a query that is refused ends the pipeline', async () => {
    await put('a', 'London', 1)
    await put('b', 'Rome', 2)
    const value = z.object({ city: z.string().min(5) }).loose()
    start(customers({ value: value as never }))
    await cluster.produce({ topic: 'orders', records: ['b', 'a'].map((each) => ({ value: each, partition: 0 })) })
    await until(async () => (await contents(cluster, 'out')).length === 1)
    expect((await contents(cluster, 'dead')).map((record) => record.value)).toEqual(['b'])
    stopping.abort()
    await done
    for (const [options, message] of [
      [{ query: 'SELECT nothing FROM nowhere' }, /refuses its query/],
      [{ key: 'number' }, /gives no column 'number'/],
      [{ version: 'city' }, /the version column 'city' holds the text 'London'/],
    ] as const) {
      stopping = new AbortController()
      start(customers(options))
      await cluster.produce({ topic: 'orders', records: [{ value: 'a', partition: 0 }] })
      await expect(done).rejects.toMatchObject({ code: 'SINK_REFUSED', message: expect.stringMatching(message) as string })
    }
  })

  it('refuses what is no option', () => {
    expect(() => customers({ query: 'SELECT 1;' })).toThrow(/semicolon/)
    expect(() => customers({ overlap: 'long' as never })).toThrow(/time span/)
    expect(() => customers({ key: 'a b' })).toThrow(/letters/)
    expect(() => joinTable({} as never, { join: () => 1 })).toThrow(/databaseTable/)
  })
})

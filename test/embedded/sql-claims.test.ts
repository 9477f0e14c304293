import { lastValueFrom, tap, type Observable } from 'rxjs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  append,
  contentHash,
  dedupe,
  embedded,
  header,
  keepResult,
  silentLogger,
  sqlClaims,
  toDatabase,
  toTopic,
  withTransaction,
  type Cluster,
  type Commit,
  type Database,
  type Duplicate,
  type JoinedClaims,
  type MillraceError,
  type RawRecord,
  type RecordStream,
  type SqlClaims,
  type TransactionOptions,
} from '../../src/index.js'
import { pglite } from '../../src/sinks/database/pglite.js'
import { sqlite } from '../../src/sinks/database/sqlite.js'
import { claimStoreContract, createEmbeddedBroker, type EmbeddedBroker } from '../../src/testing/index.js'
import { twoDatabases } from '../support/two-databases.js'
import { until } from '../support/until.js'

const databases = twoDatabases()

const kinds: [name: string, open: () => Database][] = [
  ['PGlite', () => pglite(databases.pg)],
  ['SQLite', () => sqlite(databases.client)],
]

describe.each(kinds)('claims in %s', (_, open) => {
  it.each(claimStoreContract)('$name', ({ run }) => run(() => sqlClaims({ db: open() })))

  it('are counted, and cleaned up when their time is over', async () => {
    const claims = sqlClaims({ db: open(), table: 'counted' })
    const claim = (ids: readonly string[], withinMs: number) =>
      claims.claim(
        ids.map((id, offset) => ({ id, origin: { topic: 't', partition: 0, offset } })),
        { group: 'g', transaction: 'x', generation: 1, withinMs },
      )
    expect([await claims.count(), await claims.removeExpired()]).toEqual([0, 0])
    await claim(['a', 'b', 'c', 'd', 'e'], 1)
    await claims.end('x', 'committed', 1)
    await claim(['f', 'g'], 60_000)
    await until(async () => (await claims.count()) === 2, { what: 'five claims to be over' })
    expect(await claims.removeExpired({ batch: 2 })).toBe(6)
    expect([await claims.count(), await claims.removeExpired()]).toEqual([2, 0])
  })
})

describe('a handler of its own', () => {
  const inbox = (db: Database): SqlClaims => sqlClaims({ db, table: 'handled' })

  it.each([
    [
      'PGlite',
      () =>
        [
          inbox(pglite(databases.pg)),
          (work: (tx: never) => Promise<unknown>) => databases.pg.transaction((tx) => work(tx as never)),
        ] as const,
    ],
    [
      'SQLite',
      () =>
        [
          inbox(sqlite(databases.client)),
          async (work: (tx: never) => Promise<unknown>) => {
            const tx = await databases.client.transaction('write')
            try {
              const done = await work(tx as never)
              await tx.commit()
              return done
            } finally {
              tx.close()
            }
          },
        ] as const,
    ],
  ])('does a thing once in its own transaction of %s, and knows its result', async (_, open) => {
    const [claims, within] = open()
    let done = 0
    const once = (id: string, checksum?: string, work = async () => `receipt ${++done}`) =>
      within((tx) => claims.once(tx, { id, within: '1h', ...(checksum === undefined ? {} : { checksum }) }, work))
    await expect(
      once('pay-1', 'ten', async () => {
        throw new Error('no money')
      }),
    ).rejects.toThrow('no money')
    expect(await once('pay-1', 'ten')).toEqual({ first: true, result: 'receipt 1' })
    expect(await once('pay-1', 'ten')).toEqual({ first: false, result: 'receipt 1' })
    expect(await once('pay-1')).toEqual({ first: false, result: 'receipt 1' })
    await expect(once('pay-1', 'twenty')).rejects.toMatchObject({ code: 'CHECKSUM_DIFFERS', retryable: false })
    expect(await once('pay-2', 'ten')).toEqual({ first: true, result: 'receipt 2' })
    expect(await claims.find('pay-1')).toMatchObject({ state: 'passed', result: 'receipt 1', checksum: 'ten', duplicates: 0 })
  })
})

/** The same claims, made otherwise. */
const claimedBy = (claims: SqlClaims, change: (claim: JoinedClaims['claim']) => JoinedClaims['claim']): SqlClaims => {
  const joined = claims.joined as JoinedClaims
  return Object.assign(Object.create(claims) as SqlClaims, { joined: { ...joined, claim: change((...given) => joined.claim(...given)) } })
}

const ofId = (id: string, partition = 0, value = id): { value: string; partition: number; headers: { id: string } } => ({
  value,
  partition,
  headers: { id },
})

describe('dedupe by claims in the database that is written to', () => {
  let broker: EmbeddedBroker
  let cluster: Cluster
  let db: Database
  let claims: SqlClaims
  let runs: { readonly stop: AbortController; readonly done: Promise<unknown>; readonly commits: Commit[] }[]

  beforeEach(async () => {
    await databases.pg.exec(
      'DROP TABLE IF EXISTS payments, millrace_positions, millrace_inbox; CREATE TABLE payments (id text, place serial)',
    )
    broker = createEmbeddedBroker()
    cluster = embedded({ broker, logger: silentLogger })
    await cluster.createTopics(['a', 'b', 'out', 'dead'].map((topic) => ({ topic, partitions: 2 })))
    db = pglite(databases.pg)
    claims = sqlClaims({ db })
    runs = []
  })
  afterEach(async () => {
    for (const { stop, done } of runs) {
      stop.abort()
      await done
    }
    await cluster.close()
  })

  const rows = append<RawRecord>({ table: 'payments', columns: { id: ({ value }) => String(value) } })
  const start = (
    topic: 'a' | 'b',
    project: (records: RecordStream) => Observable<unknown> = (records) =>
      records.pipe(
        dedupe<RawRecord>({ by: header('id'), within: '1h', store: claims }),
        toDatabase(db, rows),
        toTopic<RawRecord>({ topic: 'out' }),
      ),
    options: TransactionOptions = {},
  ) => {
    const stop = new AbortController()
    const commits: Commit[] = []
    const done = lastValueFrom(
      cluster.source({ group: topic, topics: [topic], signal: stop.signal }).pipe(
        withTransaction(project, { every: 10, provision: true, ...options }),
        tap((commit) => commits.push(commit)),
      ),
      { defaultValue: undefined },
    )
    done.catch((error: unknown) => console.error(error))
    runs.push({ stop, done, commits })
    return commits
  }
  const sum = (field: 'records' | 'duplicate' | 'processed'): number =>
    runs.flatMap(({ commits }) => commits).reduce((total, commit) => total + commit[field], 0)
  const consumed = (count: number): Promise<unknown> => until(() => sum('records') >= count, { what: `${count} records`, within: 20_000 })
  const paid = async (): Promise<string[]> =>
    (await databases.pg.query<{ id: string }>('SELECT id FROM payments ORDER BY id')).rows.map(({ id }) => id)
  const out = async (): Promise<string[]> => {
    const values: string[] = []
    for await (const { value } of cluster.read({ topic: 'out' })) values.push(String(value))
    return values.sort()
  }
  const numbers = (count: number): string[] => Array.from({ length: count }, (_, i) => String(i))

  it('passes one of each id over partitions and pipelines, with one row each', async () => {
    start('a')
    start('b')
    for (const topic of ['a', 'b'])
      await cluster.produce({ topic, records: Array.from({ length: 300 }, (_, i) => ofId(String(i % 100), i % 2)) })
    await consumed(600)
    expect(await paid()).toEqual(numbers(100).sort())
    expect(await out()).toEqual(numbers(100).sort())
    expect([sum('processed'), sum('duplicate')]).toEqual([100, 500])
    expect(await claims.count()).toBe(100)
    expect(await claims.find('7')).toMatchObject({ state: 'passed', duplicates: 5 })
  })

  it("has its claims where its rows are: one that the log's transaction failed behind is no duplicate of itself", async () => {
    broker.faults.inject({ at: 'offsets', reaction: 'abort' })
    start('a', undefined, { maxRecords: 4 })
    await cluster.produce({ topic: 'a', records: [...numbers(10), '3', '9'].map((id) => ofId(id)) })
    await consumed(12)
    expect(await paid()).toEqual(numbers(10))
    expect(await out()).toEqual(numbers(10))
    expect(sum('duplicate')).toBe(2)
  })

  it('loses records in such a case where an id that is known is a duplicate, whoever has it, as this test sees', async () => {
    const naive = claimedBy(
      claims,
      (claim) =>
        async (...given) =>
          (await claim(...given)).map((held) => held && { ...held, group: 'whoever' }),
    )
    broker.faults.inject({ at: 'offsets', reaction: 'abort' })
    start(
      'a',
      (records) =>
        records.pipe(
          dedupe<RawRecord>({ by: header('id'), within: '1h', store: naive }),
          toDatabase(db, rows),
          toTopic<RawRecord>({ topic: 'out' }),
        ),
      { maxRecords: 4 },
    )
    await cluster.produce({ topic: 'a', records: numbers(10).map((id) => ofId(id)) })
    await consumed(10)
    expect((await out()).length).toBeLessThan(10)
  })

  it('claims nothing for a record that fails for good, or whose rows cannot be stored', async () => {
    await databases.pg.exec("ALTER TABLE payments ADD CHECK (id <> 'bad')")
    start('a', undefined, { onError: { deadLetter: 'dead' } })
    await cluster.produce({ topic: 'a', records: [ofId('1'), ofId('2', 0, 'bad'), ofId('3'), ofId('2', 0, 'good')] })
    await consumed(4)
    expect(await paid()).toEqual(['1', '3', 'good'])
    expect(await claims.find('2')).toMatchObject({ state: 'passed', origin: { offset: 3 }, duplicates: 0 })
  })

  it('keeps results and checksums in the same transaction, and tells them of the first', async () => {
    const told: Duplicate<RawRecord>[] = []
    start('a', (records) =>
      records.pipe(
        dedupe<RawRecord>({
          by: header('id'),
          within: '1h',
          store: claims,
          checksum: contentHash(),
          onDuplicate: (all) => all.pipe(tap((one) => told.push(one))),
        }),
        toDatabase(db, rows),
        keepResult({ by: header('id'), result: ({ value }) => `paid ${String(value)}` }),
      ),
    )
    await cluster.produce({ topic: 'a', records: [ofId('1', 0, 'ten'), ofId('1', 0, 'ten'), ofId('1', 0, 'twenty')] })
    await consumed(3)
    const found = await claims.find('1')
    expect(found).toMatchObject({ state: 'passed', result: 'paid ten', duplicates: 2, origin: { topic: 'a', partition: 0, offset: 0 } })
    expect(told.map(({ first }) => first.checksum)).toEqual([found?.checksum, found?.checksum])
    expect(found?.checksum).toMatch(/^[0-9a-f]{64}$|./)
  })

  it('works where nothing is written but claims, and where they are made apart', async () => {
    const apart = sqlClaims({ db, table: 'apart', apart: true })
    const only = (store: SqlClaims) => (records: RecordStream) =>
      records.pipe(dedupe<RawRecord>({ by: header('id'), within: '1h', store }), toTopic<RawRecord>({ topic: 'out' }))
    start('a', only(claims))
    start('b', only(apart))
    for (const topic of ['a', 'b']) await cluster.produce({ topic, records: [...numbers(5), ...numbers(5)].map((id) => ofId(id)) })
    await consumed(20)
    expect(await out()).toEqual([...numbers(5), ...numbers(5)].sort())
    await until(async () => (await apart.find('3'))?.state === 'passed', { what: 'the end of the transaction to be told' })
    expect(await claims.find('3')).toMatchObject({ state: 'passed', duplicates: 1 })
  })

  it('does it all again where the database undid its transaction and another has claimed an id meanwhile', async () => {
    let undone = false
    const again = Object.assign(new Error('deadlock detected'), { code: '40P01' })
    const write = (tx: Parameters<typeof rows>[0], records: readonly RawRecord[]): unknown => {
      if (undone) return rows(tx, records)
      undone = true
      stolen = true
      throw again
    }
    let stolen = false
    const raced = claimedBy(claims, (claim) => async (tx, requests, terms) => {
      if (stolen) await claim(tx, [{ id: '2', origin: { topic: 'b', partition: 0, offset: 7 } }], { ...terms, group: 'b' })
      return claim(tx, requests, terms)
    })
    start('a', (records) =>
      records.pipe(
        dedupe<RawRecord>({ by: header('id'), within: '1h', store: raced }),
        toDatabase(db, write),
        toTopic<RawRecord>({ topic: 'out' }),
      ),
    )
    await cluster.produce({ topic: 'a', records: numbers(4).map((id) => ofId(id)) })
    await consumed(4)
    expect(await paid()).toEqual(['0', '1', '3'])
    expect(await out()).toEqual(['0', '1', '3'])
    expect(sum('duplicate')).toBe(1)
  })

  it('refuses what does not go with it', () => {
    const refused = (options: object): MillraceError => {
      try {
        dedupe({ by: header('id'), within: '1h', store: claims, ...options } as never)
      } catch (error) {
        return error as MillraceError
      }
      throw new Error('it did not refuse')
    }
    expect(refused({ waitAtMost: '1s' }).message).toMatch(/waitAtMost: is for claims that are made apart/)
    expect(refused({ bloom: { expected: 10, exclusive: true } }).message).toMatch(/bloom: the store 'PGlite' has no part/)
    expect(refused({ store: 'task', checksum: contentHash() }).message).toMatch(/checksum: is for a shared store/)
    expect(() => sqlClaims({ db, table: 'a; drop' })).toThrow(/table: expected the name of a table/)
    expect(() => sqlClaims({ db: {} as Database })).toThrow(/db: expected a database/)
  })
})

import { PGlite } from '@electric-sql/pglite'
import { createClient, type Client } from '@libsql/client'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { pglite } from '../../src/sinks/database/pglite.js'
import { sqlite } from '../../src/sinks/database/sqlite.js'
import { externalStoreContract, type ExternalStoreHarness } from '../../src/testing/index.js'
import type { SqlTransaction } from '../../src/index.js'
import { MemoryStore, Poison, type MemoryTx } from '../support/memory-store.js'

const memoryHarness = (store: MemoryStore): ExternalStoreHarness<MemoryTx> => ({
  open: () => store,
  write: async (tx, text) => void tx.lines.push(text),
  written: async (prefix) => store.lines.filter((line) => line.startsWith(prefix)),
  writePoison: async () => {
    throw new Poison('poison')
  },
})

describe('a store in memory', () => {
  const harness = memoryHarness(new MemoryStore())
  it.each(externalStoreContract)('$name', ({ run }) => run(harness))
})

describe('PGlite', () => {
  let db: PGlite
  let harness: ExternalStoreHarness<SqlTransaction>

  beforeAll(async () => {
    db = await PGlite.create()
    await db.exec('CREATE TABLE lines (line text CHECK (line <> $$poison$$))')
    harness = {
      open: () => pglite(db),
      write: async (tx, text) => void (await tx.query('INSERT INTO lines VALUES ($1)', [text])),
      written: async (prefix) =>
        (await db.query<{ line: string }>('SELECT line FROM lines WHERE line LIKE $1', [`${prefix}%`])).rows.map(({ line }) => line),
      writePoison: async (tx) => void (await tx.query("INSERT INTO lines VALUES ('poison')")),
    }
    // It compiles PostgreSQL, which takes its time on a busy machine.
  }, 60_000)
  afterAll(() => db.close())

  it.each(externalStoreContract)('$name', ({ run }) => run(harness))
})

describe('SQLite', () => {
  let directory: string
  const clients: Client[] = []
  let harness: ExternalStoreHarness<SqlTransaction>

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'millrace-sqlite-'))
    const client = (): Client => {
      clients.push(createClient({ url: `file:${join(directory, 'test.db')}` }))
      return clients.at(-1) as Client
    }
    const own = client()
    await own.execute("CREATE TABLE lines (line TEXT CHECK (line <> 'poison'))")
    harness = {
      open: () => sqlite(client()),
      write: async (tx, text) => void (await tx.query('INSERT INTO lines VALUES (?1)', [text])),
      written: async (prefix) =>
        (await own.execute({ sql: 'SELECT line FROM lines WHERE line LIKE ?1', args: [`${prefix}%`] })).rows.map((row) =>
          String(row['line']),
        ),
      writePoison: async (tx) => void (await tx.query("INSERT INTO lines VALUES ('poison')")),
    }
  })
  afterAll(async () => {
    for (const client of clients) client.close()
    await rm(directory, { recursive: true, force: true })
  })

  it.each(externalStoreContract)('$name', ({ run }) => run(harness))
})

describe('the contract', () => {
  const failures = async (store: MemoryStore): Promise<string[]> => {
    const failed: string[] = []
    for (const { name, run } of externalStoreContract) await run(memoryHarness(store)).catch(() => failed.push(name))
    return failed
  }

  it('tells a store that does not compare epochs', async () => {
    expect(await failures(new MemoryStore({ noEpoch: true }))).toEqual([
      'who had a row that another has taken cannot commit, and wrote nothing',
      'a row that stands elsewhere than it was left, as after a backup or a failover, is not changed',
      'taking a row twice refuses even its own earlier transactions',
      'who takes a row waits for the transaction that changes it, or is told to come again',
    ])
  })
})

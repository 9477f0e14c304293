import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PGlite } from '@electric-sql/pglite'
import { createClient, type Client } from '@libsql/client'
import { afterAll, beforeAll } from 'vitest'

/** The databases that need no server: PostgreSQL in the process, and SQLite in a file of its own. */
export interface TwoDatabases {
  readonly pg: PGlite
  readonly client: Client
  /** Of the SQLite file. */
  readonly url: string
}

/** Opens both before the tests of a file and closes them after: what it returns is filled by then. */
export function twoDatabases(): TwoDatabases {
  const databases = {} as { -readonly [name in keyof TwoDatabases]: TwoDatabases[name] }
  let directory: string
  beforeAll(async () => {
    databases.pg = await PGlite.create()
    directory = await mkdtemp(join(tmpdir(), 'millrace-sqlite-'))
    databases.url = `file:${join(directory, 'test.db')}`
    databases.client = createClient({ url: databases.url })
    // It compiles PostgreSQL, which takes its time on a busy machine.
  }, 60_000)
  afterAll(async () => {
    await databases.pg.close()
    databases.client.close()
    await rm(directory, { recursive: true, force: true })
  })
  return databases
}

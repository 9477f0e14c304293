import type { PGlite, Transaction } from '@electric-sql/pglite'
import { z } from 'zod'
import { objectWith, parseOptions } from '../../runtime/options.js'
import { SqlStore, type Database, type SqlConnection, type SqlDriver, type SqlRow, type SqlTransaction } from './database.js'
import type { PostgresOptions } from './postgres.js'
import { blameOfPostgres, postgresPositions } from './postgres-positions.js'
import { tableName } from './table-name.js'

/** What is needed of a PGlite: the class itself is another one to `import` than to `require`. */
export type PgliteClient = Pick<PGlite, 'query' | 'transaction' | 'listen'>

/** The open transaction, with PGlite's own. */
export interface PgliteTransaction extends SqlTransaction {
  readonly dialect: 'postgres'
  readonly transaction: Transaction
}

const schema = z.strictObject({ table: tableName.default('millrace_positions'), createTable: z.boolean().default(true) })

/**
 * PGlite, which is PostgreSQL in this process, as a database for `toDatabase`: for tests and demos without a server. It does one
 * transaction at a time, so everything else waits while a transaction of the pipeline is open.
 *
 * @throws MillraceError INVALID_OPTIONS
 * @example
 * const db = pglite(new PGlite())
 */
export function pglite(db: PgliteClient, options: Omit<PostgresOptions, 'idleTimeout'> = {}): Database<PgliteTransaction> {
  const { table, createTable } = parseOptions(schema, options, 'pglite')
  parseOptions(z.tuple([objectWith<PgliteClient>(['query', 'transaction'], 'a PGlite')]), [db], 'pglite')
  return new SqlStore(new PgliteDriver(db), postgresPositions(table), createTable)
}

/** Ends a transaction without its being a failure. */
const ROLLED_BACK = new Error('rolled back')

class PgliteDriver implements SqlDriver<PgliteTransaction> {
  readonly name = 'PGlite'

  constructor(private readonly db: PgliteClient) {}

  async query(sql: string, params: readonly unknown[]): Promise<readonly SqlRow[]> {
    return (await this.db.query<SqlRow>(sql, [...params])).rows
  }

  /** PGlite's transaction is a function that runs until it is over; so it waits there for what is to become of it. */
  async begin(): Promise<SqlConnection<PgliteTransaction>> {
    let end!: (commit: boolean) => void
    const decided = new Promise<boolean>((resolve) => (end = resolve))
    let done!: Promise<unknown>
    const transaction = await new Promise<Transaction>((resolve, reject) => {
      done = this.db.transaction(async (tx) => {
        resolve(tx)
        if (!(await decided)) throw ROLLED_BACK
      })
      done.catch(reject)
    })
    return {
      handle: {
        dialect: 'postgres',
        transaction,
        query: async (sql, params = []) => (await transaction.query<SqlRow>(sql, [...params])).rows,
      },
      async commit() {
        end(true)
        await done
      },
      async rollback() {
        end(false)
        // It rejects with ROLLED_BACK, or with what had broken it before.
        await done.catch(() => {})
      },
    }
  }

  listen(channel: string, onNotify: () => void): () => void {
    const listening = this.db.listen(channel, onNotify)
    // Who does not hear looks now and then.
    listening.catch(() => {})
    return () => void listening.then((end) => end()).catch(() => {})
  }

  blame = blameOfPostgres
}

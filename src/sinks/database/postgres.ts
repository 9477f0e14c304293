import type { Pool, PoolClient } from 'pg'
import type { OperatorFunction } from 'rxjs'
import { z } from 'zod'
import { systemClock } from '../../record/clock.js'
import type { StreamRecord } from '../../record/record.js'
import type { Good, Handled, RecordOrFailure } from '../../record/types.js'
import { objectWith, parseOptions, timeLimit } from '../../runtime/options.js'
import { SqlStore, type Database, type SqlConnection, type SqlDriver, type SqlRow, type SqlTransaction } from './database.js'
import { blameOfPostgres, postgresPositions } from './postgres-positions.js'
import { tableName } from './table-name.js'
import { toDatabase, type DatabaseWrite, type ToDatabaseOptions } from './to-database.js'

type AnyRecord = StreamRecord<unknown, unknown>

/** The open transaction, with the client that has it: for COPY, cursors and what else pg can do. */
export interface PostgresTransaction extends SqlTransaction {
  readonly dialect: 'postgres'
  readonly client: PoolClient
}

export interface PostgresOptions {
  /** The table of positions, with its schema where it is not on the search path. Default 'millrace_positions'. */
  readonly table?: string
  /** Whether it is made where it is missing. Default true; false where the pipeline may not make tables: docs/databases.md has it. */
  readonly createTable?: boolean
  /**
   * How long PostgreSQL keeps a transaction in which nothing happens: what a member that was stopped in the middle of one has locked is
   * free again then. Default '30s'.
   */
  readonly idleTimeout?: number | string
}

const poolSchema = objectWith<Pool>(['connect', 'query'], 'a Pool of pg')
const schema = z.strictObject({
  table: tableName.default('millrace_positions'),
  createTable: z.boolean().default(true),
  idleTimeout: timeLimit.default(30_000),
})

const known = new WeakMap<Pool, Database<PostgresTransaction>>()

/**
 * PostgreSQL as a database for `toDatabase`, over a pool of yours. Each pipeline has one of its connections while a transaction is open,
 * and sometimes a second one for a moment; a pool may serve several pipelines, and others beside them. You end it, after the pipelines.
 *
 * Without options it is one and the same for a pool, however often it is asked for: what goes by one database object commits together.
 *
 * An idle connection that breaks is no failure of the process: where nobody listens for 'error' of the pool, this does.
 *
 * @throws MillraceError INVALID_OPTIONS
 * @example
 * const db = postgres(new pg.Pool({ connectionString }))
 */
export function postgres(pool: Pool, options: PostgresOptions = {}): Database<PostgresTransaction> {
  const { table, createTable, idleTimeout } = parseOptions(schema, options, 'postgres')
  parseOptions(z.tuple([poolSchema]), [pool], 'postgres')
  const usual = known.get(pool)
  const isUsual = Object.keys(options).length === 0
  if (isUsual && usual !== undefined) return usual
  if (pool.listenerCount('error') === 0) pool.on('error', () => {})
  const db = new SqlStore(new PgDriver(pool, idleTimeout), postgresPositions(table), createTable)
  if (isUsual) known.set(pool, db)
  return db
}

/**
 * `toDatabase` for PostgreSQL: writes the records of a slice with your SQL, in one database transaction with the position of each
 * partition. See `toDatabase`, and docs/databases.md for what it promises.
 *
 * @example
 * orders.pipe(toPostgres(pool, upsert({ table: 'orders', key: { id: (o) => o.id }, columns: { total: (o) => o.value.total } })))
 */
export function toPostgres<R extends RecordOrFailure = AnyRecord>(
  pool: Pool,
  write: Handled<R> & DatabaseWrite<PostgresTransaction, NoInfer<Good<R>>>,
  options?: ToDatabaseOptions,
): OperatorFunction<R, Good<R>>
export function toPostgres<R extends AnyRecord>(
  pool: Pool,
  write: DatabaseWrite<PostgresTransaction, R>,
  options: ToDatabaseOptions = {},
): OperatorFunction<R, R> {
  return toDatabase(postgres(pool), write, options)
}

const LISTEN_AGAIN_MS = 1_000

class PgDriver implements SqlDriver<PostgresTransaction> {
  readonly name = 'PostgreSQL'

  constructor(
    private readonly pool: Pool,
    private readonly idleMs: number,
  ) {}

  async query(sql: string, params: readonly unknown[]): Promise<readonly SqlRow[]> {
    return (await this.pool.query(sql, [...params])).rows as SqlRow[]
  }

  async begin(): Promise<SqlConnection<PostgresTransaction>> {
    const client = await this.pool.connect()
    // It may break while nothing is asked of it; what is asked next tells.
    const onError = (): void => {}
    client.on('error', onError)
    let released = false
    const release = (destroy: boolean): void => {
      if (released) return
      released = true
      client.off('error', onError)
      if (destroy) client.on('error', onError)
      client.release(destroy)
    }
    try {
      await client.query(`BEGIN; SET LOCAL idle_in_transaction_session_timeout = ${this.idleMs}`)
    } catch (error) {
      release(true)
      throw error
    }
    return {
      handle: {
        dialect: 'postgres',
        client,
        query: async (sql, params = []) => (await client.query(sql, [...params])).rows as SqlRow[],
      },
      async commit() {
        try {
          await client.query('COMMIT')
        } catch (error) {
          release(true)
          throw error
        }
        release(false)
      },
      async rollback(hard) {
        if (hard) return release(true)
        try {
          await client.query('ROLLBACK')
          release(false)
        } catch {
          // Without the connection there is no transaction.
          release(true)
        }
      },
    }
  }

  /** Over a connection of the pool, as long as that lasts; then over another. Who does not hear meanwhile looks now and then. */
  listen(channel: string, onNotify: () => void): () => void {
    let client: PoolClient | undefined
    let ended = false
    let opening = false
    const close = (): void => {
      client?.release(true)
      client = undefined
    }
    const again = (): void => {
      close()
      if (ended || opening) return
      opening = true
      systemClock.after(LISTEN_AGAIN_MS, open)
    }
    const open = (): void => {
      opening = false
      if (ended) return
      this.pool.connect().then((opened) => {
        client = opened
        if (ended) return close()
        opened.on('error', again)
        opened.on('notification', onNotify)
        // What was said before it listened is looked for.
        opened.query(`LISTEN ${channel}`).then(onNotify, again)
      }, again)
    }
    open()
    return () => {
      ended = true
      close()
    }
  }

  blame = blameOfPostgres
}

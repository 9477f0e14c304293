import { z } from 'zod'
import type { Duration } from '../../record/duration.js'
import { MillraceError } from '../../record/error.js'
import type { Origin } from '../../record/origin.js'
import { objectWith, parseOptions, positiveDuration, positiveInteger } from '../../runtime/options.js'
import type { Database, SqlRow } from '../../sinks/database/database.js'
import { tableName } from '../../sinks/database/table-name.js'
import type { ClaimStore } from './claims/claim-store.js'
import { SqlClaimStore, type SqlRunner } from './claims/sql-claims.js'

export interface SqlClaimsOptions {
  /** `postgres(pool)`, `pglite(db)`, `sqlite(client)`: the same object as `toDatabase` has, where there is one. */
  readonly db: Database
  /** The table of claims; ids of one table are one set of ids. Default 'millrace_inbox'; `<table>_ends` stands beside it. */
  readonly table?: string
  /** Whether it is made where it is missing. Default true; false where the pipeline may not make tables. */
  readonly createTable?: boolean
  /**
   * Has `dedupe` make claims in transactions of their own, which count when Kafka's transaction has committed, as those of `redisClaims`
   * do: for pipelines that write nothing else to this database. Not with PGlite or SQLite beside `toDatabase`: those do one transaction at
   * a time. Default: they commit with what the pipeline writes to the database.
   */
  readonly apart?: true
}

/** The transaction of your own: a client of pg, a transaction of PGlite or libSQL, or what `toDatabase` gives. */
export type OwnTransaction =
  | { query(sql: string, params?: unknown[]): Promise<unknown> }
  | { execute(statement: { sql: string; args: never }): Promise<{ readonly rows: unknown; readonly columns: string[] }> }
  | SqlRunner

export interface OnceOptions {
  /** What is to be done once. */
  readonly id: string
  /** How long that is remembered. */
  readonly within: Duration
  /** Of what the request holds: the same id with another one is refused. */
  readonly checksum?: string
  /** Where the record lies that asks for it, if it is one. */
  readonly origin?: Origin
}

/** What came of it, now or the first time. */
export interface OnceResult {
  /** False where it was done before: then nothing was done now. */
  readonly first: boolean
  readonly result: string | undefined
}

/** Claims of ids in a SQL database: for `dedupe`, and for handlers of your own. */
export interface SqlClaims extends ClaimStore {
  /**
   * Does something once for an id, in your transaction, with which the claim commits: the second time gives the result of the first. Who
   * asks while the first has not committed waits for it, in PostgreSQL.
   *
   * @throws MillraceError CHECKSUM_DIFFERS: the id was used for something else; what `work` throws, and then you roll back
   * @example
   * await client.query('BEGIN')
   * const { result } = await inbox.once(client, { id: key, within: '7d', checksum: sha256(body) }, async () => String(await charge(client, body)))
   * await client.query('COMMIT')
   */
  once(tx: OwnTransaction, options: OnceOptions, work: () => string | undefined | Promise<string | undefined>): Promise<OnceResult>
  /** How many ids are held. */
  count(): Promise<number>
  /** Deletes claims whose time is over, `batch` (1,000) rows a transaction; returns how many. They count no longer without it: it gives back their room. */
  removeExpired(options?: { readonly batch?: number }): Promise<number>
}

const schema = z.strictObject({
  db: objectWith<Database>(['take', 'read', 'begin', 'blame'], 'a database such as postgres(pool)'),
  table: tableName.default('millrace_inbox'),
  createTable: z.boolean().default(true),
  apart: z.literal(true).optional(),
})
const onceSchema = z.strictObject({
  id: z.string().min(1),
  within: positiveDuration,
  checksum: z.string().optional(),
  origin: z.object({ topic: z.string(), partition: z.number(), offset: z.number() }).optional(),
})
const expiredSchema = z.strictObject({ batch: positiveInteger.default(1_000) })

/** Of a claim that no record made. */
const NOWHERE: Origin = { topic: '', partition: -1, offset: -1 }

/**
 * Ids in a SQL database (an inbox), for `dedupe` and for handlers of your own: PostgreSQL, PGlite, SQLite.
 *
 * A claim of `dedupe` commits with what the pipeline writes to the same database by `toDatabase`, and with its positions, in one
 * transaction; where nothing is written there, in one right before Kafka's. So an id counts as soon as its effect is there, and not before;
 * who meets one that is not committed yet waits in the database. Through a crash between the two commits its record comes again, is not
 * its own duplicate, and its rows are not written again.
 *
 * One statement a batch of records where the ids are new; about 250 bytes an id in the database. `close` closes nothing: the database is
 * yours.
 *
 * @throws MillraceError INVALID_OPTIONS; later CLAIM_STORE_FAILED
 * @example
 * const db = postgres(pool)
 * const inbox = sqlClaims({ db })
 * payments.pipe(dedupe({ by: header('id'), within: '7d', store: inbox }), toDatabase(db, append({ table: 'payments', columns })))
 * await inbox.find('payment-17')
 */
export function sqlClaims(options: SqlClaimsOptions): SqlClaims {
  const { db, table, createTable, apart } = parseOptions(schema, options, 'sqlClaims')
  return new Inbox(db, table, createTable, apart === true)
}

class Inbox extends SqlClaimStore implements SqlClaims {
  async once(tx: OwnTransaction, options: OnceOptions, work: () => unknown): Promise<OnceResult> {
    const { id, within, checksum, origin = NOWHERE } = parseOptions(onceSchema, options, 'once')
    const runner = runnerOf(tx)
    const [held] = await this.claimIn(runner, [{ id, origin, checksum }], { group: '', transaction: '', generation: 0, withinMs: within })
    if (held !== undefined) {
      if (checksum !== undefined && held.checksum !== undefined && checksum !== held.checksum)
        throw new MillraceError(
          'CHECKSUM_DIFFERS',
          `the id ${id} was used for something else: its checksum was ${held.checksum}, and now is ${checksum}. Two things need two ids`,
          { origin },
        )
      return { first: false, result: held.result }
    }
    const result = (await work()) as string | undefined
    if (result !== undefined) await this.noteIn(runner, [{ id, duplicates: 0, result }])
    return { first: true, result }
  }

  override removeExpired(options: { readonly batch?: number } = {}): Promise<number> {
    return super.removeExpired(parseOptions(expiredSchema, options, 'removeExpired'))
  }
}

/** What drivers call rows. */
function runnerOf(tx: OwnTransaction): SqlRunner {
  if ('dialect' in tx) return tx
  if ('execute' in tx)
    return {
      dialect: 'sqlite',
      async query(sql, args = []) {
        const { rows, columns } = await tx.execute({ sql, args: args as never })
        return (rows as readonly (readonly unknown[])[]).map((row) => Object.fromEntries(columns.map((name, i) => [name, row[i]])))
      },
    }
  return {
    dialect: 'postgres',
    query: async (sql, params = []) => ((await tx.query(sql, [...params])) as { readonly rows: readonly SqlRow[] }).rows,
  }
}

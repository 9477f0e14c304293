import type { Client, InArgs, ResultSet, Transaction } from '@libsql/client'
import { z } from 'zod'
import { objectWith, parseOptions } from '../../runtime/options.js'
import type { Blame, Place } from '../external/port.js'
import {
  SqlStore,
  type Database,
  type PositionTable,
  type SqlConnection,
  type SqlDriver,
  type SqlRow,
  type SqlTransaction,
} from './database.js'
import { tableName } from './table-name.js'

/** The open transaction, with libSQL's own. */
export interface SqliteTransaction extends SqlTransaction {
  readonly dialect: 'sqlite'
  readonly transaction: Transaction
}

export interface SqliteOptions {
  /** The table of positions. Default 'millrace_positions'. */
  readonly table?: string
  /** Whether it is made where it is missing. Default true. */
  readonly createTable?: boolean
}

const schema = z.strictObject({ table: tableName.default('millrace_positions'), createTable: z.boolean().default(true) })

/**
 * SQLite (libSQL) as a database for `toDatabase`, over a client of @libsql/client. It has one writer at a time: others wait while a
 * transaction of the pipeline is open.
 *
 * @throws MillraceError INVALID_OPTIONS
 * @example
 * const db = sqlite(createClient({ url: 'file:orders.db' }))
 */
export function sqlite(client: Client, options: SqliteOptions = {}): Database<SqliteTransaction> {
  const { table, createTable } = parseOptions(schema, options, 'sqlite')
  parseOptions(z.tuple([objectWith<Client>(['execute', 'transaction'], 'a client of @libsql/client')]), [client], 'sqlite')
  return new SqlStore(new SqliteDriver(client), sqlitePositions(table), createTable)
}

function sqlitePositions(table: string): PositionTable {
  const json = (places: readonly Place[]): string => JSON.stringify(places)
  const field = (name: string): string => `json_extract(u.value, '$.${name}')`
  const COLUMNS = 'sink, topic, "partition", position, epoch, gaps, owed'
  return {
    create: `CREATE TABLE IF NOT EXISTS ${table} (
  "group" TEXT NOT NULL, sink TEXT NOT NULL, topic TEXT NOT NULL, "partition" INTEGER NOT NULL,
  position INTEGER NOT NULL, epoch INTEGER NOT NULL, gaps TEXT NOT NULL DEFAULT '', owed TEXT NOT NULL DEFAULT '',
  PRIMARY KEY ("group", sink, topic, "partition"))`,
    take: (group, places) => [
      `INSERT INTO ${table} ("group", sink, topic, "partition", position, epoch, gaps)
SELECT ?1, ${field('sink')}, ${field('topic')}, ${field('partition')}, ${field('start')}, 1, CAST(${field('start')} AS TEXT)
FROM json_each(?2) AS u WHERE true
ON CONFLICT ("group", sink, topic, "partition") DO UPDATE SET epoch = epoch + 1
RETURNING ${COLUMNS}`,
      [group, json(places)],
    ],
    read: (group, places) => [
      `SELECT ${COLUMNS} FROM ${table} WHERE "group" = ?1 AND (sink, topic, "partition") IN
(SELECT ${field('sink')}, ${field('topic')}, ${field('partition')} FROM json_each(?2) AS u)`,
      [group, json(places)],
    ],
    change: (group, changes) => [
      `UPDATE ${table} SET position = ${field('position')}, gaps = ${field('gaps')}, owed = ${field('owed')}
FROM json_each(?2) AS u
WHERE "group" = ?1 AND sink = ${field('sink')} AND topic = ${field('topic')} AND "partition" = ${field('partition')} AND epoch = ${field('epoch')} AND position = ${field('was')}
RETURNING 1`,
      [group, json(changes)],
    ],
  }
}

class SqliteDriver implements SqlDriver<SqliteTransaction> {
  readonly name = 'SQLite'

  constructor(private readonly client: Client) {}

  async query(sql: string, params: readonly unknown[]): Promise<readonly SqlRow[]> {
    return rowsOf(await this.client.execute({ sql, args: params as InArgs }))
  }

  async begin(): Promise<SqlConnection<SqliteTransaction>> {
    const transaction = await this.client.transaction('write')
    return {
      handle: {
        dialect: 'sqlite',
        transaction,
        query: async (sql, params = []) => rowsOf(await transaction.execute({ sql, args: params as InArgs })),
      },
      commit: () => transaction.commit(),
      async rollback() {
        // Closing undoes what is not committed.
        transaction.close()
      },
    }
  }

  blame(error: unknown): Blame {
    const code = error instanceof Error ? (error as { readonly code?: unknown }).code : undefined
    if (typeof code !== 'string') return undefined
    if (/^SQLITE_(BUSY|LOCKED)/.test(code)) return 'again'
    if (/^SQLITE_(IOERR|FULL|CANTOPEN|NOMEM|PROTOCOL)/.test(code) || /^(HRANA_WEBSOCKET|SERVER_ERROR|ECONN)/.test(code)) return 'away'
    if (/^SQLITE_(CONSTRAINT|MISMATCH|TOOBIG|RANGE)/.test(code)) return 'record'
    return code.startsWith('SQLITE_') ? 'program' : undefined
  }
}

function rowsOf({ rows, columns }: ResultSet): readonly SqlRow[] {
  return rows.map((row) => Object.fromEntries(columns.map((name, i) => [name, row[i]])))
}

import { z } from 'zod'
import type { StreamRecord } from '../../record/record.js'
import { functionOption, parseOptions } from '../../runtime/options.js'
import type { SqlTransaction } from './database.js'
import { sqlName, tableName } from './table-name.js'
import type { DatabaseWrite } from './to-database.js'

type AnyRecord = StreamRecord<unknown, unknown>

/** What stands in each column, by its name. Bytes, dates, bigints and, for columns of JSON, objects are written as what they are. */
export type Columns<R> = Readonly<Record<string, (record: R) => unknown>>

export interface UpsertOptions<R> {
  readonly table: string
  /** The columns of a primary key or a unique index. Of a tombstone they are asked too, which has no value. */
  readonly key: Columns<R>
  /** The others. Of a tombstone they are not asked. */
  readonly columns: Columns<R>
}

export interface AppendOptions<R> {
  readonly table: string
  readonly columns: Columns<R>
}

export interface RemoveOptions<R> {
  readonly table: string
  readonly key: Columns<R>
}

const columnsSchema = z.record(sqlName, functionOption<(record: AnyRecord) => unknown>('a function of the record'))
const keySchema = columnsSchema.refine((key) => Object.keys(key).length > 0, { message: 'name at least one column' })
const upsertSchema = z.strictObject({ table: tableName, key: keySchema, columns: columnsSchema })
const appendSchema = z.strictObject({ table: tableName, columns: keySchema })
const removeSchema = z.strictObject({ table: tableName, key: keySchema })

type Cells = Readonly<Record<string, unknown>>

/**
 * Writes each record as a row, over the one with its key; a tombstone (value null) deletes it. Of several records of a key in a call the
 * last counts.
 *
 * Doing it again changes nothing, so it takes records without a position too, such as results of windows and aggregates.
 *
 * @throws MillraceError INVALID_OPTIONS
 * @example
 * toDatabase(db, upsert({ table: 'customers', key: { id: (c) => c.key }, columns: { name: (c) => c.value.name, seen: (c) => new Date(c.timestamp) } }))
 */
export function upsert<R extends AnyRecord>(options: UpsertOptions<R>): DatabaseWrite<SqlTransaction, R> {
  const { table, key, columns } = parseOptions(upsertSchema, options, 'upsert')
  const [keys, others] = [Object.keys(key), Object.keys(columns)]
  const set = others.map((name) => `${name} = EXCLUDED.${name}`).join(', ')
  const conflict = `ON CONFLICT (${keys.join(', ')}) ${others.length === 0 ? 'DO NOTHING' : `DO UPDATE SET ${set}`}`
  return repeatable(async (tx, records) => {
    const last = lastOfEachKey(key, records)
    const rows: Cells[] = []
    const gone: Cells[] = []
    for (const { cells, record } of last.values()) {
      if (record.value === null) gone.push(cells)
      else rows.push({ ...cells, ...cellsOf(columns, record) })
    }
    await insertRows(tx, table, [...keys, ...others], rows, conflict)
    await deleteRows(tx, table, keys, gone)
  })
}

/**
 * Writes each record as a new row. Doing it again would write another one, so every record needs a position: see `repeatable` of
 * `toDatabase`.
 *
 * @throws MillraceError INVALID_OPTIONS
 * @example
 * toDatabase(db, append({ table: 'payments', columns: { id: (p) => p.id, amount: (p) => p.value.amount } }))
 */
export function append<R extends AnyRecord>(options: AppendOptions<R>): DatabaseWrite<SqlTransaction, R> {
  const { table, columns } = parseOptions(appendSchema, options, 'append')
  const names = Object.keys(columns)
  return async (tx, records) => {
    const rows = records.map((record) => cellsOf(columns, record))
    await insertRows(tx, table, names, rows, '')
  }
}

/**
 * Deletes the row of each tombstone (a record whose value is null), and does nothing about others.
 *
 * @throws MillraceError INVALID_OPTIONS
 * @example
 * toDatabase(db, remove({ table: 'customers', key: { id: (c) => c.key } }))
 */
export function remove<R extends AnyRecord>(options: RemoveOptions<R>): DatabaseWrite<SqlTransaction, R> {
  const { table, key } = parseOptions(removeSchema, options, 'remove')
  return repeatable(async (tx, records) => {
    const gone = lastOfEachKey(
      key,
      records.filter(({ value }) => value === null),
    )
    await deleteRows(
      tx,
      table,
      Object.keys(key),
      [...gone.values()].map(({ cells }) => cells),
    )
  })
}

function repeatable<R>(write: (tx: SqlTransaction, records: readonly R[]) => Promise<void>): DatabaseWrite<SqlTransaction, R> {
  return Object.assign(write, { repeatable: true })
}

function cellsOf(columns: Readonly<Record<string, (record: AnyRecord) => unknown>>, record: AnyRecord): Cells {
  const cells: Record<string, unknown> = {}
  for (const name in columns) cells[name] = (columns[name] as (record: AnyRecord) => unknown)(record)
  return cells
}

function lastOfEachKey<R extends AnyRecord>(
  key: Readonly<Record<string, (record: AnyRecord) => unknown>>,
  records: readonly R[],
): ReadonlyMap<string, { readonly cells: Cells; readonly record: R }> {
  const last = new Map<string, { readonly cells: Cells; readonly record: R }>()
  for (const record of records) {
    const cells = cellsOf(key, record)
    const id = JSON.stringify(Object.values(cells).map(jsonCell))
    // Rows are written in the order of their last record.
    last.delete(id)
    last.set(id, { cells, record })
  }
  return last
}

/** SQLite takes so many parameters a statement. */
const SQLITE_PARAMETERS = 30_000

async function insertRows(
  tx: SqlTransaction,
  table: string,
  names: readonly string[],
  rows: readonly Cells[],
  conflict: string,
): Promise<void> {
  if (rows.length === 0) return
  const list = names.join(', ')
  if (tx.dialect === 'postgres') {
    // The table says what types its columns are. One parameter, however many rows and columns.
    await tx.query(`INSERT INTO ${table} (${list}) SELECT ${list} FROM json_populate_recordset(NULL::${table}, $1::json) ${conflict}`, [
      jsonRows(rows),
    ])
    return
  }
  const most = Math.max(1, Math.floor(SQLITE_PARAMETERS / names.length))
  const one = `(${names.map(() => '?').join(', ')})`
  for (let from = 0; from < rows.length; from += most) {
    const part = rows.slice(from, from + most)
    await tx.query(
      `INSERT INTO ${table} (${list}) VALUES ${part.map(() => one).join(', ')} ${conflict}`,
      part.flatMap((row) => names.map((name) => sqliteCell(row[name]))),
    )
  }
}

async function deleteRows(tx: SqlTransaction, table: string, keys: readonly string[], rows: readonly Cells[]): Promise<void> {
  if (rows.length === 0) return
  if (tx.dialect === 'postgres') {
    const same = keys.map((name) => `t.${name} = gone.${name}`).join(' AND ')
    await tx.query(`DELETE FROM ${table} t USING json_populate_recordset(NULL::${table}, $1::json) gone WHERE ${same}`, [jsonRows(rows)])
    return
  }
  const same = keys.map((name) => `${name} = ?`).join(' AND ')
  for (const row of rows) {
    await tx.query(
      `DELETE FROM ${table} WHERE ${same}`,
      keys.map((name) => sqliteCell(row[name])),
    )
  }
}

function jsonRows(rows: readonly Cells[]): string {
  return JSON.stringify(
    rows.map((row) => {
      const cells: Record<string, unknown> = {}
      for (const name in row) cells[name] = jsonCell(row[name])
      return cells
    }),
  )
}

/** What JSON has no form for, in the form that PostgreSQL reads. */
function jsonCell(value: unknown): unknown {
  if (value instanceof Uint8Array) return `\\x${Buffer.from(value).toString('hex')}`
  if (typeof value === 'bigint' || (typeof value === 'number' && !Number.isFinite(value))) return String(value)
  return value
}

function sqliteCell(value: unknown): unknown {
  if (value === undefined) return null
  if (value instanceof Date) return value.toISOString()
  if (typeof value === 'boolean') return value ? 1 : 0
  if (typeof value === 'object' && value !== null && !(value instanceof Uint8Array)) return JSON.stringify(value)
  return value
}

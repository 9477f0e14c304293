import type { StandardSchemaV1 } from '@standard-schema/spec'
import { z } from 'zod'
import { parseDuration, type Duration } from '../../record/duration.js'
import type { SliceContext } from '../../runtime/context.js'
import { duration, objectWith, parseOptions, positiveDuration, storeName } from '../../runtime/options.js'
import { isStandardSchema } from '../../runtime/schema.js'
import type { Database, SqlRow } from '../../sinks/database/database.js'
import { sqlName } from '../../sinks/database/table-name.js'
import { LookupTable, type TableRows } from '../table.js'
import { TableFeed, type FeedSettings } from './table-feed.js'

export interface DatabaseTableOptions<S extends StandardSchemaV1 | undefined = undefined> {
  /** Name of the table within the pipeline, for messages. */
  readonly name: string
  /** A SELECT without ORDER BY or a semicolon; it may join tables. One row a key. */
  readonly query: string
  /** The column whose value, as text, is the key of records; bytes are compared as they are. */
  readonly key: string
  /**
   * The column by which rows are followed: a date (`timestamptz`) or an integer that grows whenever a row changes. An index on it keeps
   * polling cheap.
   */
  readonly version: string
  /**
   * How far behind the latest version rows are read again: a transaction may commit so much later than its versions were given. A time span
   * for dates, default '1m'; a number for integers, default 1,000.
   */
  readonly overlap?: Duration
  /** A column that is true, or not null, in rows that count as deleted. Default: none; then a row that is gone is noticed by `reload`. */
  readonly deleted?: string
  /** How often changes are looked for. Default '1s'. */
  readonly poll?: Duration
  /** How often all rows are read anew: what was deleted, or committed later than `overlap`, is seen then. Default '1h'; false never. */
  readonly reload?: Duration | false
  /** Checks a row when it is first looked up, and makes the value of it. Default: the row as it is. */
  readonly value?: S
}

/** The value of a row. */
export type DatabaseTableValue<S extends StandardSchemaV1 | undefined> = S extends StandardSchemaV1
  ? StandardSchemaV1.InferOutput<S>
  : SqlRow

const schema = z.strictObject({
  name: storeName,
  query: z
    .string()
    .min(1)
    .refine((query) => !/;\s*$/.test(query), { message: 'leave the semicolon out: it stands inside another statement' }),
  key: sqlName,
  version: sqlName,
  overlap: z
    .custom<Duration>((given) => parseDuration(given) !== undefined, { message: "expected a time span such as '1m', or a number" })
    .optional(),
  deleted: sqlName.optional(),
  poll: positiveDuration.default(1_000),
  reload: z.union([z.literal(false), duration.refine((ms) => ms > 0, { message: 'must be more than zero, or false' })]).default(3_600_000),
  value: z.custom<StandardSchemaV1>(isStandardSchema, { message: 'expected a Standard Schema such as z.object({ ... })' }).optional(),
})

/** The rows of a database's query, at hand in each process; made by `databaseTable`, used by `joinTable`. */
export class DatabaseTable<V> extends LookupTable<V, true> {
  readonly place: string
  readonly whole = true

  constructor(private readonly settings: FeedSettings) {
    super(settings.name)
    this.place = `the table '${settings.name}' of ${settings.db.name}`
  }

  /** @internal */
  open(slice: SliceContext, what: string): TableRows<V> {
    // One for all steps of a pipeline that use it.
    const feed = slice.shared(`${this.place} #${numberOf(this)}`, () =>
      slice.effects(what, this, this.name, (environment) => new TableFeed<V>(this.settings, environment)),
    )
    return feed.forSlice(slice, what)
  }
}

const numbers = new WeakMap<object, number>()
let last = 0

function numberOf(table: object): number {
  const number = numbers.get(table) ?? ++last
  numbers.set(table, number)
  return number
}

const databaseSchema = objectWith<Database>(['begin', 'blame'], 'a database such as postgres(pool)')

/**
 * Defines a table for `joinTable` from a query of a database: no topic is needed. All rows are loaded before the first record, into each
 * process, and followed from then on by polling for rows with a later version.
 *
 * What is seen is what has committed in the database, at most `poll` late, and a commit of one transaction whole at a time. A transaction
 * may commit after another that was given later versions: so rows are read again from `overlap` before the latest version. What commits
 * later than that, and rows that were deleted without a mark (`deleted`), are noticed when all is read anew (`reload`).
 *
 * It is no part of transactions: a record that is read again after an abort or a crash may meet another version of its row, and records of
 * one transaction may meet two. Where that matters, bring the table into a compacted topic (an outbox, a change data capture) and use
 * `table`, which says the same but is one log for all.
 *
 * Memory: all rows, in each process, and twice for a moment when they are read anew. While the database cannot be reached, records go by
 * the rows as they were, with a warning; before the first load they wait. A query that is refused ends the pipeline (SINK_REFUSED).
 *
 * @throws MillraceError INVALID_OPTIONS; as error of the slice SINK_REFUSED, DECODE_FAILED for a row that does not fit `value`
 * @example
 * const customers = databaseTable(postgres(pool), {
 *   name: 'customers', query: 'SELECT id, city, updated_at, deleted FROM customers', key: 'id', version: 'updated_at', deleted: 'deleted',
 * })
 * orders.pipe(joinTable(customers, { key: (order) => order.value.customer, join: (order, customer) => ({ ...order.value, city: customer['city'] }) }))
 */
export function databaseTable<S extends StandardSchemaV1 | undefined = undefined>(
  db: Database,
  options: DatabaseTableOptions<S>,
): DatabaseTable<DatabaseTableValue<S>> {
  parseOptions(z.tuple([databaseSchema]), [db], 'databaseTable')
  const { poll, reload, overlap, deleted, value, ...rest } = parseOptions(schema, options, 'databaseTable')
  return new DatabaseTable({ ...rest, db, overlap, deleted, value, pollMs: poll, reloadMs: reload })
}

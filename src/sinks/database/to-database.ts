import type { OperatorFunction } from 'rxjs'
import { z } from 'zod'
import type { Duration } from '../../record/duration.js'
import type { StreamRecord } from '../../record/record.js'
import type { Good, Handled, RecordOrFailure } from '../../record/types.js'
import { functionOption, objectWith, parseOptions } from '../../runtime/options.js'
import type { ExternalWrite } from '../external/port.js'
import { externalSchema, toExternal } from '../external/to-external.js'
import type { Database, SqlTransaction } from './database.js'

type AnyRecord = StreamRecord<unknown, unknown>

/** Writes records in the open transaction; with `repeatable`, writing the same again changes nothing. */
export interface DatabaseWrite<Tx extends SqlTransaction, R> {
  (tx: Tx, records: readonly R[]): unknown
  readonly repeatable?: boolean
}

export interface ToDatabaseOptions {
  /** Names the positions of this sink in the table; must stay the same. Default 'database'; needed where a pipeline has two. */
  readonly name?: string
  /** Most records of one call of `write`. More is fewer, larger statements. Default 1,000. */
  readonly batch?: number
  /**
   * Whether writing a record again changes nothing. Records without a position (the results of windows, aggregates and joins of streams,
   * what waited in `delayUntil`) are taken only then, and are written again after a failure. Default: what `write` says, as `upsert` does;
   * else false.
   */
  readonly repeatable?: boolean
  /** After this long without an answer a call is given up and made again over another connection. Default '30s'; more for slow statements. */
  readonly within?: Duration
  /** What to do where the database has less than the log has committed: it came from a backup, say. Default 'stop'. */
  readonly onBehind?: 'stop' | 'continue'
}

const databaseSchema = objectWith<Database>(['take', 'read', 'begin', 'blame'], 'a database such as postgres(pool)')
const writeSchema = functionOption<ExternalWrite<SqlTransaction, unknown>>('a function of the transaction and the records')

/**
 * Writes the records of a slice with your SQL, in one database transaction with the position of each partition of the source, and passes
 * them on: each is written once, whatever fails.
 *
 * The database commits first, then the log. If the log's transaction fails, or the process dies in between, the records come again, and
 * what the positions say is written is not written again. A member that was replaced cannot commit: its positions were taken by the next.
 * docs/databases.md tells what is atomic with what, and what that asks of the steps before this one.
 *
 * `write` is called with up to `batch` records of one task at a time, in order, and again with the same ones where the database gave the
 * transaction up (a deadlock, a lost connection). What it throws fails the slice: the record to blame is searched for and follows `onError`
 * of withTransaction. While the database is away nothing is taken in, and a stop or a rebalance does not wait for it. It must use the
 * transaction that it is given, and no other.
 *
 * Order: kept, by task. Offsets: commit after the database has. State: a row a sink and partition in `millrace_positions`. Memory: the
 * records of the transaction. It does not take FailedRecords. In `Commit.meters`, `<name>.repeated` counts records that were written before.
 *
 * @throws MillraceError INVALID_OPTIONS; OUTSIDE_SLICE; PLAN_FAILED for two sinks of one name; as error of the slice NO_POSITION,
 * SINK_REFUSED (a statement that no record would pass), SINK_MISMATCH (positions of another log, or of a database that has lost some)
 * @example
 * orders.pipe(toDatabase(db, (tx, records) => tx.query('INSERT INTO lines SELECT * FROM json_populate_recordset(NULL::lines, $1)', [JSON.stringify(records.map((r) => r.value))])))
 */
export function toDatabase<Tx extends SqlTransaction, R extends RecordOrFailure = AnyRecord>(
  db: Database<Tx>,
  write: Handled<R> & DatabaseWrite<Tx, NoInfer<Good<R>>>,
  options?: ToDatabaseOptions,
): OperatorFunction<R, Good<R>>
export function toDatabase<Tx extends SqlTransaction, R extends AnyRecord>(
  db: Database<Tx>,
  write: DatabaseWrite<Tx, R>,
  options: ToDatabaseOptions = {},
): OperatorFunction<R, R> {
  const settings = parseOptions(externalSchema, options, 'toDatabase')
  parseOptions(z.tuple([databaseSchema, writeSchema]), [db, write], 'toDatabase')
  return toExternal('toDatabase', db, write, {
    ...settings,
    name: settings.name ?? 'database',
    repeatable: settings.repeatable ?? write.repeatable ?? false,
  })
}

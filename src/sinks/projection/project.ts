import type { OperatorFunction } from 'rxjs'
import { z } from 'zod'
import { systemClock } from '../../record/clock.js'
import { MillraceError } from '../../record/error.js'
import type { StreamRecord } from '../../record/record.js'
import type { Good, Handled, RecordOrFailure } from '../../record/types.js'
import { functionOption, parseOptions } from '../../runtime/options.js'
import type { SqlTransaction } from '../database/database.js'
import type { DatabaseWrite, ToDatabaseOptions } from '../database/to-database.js'
import { externalSchema, toExternal } from '../external/to-external.js'
import { ReadModel, type ModelTables } from './read-model.js'
import { VersionKeeper } from './version-keeper.js'

type AnyRecord = StreamRecord<unknown, unknown>

/** As those of `toDatabase`, but for the name, which is the model's. */
export type ProjectOptions = Omit<ToDatabaseOptions, 'name'>

const projectSchema = externalSchema.omit({ name: true })
const writeSchema = functionOption<(tables: ModelTables<string>) => unknown>('a function of the tables that gives how to write to them')

/**
 * Writes records to the tables of a read model, each once, and makes its version the live one when it has caught up.
 *
 * `write` is given the tables of this version and says how they are written, as `toDatabase` wants it: `upsert`, `append`, or a function of
 * the transaction and the records. The tables are made where they are missing. The pipeline has the group of the version, `model.group`,
 * and reads from the start; every process of it looks after the versions, and one of them makes the switch.
 *
 * Order, offsets, memory, failures: as of `toDatabase`. State: a row a partition in `millrace_positions`, a row a version in
 * `millrace_projections`. A version that is not live yet, or was replaced, goes on writing its own tables; one that was removed ends with
 * SINK_REFUSED.
 *
 * @throws MillraceError INVALID_OPTIONS; PLAN_FAILED in a pipeline of another group; what `toDatabase` throws
 * @example
 * cluster.source({ group: orders.group, topics: ['orders'] }).pipe(
 *   withTransaction((records) =>
 *     records.pipe(decode(Order), dropFailed(), project(orders, (t) => upsert({ table: t.orders, key: { id: (o) => o.value.id }, columns: { total: (o) => o.value.total } }))),
 *   ),
 * )
 */
export function project<T extends string, Tx extends SqlTransaction, R extends RecordOrFailure = AnyRecord>(
  model: ReadModel<T, Tx>,
  write: Handled<R> & ((tables: ModelTables<T>) => DatabaseWrite<Tx, NoInfer<Good<R>>>),
  options?: ProjectOptions,
): OperatorFunction<R, Good<R>>
export function project<T extends string, Tx extends SqlTransaction, R extends AnyRecord>(
  model: ReadModel<T, Tx>,
  write: (tables: ModelTables<T>) => DatabaseWrite<Tx, R>,
  options: ProjectOptions = {},
): OperatorFunction<R, R> {
  if (!(model instanceof ReadModel))
    throw new MillraceError('INVALID_OPTIONS', 'project: its first argument is a read model: readModel(db, { ... })')
  parseOptions(z.tuple([writeSchema]), [write], 'project')
  const settings = parseOptions(projectSchema, options, 'project')
  const { name, group, version, db, tables, versions } = model
  const inner = write(tables)
  const written = async (tx: Tx, records: readonly R[]): Promise<void> => {
    await versions.ensure(tx, systemClock.now())
    await inner(tx, records)
  }
  const repeatable = settings.repeatable ?? inner.repeatable ?? false
  return toExternal('project', db, written, { ...settings, name, repeatable }, (slice, what) => {
    if (slice.group !== group)
      throw new MillraceError(
        'PLAN_FAILED',
        `${what}: version ${version} is written by the group '${group}', and this pipeline is '${slice.group}': cluster.source({ group: model.group, ... })`,
      )
    slice.effects(what, versions, name, (environment) => new VersionKeeper(model as unknown as ReadModel, environment))
  })
}

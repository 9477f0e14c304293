import type { OperatorFunction } from 'rxjs'
import { z } from 'zod'
import { MillraceError, errorMessage } from '../../record/error.js'
import type { NotSpread, StreamRecord } from '../../record/record.js'
import type { DeepReadonly, Good, Handled, RecordOrFailure, KeyOf } from '../../record/types.js'
import { isLater } from '../../record/serde.js'
import { isNobodys } from '../../runtime/blame.js'
import { activeSlice } from '../../runtime/context.js'
import { grouping, groupingFields, saysPartitioned, type ByFunction, type ByRecordKey } from '../../runtime/grouping.js'
import { InOrder } from '../../runtime/in-order.js'
import { operate } from '../../runtime/operate.js'
import { functionOption, parseOptions } from '../../runtime/options.js'
import { LookupTable } from '../../sources/table.js'

type AnyRecord = StreamRecord<unknown, unknown>

interface Inner<R, T, V> {
  /** 'inner' (default): records without a value in the table are dropped. 'left': they are joined with undefined. */
  readonly kind?: 'inner'
  /** Makes the new value of the record. */
  readonly join: (record: NoInfer<R>, row: DeepReadonly<T>) => V & NotSpread<V>
}

interface Left<R, T, V> {
  readonly kind: 'left'
  readonly join: (record: NoInfer<R>, row: DeepReadonly<T> | undefined) => V & NotSpread<V>
}

/** What to look up: of a table that is partitioned, as the records are; of one that is whole in every task, whatever it is. */
type LookUp<R, Whole extends boolean> = Whole extends true
  ? {
      /** What to look up. Default: the record's key. */
      readonly key?: (record: NoInfer<R>) => string
    }
  : ByRecordKey | ByFunction<R>

export type JoinTableOptions<R, T, V, Whole extends boolean = false> = (Inner<R, T, V> | Left<R, T, V>) & LookUp<R, Whole>

const fields = z.strictObject({
  kind: z.enum(['inner', 'left']).default('inner'),
  join: functionOption<(record: AnyRecord, row: unknown) => unknown>('a function of the record and the value of the table'),
  ...groupingFields,
})
const schema = fields.refine(
  ...saysPartitioned('looks up something else than the record key, whose row may be in another partition than the record'),
)

/**
 * Joins each record with the value that its key has in a table at that moment.
 *
 * It differs from the KStream-KTable join of Kafka Streams in one thing: there, a task takes the record with the smaller timestamp first,
 * from stream or table, as far as both are fetched. Here time does not count: the table is complete, up to its end, before the first
 * record, and from then on as new as can be. So a record of last year, read today, meets today's row, and a record read again after an
 * abort or a crash may meet a newer row than before. Rows that change do not set off anything.
 *
 * With a `databaseTable` it looks up any `key`, and waits until the table is loaded.
 *
 * Order: kept, also where the table's serde answers with a promise. The record keeps key, headers, timestamp and origin. State: none of its
 * own, the table is not part of the transaction. Memory: see `table` and `databaseTable`. A row that cannot be decoded fails the records that ask for it (DECODE_FAILED, follows `onError`), and no others.
 * FailedRecords are not accepted: handle them before.
 *
 * @throws MillraceError INVALID_OPTIONS; as error of the slice MISSING_KEY, NOT_REPARTITIONED, DECODE_FAILED; of the pipeline
 * PARTITION_MISMATCH
 * @example
 * const customers = table({ topic: 'customers', value: Customer })
 * orders.pipe(joinTable(customers, { kind: 'left', join: (order, customer) => ({ ...order.value, city: customer?.city }) }))
 */
export function joinTable<R extends RecordOrFailure = AnyRecord, T = unknown, V = unknown, Whole extends boolean = false>(
  table: LookupTable<T, Whole>,
  options: Handled<R> & JoinTableOptions<Good<R>, T, V, Whole>,
): OperatorFunction<R, StreamRecord<KeyOf<R>, V>>
export function joinTable<R extends AnyRecord, T, V>(
  table: LookupTable<T>,
  options: JoinTableOptions<R, T, V, true>,
): OperatorFunction<R, StreamRecord<KeyOf<R>, V>> {
  if (!(table instanceof LookupTable))
    throw new MillraceError(
      'INVALID_OPTIONS',
      'joinTable: its first argument is a table: table({ topic, value }), or databaseTable(db, { ... })',
    )
  const { kind, join, key } = parseOptions(table.whole ? fields : schema, options, 'joinTable')
  const what = `joinTable '${table.name}'`
  const keyOf = grouping<R>(what, key as ((record: R) => string) | undefined, table.whole)

  return operate<R, StreamRecord<KeyOf<R>, V>>(what, (target) => {
    const slice = activeSlice(what)
    const rows = table.open(slice, what)
    const lookUp = (record: R): unknown => {
      const keyText = keyOf(record)
      const unreadable = (error: unknown): never => {
        if (isNobodys(error)) throw error
        throw new MillraceError(
          'DECODE_FAILED',
          `${what}: the row of key '${Buffer.from(keyText, 'latin1').toString('utf8')}' in ${table.place}, which ${record.id} asks for, cannot be read: ${errorMessage(error)}`,
          {
            origin: record.origin,
            cause: error,
          },
        )
      }
      try {
        const row = rows.get(keyText)
        return isLater(row) ? row.then(undefined, unreadable) : row
      } catch (error) {
        return unreadable(error)
      }
    }
    const queue = new InOrder<R, unknown>({
      begin: lookUp,
      give(record, row) {
        if (row !== undefined || kind === 'left') target.next(record.with({ value: join(record, row) }) as StreamRecord<KeyOf<R>, V>)
      },
      complete: () => target.complete(),
      fail: (error) => target.error(error),
      slice,
      what,
    })
    target.add(() => queue.close())
    return { next: (record) => queue.add(record), complete: () => queue.end() }
  })
}

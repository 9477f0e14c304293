import type { OperatorFunction } from 'rxjs'
import { z } from 'zod'
import { record as newRecord, type LogRecord, type StreamRecord } from '../record/record.js'
import type { Good, Handled, RecordOrFailure } from '../record/types.js'
import { Mark, mark } from '../runtime/accounting.js'
import { activeSlice } from '../runtime/context.js'
import { grouping, groupingFields, saysPartitioned, type ByFunction, type ByRecordKey } from '../runtime/grouping.js'
import { operate } from '../runtime/operate.js'
import { objectWith, parseOptions, storeName } from '../runtime/options.js'
import { checkedAggregator, resultOf, type Aggregator } from '../state/aggregator.js'
import { bytesOfKey } from '../state/key.js'
import { memoryStore } from '../state/memory-store.js'

type AnyRecord = StreamRecord<unknown, unknown>

interface AggregateBase {
  /** 'updates' (default) gives the latest value of each key that changed, once a commit; 'each' gives one for every record. */
  readonly emit?: 'updates' | 'each'
  /**
   * Names the state and its changelog, '<group>-<name>-changelog'; must stay the same. Default 'aggregate'; needed where a pipeline has
   * two.
   */
  readonly name?: string
}

export type AggregateOptions<R> = AggregateBase & (ByRecordKey | ByFunction<R>)

const schema = z
  .strictObject({
    emit: z.enum(['updates', 'each']).default('updates'),
    name: storeName.default('aggregate'),
    ...groupingFields,
  })
  .refine(...saysPartitioned('groups by something else than the record key, so records of one group may be in several partitions'))
const aggregatorSchema = objectWith<Aggregator<AnyRecord, unknown, unknown>>(['add', 'result'], 'an aggregator such as count()')

/**
 * Keeps one value for each key, made of all its records so far.
 *
 * Order: of a key, kept; with 'updates', keys in the order they first changed in the transaction. Results carry the key's bytes
 * and the event time of the newest record since the last commit. State: one entry a key, for ever; it commits with the offsets.
 * Memory: the states, plus about 130 bytes each. FailedRecords are not accepted: handle them before.
 *
 * @throws MillraceError INVALID_OPTIONS; LOSSY_SERDE where the state is not what it was when it is read again; as error of the slice
 * MISSING_KEY, NOT_REPARTITIONED
 * @example
 * orders.pipe(aggregate(count(), { name: 'orders-per-customer' }), toTopic({ topic: 'counts', value: json() }))
 */
export function aggregate<R extends RecordOrFailure = AnyRecord, A = unknown, Out = unknown>(
  aggregator: Handled<R> & Aggregator<NoInfer<Good<R>>, A, Out>,
  options?: AggregateOptions<Good<R>>,
): OperatorFunction<R, StreamRecord<Buffer, Out>>
export function aggregate<R extends AnyRecord, A, Out>(
  aggregator: Aggregator<R, A, Out>,
  options: AggregateOptions<R> = {},
): OperatorFunction<R, StreamRecord<Buffer, Out>> {
  parseOptions(z.tuple([aggregatorSchema]), [aggregator], 'aggregate')
  const { emit, name, key } = parseOptions(schema, options, 'aggregate')
  const what = `aggregate '${name}'`
  const checked = checkedAggregator(what, aggregator)
  const { serde, version, migrate } = checked
  const groupOf = grouping<R>(what, key as ((record: R) => string) | undefined)
  const spec = memoryStore<A>({ name, kind: `aggregate/${aggregator.name}`, version, serde, migrate, timed: false })

  return operate(what, (target) => {
    const slice = activeSlice(what)
    const store = slice.store(what, spec)
    const made = (keyText: string, state: A, timestamp: number): StreamRecord<Buffer, Out> =>
      newRecord({ key: bytesOfKey(keyText), value: resultOf(checked, state), timestamp })
    return {
      next(record) {
        const entry = store.edit(groupOf(record))
        entry.value = aggregator.add(entry.value, record)
        if (record.timestamp > entry.stamp) entry.stamp = record.timestamp
        mark(record as unknown as LogRecord<unknown, unknown>, Mark.processed)
        if (emit === 'updates') return slice.traces?.gather(what, entry.key, 0, record)
        const result = made(entry.key, entry.value, record.timestamp)
        slice.traces?.adopt(result, record)
        target.next(result)
      },
      complete() {
        if (emit === 'updates')
          for (const { key: keyText, value, stamp } of store.changedEntries) {
            if (value === undefined) continue
            const result = made(keyText, value, stamp)
            slice.traces?.combine(what, result, [{ operator: what, key: keyText, from: 0, to: 0, keepFrom: 1 }])
            target.next(result)
          }
        target.complete()
      },
    }
  })
}

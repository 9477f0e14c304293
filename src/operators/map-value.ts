import type { OperatorFunction } from 'rxjs'
import { FailedRecord, type SomeFailure } from '../record/failed-record.js'
import { LogRecord, type NotSpread, type StreamRecord } from '../record/record.js'
import type { Good, KeyOf, ValueOf } from '../record/types.js'
import { operate } from '../runtime/operate.js'

/**
 * Replaces the value of each record by what `fn` makes of it; key, headers, timestamp and origin stay.
 *
 * Order: kept. State, memory: none. FailedRecords pass untouched. What `fn` throws fails the slice: see `onError` of withTransaction.
 *
 * @example
 * records.pipe(decode(Order), mapValue((order) => ({ ...order, total: order.price * order.count })))
 */
export function mapValue<R extends StreamRecord<unknown, unknown> | FailedRecord, V2>(
  fn: (value: ValueOf<R>, record: Good<R>) => V2 & NotSpread<V2>,
): OperatorFunction<R, StreamRecord<KeyOf<R>, V2> | Extract<R, SomeFailure>> {
  return operate('mapValue', (target) => ({
    next(item) {
      if (item instanceof FailedRecord) target.next(item as Extract<R, SomeFailure>)
      else {
        const value = fn(item.value as ValueOf<R>, item as Good<R>)
        target.next((item instanceof LogRecord ? item.withValue(value) : item.with({ value })) as StreamRecord<KeyOf<R>, V2>)
      }
    },
  }))
}

// Compiled, never run: what must and must not type-check of windows and aggregates.
import { map, type Observable } from 'rxjs'
import {
  aggregate,
  aggregator,
  reduce,
  session,
  sliding,
  count,
  json,
  sum,
  toTopic,
  tumbling,
  window,
  type FailedRecord,
  type RecordStream,
  type StreamRecord,
  type WindowResult,
  type Windows,
} from '../../src/index.js'

declare const records: RecordStream
declare const orders: Observable<StreamRecord<Buffer, { readonly sku: string; readonly amount: number }>>
declare const mixed: Observable<StreamRecord<Buffer, { readonly sku: string; readonly amount: number }> | FailedRecord>

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
function expectType<Expected>() {
  return <Actual>(_actual: Actual, _same: Equal<Actual, Expected>): void => {}
}

// Functions of the record know its type.
const revenue = orders.pipe(window(tumbling('1m'), { aggregate: sum((order) => order.value.amount), grace: '10s' }))
expectType<Observable<StreamRecord<Buffer, WindowResult<number>>>>()(revenue, true)
revenue.pipe(toTopic({ topic: 'revenue', value: json() }))

// Late records have the type of the input.
orders.pipe(
  window(tumbling('1m'), {
    aggregate: count(),
    late: (late) =>
      late.pipe(
        map(({ record }) => record.with({ value: record.value.sku })),
        toTopic({ topic: 'late' }),
      ),
  }),
)
records.pipe(
  window(tumbling('1m'), {
    aggregate: count(),
    late: (late) =>
      late.pipe(
        map(({ record }) => record),
        toTopic({ topic: 'late' }),
      ),
  }),
)

// @ts-expect-error grouping by something else than the key needs repartition, or a word that it is partitioned by it
orders.pipe(window(tumbling('1m'), { aggregate: count(), key: (order) => order.value.sku }))
orders.pipe(window(tumbling('1m'), { aggregate: count(), key: (order) => order.value.sku, partitioned: true }))

// @ts-expect-error failures are handled before a window
mixed.pipe(window(tumbling('1m'), { aggregate: count() }))
// @ts-expect-error failures are handled before an aggregate
mixed.pipe(aggregate(count()))

// @ts-expect-error the aggregator takes other records
orders.pipe(aggregate(sum((order: StreamRecord<Buffer, { readonly other: number }>) => order.value.other)))

const own = aggregator({
  name: 'own',
  init: () => ({ n: 0 }),
  add: (state, order: StreamRecord<Buffer, { readonly amount: number }>) => ({ n: state.n + order.value.amount }),
  result: ({ n }) => String(n),
})
expectType<Observable<StreamRecord<Buffer, string>>>()(orders.pipe(aggregate(own)), true)

// @ts-expect-error a state has a name, which no other program takes for its own
aggregator({ init: () => 0, add: (state: number) => state })
aggregator({
  name: 'list',
  init: (): { items: string[] } => ({ items: [] }),
  add: (state) => state,
  // @ts-expect-error a result is made of the state without changing it
  result: ({ items }) => items.sort(),
})
// @ts-expect-error so has what reduce keeps
reduce((order: StreamRecord<Buffer, { readonly amount: number }>) => order.value.amount, Math.max)

// Sessions and sliding windows are put together of several states, tumbling ones are not.
const merged = aggregator({
  name: 'merged',
  init: () => 0,
  add: (state, order: StreamRecord<Buffer, { readonly amount: number }>) => state + order.value.amount,
  merge: (earlier, later) => earlier + later,
})
expectType<Observable<StreamRecord<Buffer, WindowResult<number>>>>()(orders.pipe(window(session('1m'), { aggregate: merged })), true)
orders.pipe(window(sliding('1m'), { aggregate: merged }))
orders.pipe(window(session('1m'), { aggregate: reduce((order) => order.value.amount, Math.max, { name: 'largest' }) }))
orders.pipe(window(tumbling('1m'), { aggregate: own }))
// @ts-expect-error no merge
orders.pipe(window(session('1m'), { aggregate: own }))
// @ts-expect-error no merge
orders.pipe(window(sliding('1m'), { aggregate: own }))
declare const windows: Windows
// @ts-expect-error they may be sessions
orders.pipe(window(windows, { aggregate: own }))
orders.pipe(window(windows, { aggregate: merged }))

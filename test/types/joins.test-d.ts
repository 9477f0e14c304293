// Compiled, never run: what must and must not type-check of repartition, tables, joins and stores.
import { map, type Observable } from 'rxjs'
import { z } from 'zod'
import {
  joinStream,
  json,
  joinTable,
  repartition,
  store,
  string,
  sum,
  table,
  timedStore,
  tumbling,
  window,
  withStore,
  type FailedRecord,
  type RecordStream,
  type StreamRecord,
  type Table,
} from '../../src/index.js'

interface Order {
  readonly sku: string
  readonly amount: number
}
declare const records: RecordStream
declare const orders: Observable<StreamRecord<Buffer, Order>>
declare const mixed: Observable<StreamRecord<Buffer, Order> | FailedRecord>

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
function expectType<Expected>() {
  return <Actual>(_actual: Actual, _same: Equal<Actual, Expected>): void => {}
}

// The key function knows the record; the value keeps its type through the serde.
const bySku = orders.pipe(repartition({ key: (order) => order.value.sku, value: json() }))
expectType<Observable<StreamRecord<Buffer, Order>>>()(bySku, true)
bySku.pipe(window(tumbling('1m'), { aggregate: sum((order) => order.value.amount), grace: '10s' }))

records.pipe(
  map((record) => record.with({ value: { sku: 'a', amount: 1 } as Order })),
  repartition({ key: ({ value }) => value.sku, value: json() }),
  map((record) => record.value.amount.toFixed()),
)

// Bytes need no serde.
expectType<Observable<StreamRecord<Buffer, Buffer | null>>>()(records.pipe(repartition({ key: (record) => String(record.value) })), true)

// @ts-expect-error an object needs a serde
orders.pipe(repartition({ key: (order) => order.value.sku }))
// @ts-expect-error the serde must take the value's type
orders.pipe(repartition({ key: (order) => order.value.sku, value: string() }))
// @ts-expect-error a key is text or bytes
orders.pipe(repartition({ key: (order) => order.value.amount, value: json() }))
// @ts-expect-error failures are handled before
mixed.pipe(repartition({ key: (order) => order.value.sku, value: json() }))

// A table has the type of its schema, or of its serde.
const customers = table({ topic: 'customers', value: z.object({ city: z.string(), tags: z.array(z.string()) }) })
expectType<Table<{ city: string; tags: string[] }>>()(customers, true)
expectType<Table<string>>()(table({ topic: 'names', value: string() }), true)
expectType<Table<Order>>()(table({ topic: 'orders', value: json<Order>() }), true)

// inner has a row, left may have none; what comes out has the record's key and the new value.
expectType<Observable<StreamRecord<Buffer, string>>>()(
  orders.pipe(joinTable(customers, { join: (order, { city }) => `${order.value.sku} ${city}` })),
  true,
)
expectType<Observable<StreamRecord<Buffer, string | undefined>>>()(
  orders.pipe(joinTable(customers, { kind: 'left', join: (_, row) => row?.city })),
  true,
)
// @ts-expect-error a row may be missing
orders.pipe(joinTable(customers, { kind: 'left', join: (_, row) => row.city }))
// @ts-expect-error rows are not changed in place
orders.pipe(joinTable(customers, { join: (_, row) => row.tags.push('x') }))
// @ts-expect-error another key needs repartition, or a word that the inputs are partitioned by it
orders.pipe(joinTable(customers, { key: (order) => order.value.sku, join: (_, row) => row.city }))
orders.pipe(joinTable(customers, { key: (order) => order.value.sku, partitioned: true, join: (_, row) => row.city }))
// @ts-expect-error failures are handled before
mixed.pipe(joinTable(customers, { join: (_, row) => row.city }))

// Functions know both sides; which may be missing follows the kind.
declare const payments: Observable<StreamRecord<Buffer, { readonly paid: number }>>
expectType<Observable<StreamRecord<Buffer, number>>>()(
  orders.pipe(joinStream(payments, { within: '5m', join: (order, payment) => order.value.amount - payment.value.paid })),
  true,
)
expectType<Observable<StreamRecord<Buffer, number | undefined>>>()(
  orders.pipe(
    joinStream(payments, { within: { before: 0, after: '5m' }, grace: '1s', kind: 'left', join: (_, payment) => payment?.value.paid }),
  ),
  true,
)
// @ts-expect-error a left join may have no right side
orders.pipe(joinStream(payments, { within: '5m', kind: 'left', join: (_, payment) => payment.value.paid }))
// @ts-expect-error an outer join may have no left side
orders.pipe(joinStream(payments, { within: '5m', kind: 'outer', join: (order) => order.value.amount }))
orders.pipe(joinStream(payments, { within: '5m', leftValue: json(), time: (record) => record.timestamp, join: (order) => order.value.sku }))
// @ts-expect-error the serde must take the values of its side
orders.pipe(joinStream(payments, { within: '5m', rightValue: string(), join: (order) => order.value.sku }))
orders.pipe(
  joinStream(payments, {
    within: '5m',
    join: (order) => order.value.sku,
    late: (late) => late.pipe(map((one) => (one.side === 'left' ? one.record.value.sku : one.record.value.paid))),
  }),
)
// @ts-expect-error failures are handled before
mixed.pipe(joinStream(payments, { within: '5m', join: (order) => order.value.sku }))
// @ts-expect-error on both sides
orders.pipe(joinStream(mixed, { within: '5m', join: (order) => order.value.sku }))

// A store has the type of its values; what comes out of it is not changed in place.
const carts = store<{ items: string[] }>({ name: 'carts' })
const prices = timedStore<number>({ name: 'prices' })
expectType<Observable<number>>()(
  orders.pipe(
    withStore(
      carts,
      (mine, order) => mine.update(order.key, (cart) => ({ items: [...(cart?.items ?? []), order.value.sku] }))?.items.length ?? 0,
    ),
  ),
  true,
)
// @ts-expect-error not in place
orders.pipe(withStore(carts, (mine) => mine.get('a')?.items.push('x')))
// @ts-expect-error another type
orders.pipe(withStore(carts, (mine) => mine.put('a', { items: 'x' })))
orders.pipe(withStore({ carts, prices }, (at, order) => at.prices.put(order.key, order.timestamp, at.carts.size)))
// @ts-expect-error a timed store wants a time
orders.pipe(withStore(prices, (mine) => mine.get('a')))
// @ts-expect-error a serde of other values
store<number>({ name: 'n', value: string() })
// @ts-expect-error failures are handled before
mixed.pipe(withStore(carts, (_, order) => order.value.sku))

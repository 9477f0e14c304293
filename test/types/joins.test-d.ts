// Compiled, never run: what must and must not type-check of repartition, tables, joins and stores.
import { map, type Observable } from 'rxjs'
import { json, repartition, string, sum, tumbling, window, type FailedRecord, type RecordStream, type StreamRecord } from '../../src/index.js'

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

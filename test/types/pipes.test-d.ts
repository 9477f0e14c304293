// Compiled, never run: pipes of up to 25 operators keep their types, and so do pieces with a name.
import { concatMap, filter, map, mergeMap, tap, type Observable, type OperatorFunction } from 'rxjs'
import { z } from 'zod'
import {
  attempt,
  compose,
  count,
  deadLetter,
  decode,
  dedupe,
  dropFailed,
  json,
  mapValue,
  recordKey,
  toTopic,
  tumbling,
  window,
  type FailedRecord,
  type RawRecord,
  type RecordStream,
  type StreamRecord,
} from '../../src/index.js'
import type { TypedRecordStream } from '../../src/testing/index.js'

declare const records: RecordStream
const Order = z.object({ id: z.string(), amount: z.number() })
type OrderRecord = StreamRecord<Buffer | null, { id: string; amount: number }>

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
function expectType<Expected>() {
  return <Actual>(_actual: Actual, _same: Equal<Actual, Expected>): void => {}
}

// As one writes them: well over nine, each function knows its record.
const whole = records.pipe(
  filter((record) => record.value !== null),
  tap((record) => console.log(record.origin.offset)),
  decode(Order),
  dedupe({ by: (order) => order.value.id, within: '1d', partitioned: true }),
  attempt(async (order) => ({ ...order.value, receipt: String(order.key) })),
  deadLetter({ topic: 'dead' }),
  filter((order) => order.value.amount > 0),
  mapValue((value) => ({ ...value, cents: value.amount * 100 })),
  map((order) => order.with({ key: order.value.id })),
  concatMap((order) => [order, order.with({ value: { ...order.value, cents: 0 } })]),
  tap((order) => order.value.receipt.toUpperCase()),
  toTopic({ topic: 'orders', value: json(), headers: (order) => ({ id: order.value.id }) }),
  mergeMap((order) => [order]),
  window(tumbling('1m'), { aggregate: count() }),
  mapValue(({ result }) => result.toFixed()),
  toTopic({ topic: 'counts' }),
)
expectType<Observable<StreamRecord<Buffer, string>>>()(whole, true)

const n = (value: number) => value + 1
// prettier-ignore
const last = records.pipe(
  map((record) => record.origin.offset), map(n), map(n), map(n), map(n), map(n), map(n), map(n), map(n), map(n), map(n), map(n), map(n),
  map(n), map(n), map(n), map(n), map(n), map(n), map(n), map(n), map(n), map(n), map(n), map((value) => [value]),
)
expectType<Observable<number[]>>()(last, true)
// prettier-ignore
const beyond = records.pipe(
  map((record) => record.origin.offset), map(n), map(n), map(n), map(n), map(n), map(n), map(n), map(n), map(n), map(n), map(n), map(n),
  map(n), map(n), map(n), map(n), map(n), map(n), map(n), map(n), map(n), map(n), map(n), map(n), map(n),
)
expectType<Observable<unknown>>()(beyond, true)

// prettier-ignore
records.pipe(
  map((record) => record.origin.offset), map(n), map(n), map(n), map(n), map(n), map(n), map(n), map(n), map(n), map(n),
  // @ts-expect-error a mistake is found behind the ninth as well
  map(n), map((text: string) => text),
)

// The type of a stream is inferred from it, as from any observable.
expectType<RawRecord>()(null as unknown as RecordStream extends Observable<infer T> ? T : never, true)
declare function identity<T>(stream: Observable<T>): Observable<T>
expectType<Observable<RawRecord>>()(identity(records), true)

// Streams of side outputs, and those of a test, are as wide.
declare const typed: TypedRecordStream<string, number>
// prettier-ignore
expectType<Observable<number>>()(typed.pipe(map((r) => r.value), map(n), map(n), map(n), map(n), map(n), map(n), map(n), map(n), map(n), map(n)), true)
// prettier-ignore
records.pipe(dedupe({ by: recordKey(), within: '1d', onDuplicate: (all) => all.pipe(
  map(({ record }) => record.origin.offset), map(n), map(n), map(n), map(n), map(n), map(n), map(n), map(n), map((value) => value.toFixed()),
) }))

// A piece has the types of its ends; what it begins with says what it takes.
const orders = compose('orders', decode(Order), dropFailed())
expectType<OperatorFunction<RawRecord | FailedRecord, OrderRecord>>()(orders, true)
expectType<Observable<OrderRecord>>()(records.pipe(orders), true)
const charged = compose(
  'charged',
  attempt(async (order: OrderRecord) => order.value.amount),
  deadLetter({ topic: 'dead' }),
)
expectType<Observable<StreamRecord<Buffer | null, number>>>()(records.pipe(orders, charged), true)
expectType<Observable<StreamRecord<Buffer | null, number>>>()(records.pipe(decode(Order), charged), true)
// In place, it knows the stream before it.
records.pipe(
  orders,
  compose(
    'large',
    filter((order) => order.value.amount > 10),
    mapValue((value) => value.id),
    toTopic({ topic: 'large' }),
  ),
  map((record) => record.value.length),
)
// prettier-ignore
const longPiece = compose('long', map(n), map(n), map(n), map(n), map(n), map(n), map(n), map(n), map(n), map(n), map(n), map(n),
  map(n), map(n), map(n), map(n), map(n), map(n), map(n), map(n), map(n), map(n), map(n), map(n), map((value) => [value]))
expectType<OperatorFunction<number, number[]>>()(longPiece, true)
// @ts-expect-error a piece has a name
compose(decode(Order), dropFailed())
// @ts-expect-error its operators follow one another
compose('wrong', decode(Order), charged, decode(Order))

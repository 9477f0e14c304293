// Compiled, never run: operators and sinks of users for records of any type.
import { map, type MonoTypeOperatorFunction, type Observable, type OperatorFunction } from 'rxjs'
import {
  aggregate,
  attempt,
  bytes,
  compose,
  count,
  deadLetter,
  dedupe,
  delayUntil,
  joinStream,
  joinTable,
  json,
  mapValue,
  repartition,
  route,
  schedule,
  store,
  sum,
  table,
  toTopic,
  tumbling,
  window,
  withStore,
  type RecordStream,
  type StreamRecord,
} from '../../src/index.js'

type AnyRecord = StreamRecord<unknown, unknown>
type Event = StreamRecord<Buffer | null, { readonly id: string }>
declare const records: RecordStream
declare const events: Observable<StreamRecord<Buffer | null, { readonly id: string; readonly n: number }>>

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
function expectType<Expected>() {
  return <Actual>(_actual: Actual, _same: Equal<Actual, Expected>): void => {}
}

// A sink for records of any kind says how both parts become bytes.
function audited<R extends AnyRecord>(topic: string): MonoTypeOperatorFunction<R> {
  return toTopic({ topic, key: json(), value: json(), headers: (record) => ({ from: record.id }) })
}
function stored<V>(topic: string): MonoTypeOperatorFunction<StreamRecord<Buffer | null, V>> {
  return toTopic({ topic, value: json() })
}
function logged<R extends Event>(topic: string): MonoTypeOperatorFunction<R> {
  return toTopic({ topic: (event) => `${topic}-${event.value.id}`, topics: [`${topic}-a`], key: bytes(), value: json() })
}
function byRegion<R extends AnyRecord>(region: (record: R) => string): MonoTypeOperatorFunction<R> {
  return route({ to: (record) => region(record), topics: ['eu', 'us'], fallback: 'other', key: json(), value: json() })
}
// @ts-expect-error of which nothing is known, neither part has a serde by itself
void (<R extends AnyRecord>(topic: string): MonoTypeOperatorFunction<R> => toTopic({ topic }))

// They go where they fit, and what goes through keeps its type.
expectType<typeof events>()(
  events.pipe(
    audited('a'),
    stored('b'),
    logged('c'),
    byRegion((event) => event.value.id),
  ),
  true,
)
expectType<Observable<StreamRecord<Buffer | null, Buffer | null>>>()(records.pipe(audited('a')), true)
// @ts-expect-error a raw record is no event
records.pipe(logged('c'))

// Steps that work on what the record type promises.
const ids = <R extends Event>(): OperatorFunction<R, StreamRecord<Buffer | null, string>> =>
  map((event) => event.with<Buffer | null, string>({ value: event.value.id }))
const tagged = <R extends Event>() =>
  compose(
    'tagged',
    mapValue((value: R['value']) => ({ ...value, tag: value.id })),
  )
expectType<Observable<StreamRecord<Buffer | null, string>>>()(events.pipe(ids()), true)
void tagged

export const steps = {
  once: <R extends Event>(given: Observable<R>) => given.pipe(dedupe({ by: (event) => event.value.id, within: '1d', partitioned: true })),
  marked: <R extends Event>(given: Observable<R>) =>
    given.pipe(
      mapValue((value) => ({ ...value, length: value.id.length })),
      toTopic({ topic: 'x', key: bytes(), value: json() }),
    ),
  charged: <R extends Event>(given: Observable<R>) =>
    given.pipe(
      attempt(async (event) => event.value.id.length),
      deadLetter({ topic: 'dead' }),
      toTopic({ topic: 'x', key: bytes(), value: json() }),
    ),
  rekeyed: <R extends Event>(given: Observable<R>) => given.pipe(repartition({ key: (event) => event.value.id, value: json() })),
  counted: <R extends AnyRecord>(given: Observable<R>) => given.pipe(aggregate(count())),
  windowed: <R extends Event>(given: Observable<R>) =>
    given.pipe(window(tumbling('1m'), { aggregate: sum((event) => event.value.id.length) })),
  enriched: <R extends Event>(given: Observable<R>) =>
    given.pipe(joinTable(table({ topic: 't', value: json<string>() }), { join: (event, row) => row + event.value.id })),
  paired: <R extends Event>(left: Observable<R>, right: Observable<R>) =>
    left.pipe(joinStream(right, { within: '1m', join: (a, b) => a.value.id + b.value.id })),
  kept: <R extends Event>(given: Observable<R>) =>
    given.pipe(withStore(store<number>({ name: 'n' }), (mine, event) => mine.put(event.value.id, 1))),
  later: <R extends Event>(given: Observable<R>) => given.pipe(delayUntil((event) => event.timestamp + 1, { key: bytes(), value: json() })),
  planned: <R extends Event>(given: Observable<R>) =>
    given.pipe(schedule({ at: (event) => event.timestamp + 1, key: bytes(), value: json() })),
}

// Compiled, never run: what must and must not type-check.
import { filter, map, type Observable } from 'rxjs'
import { z } from 'zod'
import {
  decode,
  dropFailed,
  isFailed,
  json,
  mapValue,
  string,
  toTopic,
  withTransaction,
  type FailedRecord,
  type MillraceError,
  type RawRecord,
  type RecordStream,
  type StreamRecord,
} from '../../src/index.js'

declare const records: RecordStream
const Order = z.object({ id: z.string(), amount: z.number() })
type NotAnOrder = FailedRecord<MillraceError, RawRecord>

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
function expectType<Expected>() {
  return <Actual>(_actual: Actual, _same: Equal<Actual, Expected>): void => {}
}

// Raw records need no serde.
records.pipe(toTopic({ topic: 'out' }))

// decode gives the type of the schema, or a failure.
const decoded = records.pipe(decode(Order))
expectType<Observable<StreamRecord<Buffer | null, { id: string; amount: number }> | NotAnOrder>>()(decoded, true)

// dropFailed takes the failures out of the type.
const orders = decoded.pipe(dropFailed())
expectType<Observable<StreamRecord<Buffer | null, { id: string; amount: number }>>>()(orders, true)

// @ts-expect-error a stream that may hold failures is not written
decoded.pipe(toTopic({ topic: 'out', value: json() }))

// @ts-expect-error an object needs a serde
orders.pipe(toTopic({ topic: 'out' }))

orders.pipe(toTopic({ topic: 'out', value: json() }))

// @ts-expect-error the serde must take the value's type
orders.pipe(toTopic({ topic: 'out', value: string() }))

// Functions of the record know its type, and what comes out is what went in.
const routed = orders.pipe(
  toTopic({
    topic: (order) => (order.value.amount > 10 ? 'large' : 'small'),
    topics: ['large', 'small'],
    value: json(),
    headers: (order) => ({ id: order.value.id }),
  }),
)
expectType<typeof orders>()(routed, true)

// mapValue keeps the key's type and lets failures through.
expectType<Observable<StreamRecord<Buffer | null, number> | NotAnOrder>>()(decoded.pipe(mapValue((order) => order.amount)), true)
expectType<Observable<StreamRecord<Buffer | null, number>>>()(orders.pipe(mapValue((order) => order.amount)), true)

// A derived key of another type needs a serde too.
records.pipe(
  map((record) => record.with({ key: 5 })),
  // @ts-expect-error a number is no key without one
  toTopic({ topic: 'out' }),
)
records.pipe(
  map((record) => record.with({ key: 5 })),
  toTopic({ topic: 'out', key: json() }),
)

// Type guards narrow.
decoded.pipe(
  filter(isFailed),
  map((failed) => failed.raw.value),
)

// @ts-expect-error unknown option
withTransaction((stream) => stream, { evry: '1s' })

// @ts-expect-error not a duration
withTransaction((stream) => stream, { every: '1 second' })

// Compiled, never run: what must and must not type-check where records may fail.
import { ConsecutiveBreaker, circuitBreaker as cockatielBreaker, handleAll } from 'cockatiel'
import { filter, map, type Observable } from 'rxjs'
import { z } from 'zod'
import {
  attempt,
  circuitBreaker,
  deadLetter,
  decode,
  delayUntil,
  dropFailed,
  isFailed,
  joinTable,
  mapValue,
  table,
  json,
  retryTopic,
  route,
  schedule,
  toTopic,
  type FailedRecord,
  type MillraceError,
  type RawRecord,
  type RecordStream,
  type StreamRecord,
} from '../../src/index.js'

type OrderRecord = StreamRecord<Buffer | null, { id: string; amount: number }>
declare const orders: Observable<OrderRecord>
declare const decoded: Observable<OrderRecord | FailedRecord>
type FailedOrder = FailedRecord<unknown, OrderRecord>

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
function expectType<Expected>() {
  return <Actual>(_actual: Actual, _same: Equal<Actual, Expected>): void => {}
}

// A record that is spread has neither key nor value: what comes of it goes nowhere.
const spreadOnes = orders.pipe(
  attempt(async (order) => ({ ...order, vat: 1 })),
  dropFailed(),
)
// @ts-expect-error
spreadOnes.pipe(mapValue((value) => value))
// @ts-expect-error
orders.pipe(mapValue((_, order) => ({ ...order, vat: 1 })))
orders.pipe(
  // @ts-expect-error
  joinTable(table({ topic: 'customers', value: json<{ city: string }>() }), { join: (order, customer) => ({ ...order, customer }) }),
)
expectType<Observable<OrderRecord | FailedOrder>>()(orders.pipe(attempt((order) => order)), true)
expectType<Observable<StreamRecord<Buffer | null, { id: string; amount: number; vat: number }>>>()(
  orders.pipe(mapValue((value) => ({ ...value, vat: 1 }))),
  true,
)

// attempt: what the function returns is the new value; a record is itself, nothing leaves it as it was; any of it may have failed.
const charged = orders.pipe(attempt((order) => Promise.resolve({ receipt: order.value.id })))
expectType<Observable<StreamRecord<Buffer | null, { receipt: string }> | FailedOrder>>()(charged, true)
expectType<Observable<OrderRecord | FailedOrder>>()(
  orders.pipe(attempt(async (order, { signal }) => void (await fetch(order.value.id, { signal })))),
  true,
)
expectType<Observable<StreamRecord<number, { id: string; amount: number }> | FailedOrder>>()(
  orders.pipe(attempt(async (order) => order.with({ key: order.value.amount }))),
  true,
)
expectType<Observable<OrderRecord | StreamRecord<Buffer | null, string> | FailedOrder>>()(
  orders.pipe(attempt((order): string | undefined => order.headers['x']?.toString())),
  true,
)

// It takes failures from before, with a function that knows nothing of them.
const charge = (order: OrderRecord): Promise<number> => Promise.resolve(order.value.amount)
expectType<Observable<StreamRecord<Buffer | null, number> | FailedOrder | FailedRecord>>()(decoded.pipe(attempt(charge)), true)
expectType<Observable<StreamRecord<Buffer | null, number> | FailedOrder | FailedRecord>>()(
  decoded.pipe(attempt((order) => order.value.amount)),
  true,
)

// @ts-expect-error a pipeline that forgets what attempt failed on is not written
charged.pipe(toTopic({ topic: 'out', value: json() }))

// @ts-expect-error neither is it routed
charged.pipe(route({ to: () => 'a', topics: ['a'], fallback: 'other', value: json() }))

// deadLetter takes the failures, and them alone.
expectType<Observable<StreamRecord<Buffer | null, { receipt: string }>>>()(charged.pipe(deadLetter({ topic: 'dead' })), true)
expectType<typeof orders>()(decoded.pipe(deadLetter({ topic: 'dead', headers: 'spring' })), true)
charged.pipe(deadLetter({ topic: 'dead', headers: (failed) => ({ why: String(failed.error) }) }), toTopic({ topic: 'out', value: json() }))
decoded.pipe(attempt(charge), deadLetter({ topic: 'dead' }), toTopic({ topic: 'out', value: json() }))

// @ts-expect-error no such preset
deadLetter({ topic: 'dead', headers: 'sprng' })

// A breaker is millrace's or cockatiel's.
attempt(charge, { breaker: circuitBreaker({ failures: 3, resetAfter: '5s' }) })
attempt(charge, { breaker: cockatielBreaker(handleAll, { halfOpenAfter: 1_000, breaker: new ConsecutiveBreaker(3) }) })

// @ts-expect-error something else is none
attempt(charge, { breaker: { open: false } })

// route knows the record's type, and needs a fallback and serdes as toTopic does.
expectType<typeof orders>()(
  orders.pipe(
    route({ to: (order) => (order.value.amount > 10 ? 'large' : undefined), topics: ['large'], fallback: 'other', value: json() }),
  ),
  true,
)

// @ts-expect-error no fallback
orders.pipe(route({ to: () => 'a', topics: ['a'], value: json() }))

// @ts-expect-error an object needs a serde
orders.pipe(route({ to: () => 'a', topics: ['a'], fallback: 'other' }))

// retryTopic gives failures back after the last delay: they are still to be dealt with.
expectType<typeof decoded>()(decoded.pipe(retryTopic({ delays: ['1s', 5_000] })), true)
decoded.pipe(
  retryTopic({ delays: ['1s'], only: [TypeError, 'ECONNRESET', (error) => error instanceof RangeError] }),
  deadLetter({ topic: 'dead' }),
  toTopic({ topic: 'out', value: json() }),
)

// @ts-expect-error what failed for the last time is not written
decoded.pipe(retryTopic({ delays: ['1s'] }), toTopic({ topic: 'out', value: json() }))

// @ts-expect-error no duration
retryTopic({ delays: ['1 second'] })

// @ts-expect-error no order of that kind
retryTopic({ delays: ['1s'], ordered: 'partition' })

// What is kept needs to know how, unless it is bytes.
declare const raw: Observable<StreamRecord<Buffer | null, Buffer | null>>
expectType<typeof raw>()(raw.pipe(delayUntil((record) => record.timestamp + 1_000)), true)
expectType<typeof orders>()(orders.pipe(delayUntil((order) => new Date(order.value.amount), { value: json() })), true)
expectType<typeof decoded>()(
  decoded.pipe(schedule({ at: (order) => order.value.amount, cancel: (order) => order.value.id === '', value: json() })),
  true,
)
orders.pipe(schedule({ at: () => 5, id: (order) => order.value.id, partitioned: true, value: json() }))

// @ts-expect-error an object needs a serde
orders.pipe(delayUntil(() => 5))

// @ts-expect-error neither does schedule keep one without
orders.pipe(schedule({ at: () => 5 }))

// @ts-expect-error ids of a function are only where the user says so
orders.pipe(schedule({ at: () => 5, id: (order) => order.value.id, value: json() }))

// A failure is typed by what failed, and by what it failed with where that is known.
declare const records: RecordStream
const Order = z.object({ id: z.string(), amount: z.number() })
type NotAnOrder = FailedRecord<MillraceError, RawRecord>
type NotCharged = FailedRecord<unknown, OrderRecord>
const twoSteps = records.pipe(decode(Order), attempt(charge))
expectType<Observable<StreamRecord<Buffer | null, number> | NotAnOrder | NotCharged>>()(twoSteps, true)
twoSteps.pipe(dropFailed({ tap: (failed) => expectType<NotAnOrder | NotCharged>()(failed, true) }))
twoSteps.pipe(
  retryTopic({ delays: ['1s'] }),
  deadLetter({ topic: 'dead', headers: (failed) => ({ id: failed.record.id, why: String(failed.error) }) }),
  mapValue((receipt) => receipt.toFixed()),
)
records.pipe(
  decode(Order),
  dropFailed({ tap: (failed) => console.warn(failed.error.code, failed.record.value?.length) }),
  attempt(charge),
  filter(isFailed),
  map((failed) => failed.record.value.amount),
)
// One that is not known may be any.
dropFailed({ tap: (failed) => console.warn(failed.record.id, failed.error) })
const anyFailed: FailedRecord = null as unknown as NotAnOrder
isFailed(anyFailed)
// @ts-expect-error what a step threw is not known
twoSteps.pipe(dropFailed({ tap: (failed) => console.warn(failed.error.code) }))

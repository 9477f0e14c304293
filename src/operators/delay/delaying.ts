import { randomUUID } from 'node:crypto'
import type { OperatorFunction } from 'rxjs'
import { FailedRecord } from '../../record/failed-record.js'
import { MillraceError } from '../../record/error.js'
import type { Encoded } from '../../log/batch/write.js'
import type { LogRecord, StreamRecord } from '../../record/record.js'
import { bytes, withNext, type AnySerde, type AnySerdeFor } from '../../record/serde.js'
import type { Good, KeyOf, ValueOf } from '../../record/types.js'
import { delayStore, waitingValue } from './delay-store.js'
import { bytesOfKey, keyOfText, type KeyText } from '../../state/key.js'
import { readBack } from '../../state/read-back.js'
import { Mark, mark } from '../../runtime/accounting.js'
import { activeSlice } from '../../runtime/context.js'
import { changedPart, delayedBytes, delayedOrigin, delayedRecord, type DelaySerdes } from './delayed.js'
import { asWritable, atOnce } from '../../runtime/encode.js'
import { InOrder } from '../../runtime/in-order.js'
import { operate } from '../../runtime/operate.js'
import { objectWith } from '../../runtime/options.js'

type AnyRecord = StreamRecord<unknown, unknown>
type AnyLogRecord = LogRecord<unknown, unknown>

interface SerdeOptions<T, Name extends string> {
  readonly required: { readonly [name in Name]: AnySerdeFor<NoInfer<T>> }
  readonly optional: { readonly [name in Name]?: AnySerdeFor<NoInfer<T>> }
}

/** Required unless the type is bytes. */
type KeptOption<T, Name extends string> = [T] extends [Uint8Array | null]
  ? SerdeOptions<T, Name>['optional']
  : SerdeOptions<T, Name>['required']

/** How key and value are kept: needed unless they are bytes. */
export type KeptAs<R> = KeptOption<KeyOf<R>, 'key'> & KeptOption<ValueOf<R>, 'value'>

const serde = objectWith<AnySerdeFor<unknown>>(['encode', 'decode'], 'a serde such as json()').optional()
export const keptAs = { key: serde, value: serde }

/** Passed on in one go; then the transaction has its turn. */
const AT_ONCE = 10_000

export interface DelayRules<R> {
  /** When a record is to pass; undefined if it only takes back what waits under its id. */
  at(record: R): unknown
  /** Under which of them only the last one waits; without, each waits for itself. */
  readonly id?: ((record: R) => KeyText) | undefined
}

/** What keeps records until their time, for `delayUntil` and `schedule`. */
export function delaying<R>(
  name: string,
  what: string,
  given: { readonly key?: AnySerdeFor<unknown> | undefined; readonly value?: AnySerdeFor<unknown> | undefined },
  rules: DelayRules<Good<R>>,
): OperatorFunction<R, R> {
  const plain = bytes() as AnySerdeFor<unknown>
  const checked = (part: 'key' | 'value'): AnySerdeFor<unknown> =>
    readBack(
      (given[part] ?? plain) as AnySerde<unknown>,
      `${what}: the ${part} of a record that waits`,
      `give it a serde that holds it (${part}: ...)`,
    )
  const serdes: DelaySerdes = { key: checked('key'), value: checked('value') }
  const spec = delayStore(name)
  const isAsync = serdes.key.async === true || serdes.value.async === true

  return operate<R, R>(what, (target) => {
    const slice = activeSlice(what)
    const store = slice.store(what, spec)
    const count = (kind: string, by = 1): void => void (slice.meter(`${name}.${kind}`).count += by)
    const alarm = slice.alarm(what, () => {
      const now = slice.clock.now()
      const latest = slice.meter(`${name}.maxLateMs`)
      for (let n = 0; n < AT_ONCE; n++) {
        const due = store.take(now)
        if (due === undefined) break
        const { at, bytes } = due
        count('passed')
        count('lateMs', now - at)
        latest.count = Math.max(latest.count, now - at)
        if (queue === undefined) pass(atOnce(delayedRecord(bytesOfKey(bytes), serdes), what))
        else queue.add({ bytes })
      }
      setAlarm()
    })
    const setAlarm = (): void => {
      const at = store.nextAt
      alarm.set(at === Number.POSITIVE_INFINITY ? undefined : at)
    }
    // How many copies of a record were put: the next one need not look for a free number from the first on.
    const copies = new Map<string, number>()
    /** Several records of one origin, which user code made of one, wait side by side. */
    const freeId = (id: string, made: boolean): KeyText => {
      if (made) return keyOfText(randomUUID())
      const first = keyOfText(id)
      if (store.get(first) === undefined) return first
      for (let n = (copies.get(id) ?? 0) + 1; ; n++) {
        const free = keyOfText(`${id}#${n}`)
        if (store.get(free) !== undefined) continue
        copies.set(id, n)
        return free
      }
    }
    const pass = (record: AnyLogRecord): void => {
      if (slice.traces === undefined) target.next(record as R)
      else slice.traces.run(record, () => target.next(record as R))
    }
    const keep = (record: AnyLogRecord, id: KeyText | undefined, at: number, key: Encoded, value: Encoded): void => {
      const trace = slice.traces?.of(record)?.headers ?? record.source.carried
      store.put(id ?? freeId(record.id, record.start < 0), waitingValue(delayedBytes(record, at, key, value, trace)))
      mark(record, Mark.processed)
      count('held')
      setAlarm()
    }
    /** Whether the record is to wait; if not, all is done about it. */
    const waits = (item: R, record: AnyLogRecord, at: number | undefined, id: KeyText | undefined, now: number): boolean => {
      const waiting = id === undefined ? undefined : store.get(id)?.bytes
      if (waiting !== undefined && isNewer(bytesOfKey(waiting), record.origin)) {
        // It came late, from a retry topic: what waits is what was wanted after it.
        if (at !== undefined && at <= now) target.next(item)
        else count('superseded')
        return false
      }
      if (waiting !== undefined) {
        store.delete(id as KeyText)
        count(at === undefined ? 'cancelled' : 'replaced')
      }
      if (at === undefined) mark(record, Mark.processed)
      else if (at <= now) target.next(item)
      else return true
      return false
    }
    // Only where a serde may answer later: what comes due and what comes in pass in their order.
    const queue = isAsync
      ? new InOrder<Queued<R>, unknown>({
          begin(queued) {
            if ('bytes' in queued) return delayedRecord(bytesOfKey(queued.bytes), serdes)
            const { record, at, now } = queued
            if (record === undefined || at === undefined || at <= now) return undefined
            return withNext(changedPart(what, record, serdes, 'key'), () => changedPart(what, record, serdes, 'value'))
          },
          give(queued, answer) {
            if ('bytes' in queued) return pass(answer as AnyLogRecord)
            const { item, record, at, id, now } = queued
            if (record === undefined) target.next(item)
            else if (waits(item, record, at, id, now)) keep(record, id, at as number, ...(answer as [Encoded, Encoded]))
          },
          complete: () => target.complete(),
          fail: (error) => target.error(error),
          slice,
          what,
        })
      : undefined
    if (queue !== undefined) target.add(() => queue.close())
    // Of what was restored, or what an aborted transaction had taken.
    if (slice.mode === 'run') setAlarm()

    return {
      next(item) {
        if (item instanceof FailedRecord) {
          if (queue === undefined) target.next(item)
          else queue.add({ item, record: undefined, at: undefined, id: undefined, now: 0 })
          return
        }
        if (slice.mode === 'plan' || slice.closed) return
        const record = asWritable(what, item)
        const now = slice.clock.now()
        const at = timeFor(what, item as AnyRecord, rules.at(item as Good<R>))
        const id = rules.id?.(item as Good<R>)
        if (queue !== undefined) queue.add({ item, record, at, id, now })
        else if (waits(item, record, at, id, now)) {
          const key = atOnce(changedPart(what, record, serdes, 'key'), what)
          keep(record, id, at as number, key, atOnce(changedPart(what, record, serdes, 'value'), what))
        }
      },
      complete() {
        if (queue === undefined) target.complete()
        else queue.end()
      },
    }
  })
}

/** What waits for a serde: a record that came in (without `record` it passes as it is), or one that has come due. */
type Queued<R> =
  | {
      readonly item: R
      readonly record: AnyLogRecord | undefined
      /** When it is to pass; undefined where it only takes back what waits under its id. */
      readonly at: number | undefined
      readonly id: KeyText | undefined
      readonly now: number
    }
  | { readonly bytes: KeyText }

function isNewer(
  waiting: Buffer,
  { topic, partition, offset }: { readonly topic: string; readonly partition: number; readonly offset: number },
): boolean {
  const origin = delayedOrigin(waiting)
  return origin.topic === topic && origin.partition === partition && origin.offset > offset
}

/** A time in whole milliseconds; fractions are rounded up, so that nothing passes early. */
function timeFor(what: string, record: AnyRecord, given: unknown): number | undefined {
  if (given === undefined) return undefined
  const at = Math.ceil(given instanceof Date ? given.getTime() : typeof given === 'number' ? given : Number.NaN)
  if (Number.isSafeInteger(at)) return at
  throw new MillraceError(
    'INVALID_TIMESTAMP',
    `${what}: the due time of ${record.id} is ${String(given)}, not milliseconds since the epoch or a Date. Drop such records before it, or give them a time`,
    { origin: record.origin },
  )
}

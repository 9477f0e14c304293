import { randomUUID } from 'node:crypto'
import type { OperatorFunction } from 'rxjs'
import { FailedRecord } from '../../record/failed-record.js'
import { MillraceError } from '../../record/error.js'
import type { StreamRecord } from '../../record/record.js'
import { bytes, type Serde, type SerdeFor } from '../../record/serde.js'
import type { Good, KeyOf, ValueOf } from '../../record/types.js'
import { delayStore, waitingValue } from './delay-store.js'
import { keyOfText, type KeyText } from '../../state/key.js'
import { readBack } from '../../state/read-back.js'
import { Mark, mark } from '../../runtime/accounting.js'
import { activeSlice } from '../../runtime/context.js'
import { delayedBytes, delayedOrigin, delayedRecord, type DelaySerdes } from './delayed.js'
import { asWritable } from '../../runtime/encode.js'
import { operate } from '../../runtime/operate.js'
import { objectWith } from '../../runtime/options.js'

type AnyRecord = StreamRecord<unknown, unknown>

interface SerdeOptions<T, Name extends string> {
  readonly required: { readonly [name in Name]: SerdeFor<NoInfer<T>> }
  readonly optional: { readonly [name in Name]?: SerdeFor<NoInfer<T>> }
}

/** Required unless the type is bytes. */
type KeptOption<T, Name extends string> = [T] extends [Uint8Array | null]
  ? SerdeOptions<T, Name>['optional']
  : SerdeOptions<T, Name>['required']

/** How key and value are kept: needed unless they are bytes. */
export type KeptAs<R> = KeptOption<KeyOf<R>, 'key'> & KeptOption<ValueOf<R>, 'value'>

const serde = objectWith<SerdeFor<unknown>>(['encode', 'decode'], 'a serde such as json()').optional()
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
  given: { readonly key?: SerdeFor<unknown> | undefined; readonly value?: SerdeFor<unknown> | undefined },
  rules: DelayRules<Good<R>>,
): OperatorFunction<R, R> {
  const plain = bytes() as SerdeFor<unknown>
  const checked = (part: 'key' | 'value'): SerdeFor<unknown> =>
    readBack(
      (given[part] ?? plain) as Serde<unknown>,
      `${what}: the ${part} of a record that waits`,
      `give it a serde that holds it (${part}: ...)`,
    )
  const serdes: DelaySerdes = { key: checked('key'), value: checked('value') }
  const spec = delayStore(name)

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
        // Its bytes come again if the transaction is aborted, whoever changed those of the record meanwhile.
        const record = delayedRecord(Buffer.from(bytes), serdes)
        if (slice.traces === undefined) target.next(record as R)
        else slice.traces.run(record, () => target.next(record as R))
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
    // Of what was restored, or what an aborted transaction had taken.
    if (slice.mode === 'run') setAlarm()

    return {
      next(item) {
        if (item instanceof FailedRecord) {
          target.next(item)
          return
        }
        if (slice.mode === 'plan' || slice.closed) return
        const record = asWritable(what, item)
        const now = slice.clock.now()
        const at = timeFor(what, item as AnyRecord, rules.at(item as Good<R>))
        const id = rules.id?.(item as Good<R>)
        const waiting = id === undefined ? undefined : store.get(id)?.bytes
        if (waiting !== undefined && isNewer(waiting, record.origin)) {
          // It came late, from a retry topic: what waits is what was wanted after it.
          if (at !== undefined && at <= now) target.next(item)
          else count('superseded')
          return
        }
        if (waiting !== undefined) {
          store.delete(id as KeyText)
          count(at === undefined ? 'cancelled' : 'replaced')
        }
        if (at === undefined) mark(record, Mark.processed)
        else if (at <= now) target.next(item)
        else {
          store.put(
            id ?? freeId(record.id, record.start < 0),
            waitingValue(delayedBytes(what, record, at, serdes, slice.traces?.of(record)?.headers ?? record.source.carried)),
          )
          mark(record, Mark.processed)
          count('held')
          setAlarm()
        }
      },
    }
  })
}

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

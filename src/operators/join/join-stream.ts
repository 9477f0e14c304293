import { Observable, type OperatorFunction } from 'rxjs'
import { z } from 'zod'
import { MillraceError, errorMessage } from '../../record/error.js'
import type { Duration } from '../../record/duration.js'
import { record as newRecord, type LogRecord, type StreamRecord } from '../../record/record.js'
import type { Encoded } from '../../log/batch/write.js'
import { isLater, json, type AnySerde, type AnySerdeFor } from '../../record/serde.js'
import type { Good, Handled, RecordOrFailure, ValueOf } from '../../record/types.js'
import type { Window } from '../../record/windows.js'
import { Mark, mark } from '../../runtime/accounting.js'
import { activeSlice } from '../../runtime/context.js'
import { asWritable, atOnce, encodeSoon } from '../../runtime/encode.js'
import { eventTime } from '../../runtime/event-time.js'
import { isUnavailable } from '../../runtime/blame.js'
import { grouping } from '../../runtime/grouping.js'
import { operate } from '../../runtime/operate.js'
import { duration, functionOption, objectWith, parseOptions, storeName } from '../../runtime/options.js'
import type { Part } from '../../runtime/tracing/gatherings.js'
import { withSideOutput, type SideOutput } from '../../runtime/side-output.js'
import { stageOf } from '../../runtime/stages.js'
import type { KeptValue } from './kept-value.js'
import { LaterValues, Unread, type Side } from './later-values.js'
import { StreamJoin, kept, sideStore, type Partner, type ValueCodec } from './stream-join.js'
import { bytesOfKey, type KeyText } from '../../state/key.js'
import { readBack } from '../../state/read-back.js'

type AnyRecord = StreamRecord<unknown, unknown>
type AnyLogRecord = LogRecord<unknown, unknown>

/** What is known of a record when it is joined, perhaps minutes after it came. */
export interface Joined<V> {
  readonly key: Buffer
  readonly value: V
  /** Its event time. */
  readonly timestamp: number
}

/** A record that came when its window was closed: it is joined with nothing. */
export type LateJoinRecord<L, R> = ({ readonly side: 'left'; readonly record: L } | { readonly side: 'right'; readonly record: R }) & {
  /** Where its partners would have been, both ends included. */
  readonly window: Window
  /** How far event time had come in its task. */
  readonly streamTime: number
}

interface Inner<L, R, V> {
  readonly kind?: 'inner'
  /** Makes the value of a pair. */
  readonly join: (left: Joined<ValueOf<L>>, right: Joined<ValueOf<R>>) => V
}

interface Left<L, R, V> {
  /** 'inner' (default): pairs only. 'left': also each left record that found no partner. 'outer': those of both sides. */
  readonly kind: 'left'
  readonly join: (left: Joined<ValueOf<L>>, right: Joined<ValueOf<R>> | undefined) => V
}

interface Outer<L, R, V> {
  readonly kind: 'outer'
  /** At least one of the two is there. */
  readonly join: (left: Joined<ValueOf<L>> | undefined, right: Joined<ValueOf<R>> | undefined) => V
}

interface JoinStreamBase<L, R> {
  /**
   * How far the times of a pair may be apart, both ends included; apart: how much earlier and how much later than the left record the right
   * one may be.
   */
  readonly within: Duration | { readonly before: Duration; readonly after: Duration }
  /** How long after that a record is still taken, for records out of order. Default 0. */
  readonly grace?: Duration
  /** Event time in milliseconds. Default: the record's timestamp. */
  readonly time?: (record: NoInfer<L> | NoInfer<R>) => number
  /**
   * How far a record's time may be ahead of the clock. One that is further is refused: it fails with INVALID_TIMESTAMP, which follows
   * `onError`, and moves no time. Default: as far as it likes; then one record with a wrong time closes all that is open in its task, for
   * good, and what comes after it is late. '1h' leaves room for clocks that are wrong.
   */
  readonly maxAhead?: Duration
  /** How values of the left side are kept. Default: bytes as they are, all else as JSON. */
  readonly leftValue?: AnySerdeFor<ValueOf<L>>
  /** The same of the right side. */
  readonly rightValue?: AnySerdeFor<ValueOf<R>>
  /** What becomes of records that came when their window was closed; they are counted either way. Default: nothing. */
  readonly late?: SideOutput<LateJoinRecord<NoInfer<L>, NoInfer<R>>>
  /**
   * Names the state and its changelogs, '<group>-<name>-left-changelog' and -right-; must stay the same. Default 'join'; needed where a
   * pipeline has two.
   */
  readonly name?: string
}

export type JoinStreamOptions<L, R, V> = JoinStreamBase<L, R> &
  (Inner<NoInfer<L>, NoInfer<R>, V> | Left<NoInfer<L>, NoInfer<R>, V> | Outer<NoInfer<L>, NoInfer<R>, V>)

const serde = objectWith<AnySerde<unknown>>(['encode', 'decode'], 'a serde such as json()').optional()
const schema = z.strictObject({
  within: z.union([duration.transform((ms) => ({ before: ms, after: ms })), z.strictObject({ before: duration, after: duration })], {
    error: "expected a time span such as '5m', or { before, after }",
  }),
  grace: duration.default(0),
  maxAhead: duration.optional(),
  kind: z.enum(['inner', 'left', 'outer']).default('inner'),
  join: functionOption<(left: unknown, right: unknown) => unknown>('a function of the left and the right record'),
  time: functionOption<(record: AnyRecord) => number>('a function from the record to milliseconds').optional(),
  leftValue: serde,
  rightValue: serde,
  late: functionOption<SideOutput<LateJoinRecord<AnyRecord, AnyRecord>>>(
    'a function from the observable of late records to another',
  ).optional(),
  name: storeName.default('join'),
})

/**
 * Joins the records of two streams that have the same key and whose times are not further apart than `within`.
 *
 * Both come from one source: it reads two topics, and `filter((r) => r.origin.topic === ...)` parts them, so that records of one key are in
 * one task. Stream time is the highest time of either side in the task; it commits and survives restarts. The window of a record closes
 * when stream time has passed the last time a partner may have, and the grace. A pair is handed out once, when the second of the two comes,
 * if the windows of both are open. A record without a partner, where `kind` asks for it, is handed out once, when its window closes, as in
 * Kafka Streams since KAFKA-10847. A record whose window is closed when it comes is late: it is counted, goes to `late` and is joined with
 * nothing, where Kafka Streams joins it with what is still there and may have handed out its partner as alone before.
 *
 * The topics of a task are read in order of their records' timestamps, as far as they are fetched, so that neither side runs ahead while a
 * pipeline catches up. Nothing is handed out by the clock: without records time stands still.
 *
 * Order: pairs in the order their second record comes; records alone by the end of their window. Results carry the key's bytes and the
 * later of the two times, and no headers. State: each record until its window closes, on two changelogs. Memory: the values plus about 250
 * bytes each. FailedRecords are not accepted: handle them before.
 *
 * @throws MillraceError INVALID_OPTIONS; LOSSY_SERDE; as error of the slice MISSING_KEY, NOT_REPARTITIONED, INVALID_TIMESTAMP,
 * ENCODE_FAILED
 * @example
 * const from = (topic: string) => records.pipe(filter((record) => record.origin.topic === topic))
 * from('orders').pipe(
 *   joinStream(from('payments'), { within: '5m', grace: '30s', kind: 'left', join: (order, payment) => ({ order: order.value, paid: payment !== undefined }) }),
 *   toTopic({ topic: 'paid', value: json() }),
 * )
 * @see KAFKA-10847, KIP-633 (grace)
 */
export function joinStream<L extends RecordOrFailure = AnyRecord, R extends RecordOrFailure = AnyRecord, V = unknown>(
  right: Observable<R>,
  options: Handled<L | R> & JoinStreamOptions<Good<L>, Good<R>, V>,
): OperatorFunction<L, StreamRecord<Buffer, V>>
export function joinStream<L extends AnyRecord, R extends AnyRecord, V>(
  right: Observable<R>,
  options: JoinStreamOptions<L, R, V>,
): OperatorFunction<L, StreamRecord<Buffer, V>> {
  if (typeof (right as Partial<Observable<R>> | undefined)?.subscribe !== 'function')
    throw new MillraceError('INVALID_OPTIONS', 'joinStream: its first argument is the right stream, an observable of the same slice')
  const { within, grace, kind, join, time, maxAhead, leftValue, rightValue, late, name } = parseOptions(schema, options, 'joinStream')
  const what = `joinStream '${name}'`
  const { before: beforeMs, after: afterMs } = within
  const window = { beforeMs, afterMs, graceMs: grace }
  // Which records are alone is known only where it was kept.
  const leftSpec = sideStore({ name: `${name}-left`, kind: `join/${kind}/left`, waitsMs: afterMs, graceMs: grace })
  const rightSpec = sideStore({ name: `${name}-right`, kind: `join/${kind}/right`, waitsMs: beforeMs, graceMs: grace })
  const checked = (serde: AnySerde<unknown>, side: Side): AnySerde<unknown> =>
    readBack(serde, `${what}: the ${side} value it keeps`, `give the join a serde that holds it (${side}Value: ...)`)
  const serdes = { left: checked(leftValue ?? json(), 'left'), right: checked(rightValue ?? json(), 'right') }
  const isAsync = serdes.left.async === true || serdes.right.async === true
  const isPlain = { left: leftValue === undefined, right: rightValue === undefined }
  const keyOf = grouping<AnyRecord>(what, undefined)
  const timeOf = eventTime<AnyRecord>(what, time, maxAhead)
  const unreadable = (side: Side, error: unknown): unknown =>
    isUnavailable(error)
      ? error
      : new MillraceError(
          'CORRUPT_STATE',
          `${what}: a kept ${side} value cannot be read as ${serdes[side].name}: ${errorMessage(error)}. Was the serde changed? Give the join another name`,
          { cause: error },
        )
  const read = (side: Side, bytes: Buffer): unknown => {
    let value: unknown
    try {
      value = serdes[side].decode(bytes)
    } catch (error) {
      throw unreadable(side, error)
    }
    return isLater(value) ? value.then(undefined, (error: unknown) => Promise.reject(unreadable(side, error) as Error)) : value
  }

  const main = (put: (late: LateJoinRecord<L, R>) => void): OperatorFunction<L, StreamRecord<Buffer, V>> => {
    const operator = (left: Observable<L>): Observable<StreamRecord<Buffer, V>> => {
      const pairs = new Observable<StreamRecord<Buffer, V>>((target) => {
        const slice = activeSlice(what)
        let taking: AnyLogRecord | undefined
        const encode = (side: Side, value: unknown, record: AnyLogRecord): Encoded | Promise<Encoded> =>
          encodeSoon(what, serdes[side], value, record, `${side} value`)
        const codec = (side: Side): ValueCodec => ({
          bytesAsTheyAre: isPlain[side],
          encode: (value) => atOnce(encode(side, value, taking as AnyLogRecord), what),
          decode: (bytes) => (isAsync ? new Unread(side, bytes) : atOnce(read(side, bytes), what)),
        })
        const sides = [
          { store: slice.store(what, leftSpec), codec: codec('left') },
          { store: slice.store(what, rightSpec), codec: codec('right') },
        ] as const

        const emit = (keyText: KeyText, one: Partner | undefined, other: Partner | undefined): void => {
          const key = bytesOfKey(keyText)
          const joined = (partner: Partner | undefined): Joined<unknown> | undefined =>
            partner === undefined ? undefined : { key, ...partner }
          const value = join(joined(one), joined(other)) as V
          const result = newRecord({ key, value, timestamp: Math.max(one?.timestamp ?? 0, other?.timestamp ?? 0) })
          slice.traces?.combine(what, result, [...partsOf('left', keyText, one), ...partsOf('right', keyText, other)])
          target.next(result)
        }
        const partsOf = (side: Side, key: KeyText, partner: Partner | undefined): readonly Part[] =>
          partner === undefined
            ? []
            : [{ operator: `${what} ${side}`, key, from: partner.timestamp, to: partner.timestamp, keepFrom: Number.NEGATIVE_INFINITY }]

        const place = (side: Side, record: AnyLogRecord, key: KeyText, at: number, encoded?: KeptValue): void => {
          const inTime = joining.add(side, key, at, record.value, encoded)
          mark(record, inTime ? Mark.processed : Mark.late)
          if (inTime) return
          const span = side === 'left' ? { start: at - beforeMs, end: at + afterMs } : { start: at - afterMs, end: at + beforeMs }
          put({ side, record, window: span, streamTime: joining.streamTime } as unknown as LateJoinRecord<L, R>)
        }
        const fail = (error: unknown): void => target.error(error)
        const later = isAsync
          ? new LaterValues({
              encode({ side, record }) {
                const { value } = record
                if (isPlain[side] && value instanceof Uint8Array) return kept(value, true)
                const encoded = encode(side, value, record)
                return isLater(encoded) ? encoded.then((bytes) => kept(bytes, false)) : kept(encoded, false)
              },
              place: ({ side, record, key, at }, encoded) => place(side, record, key, at, encoded),
              read,
              emit,
              complete: () => target.complete(),
              fail,
              slice,
              what,
            })
          : undefined
        if (later !== undefined) target.add(() => later.close())
        const joining = new StreamJoin(kind, window, ...sides, later === undefined ? emit : (...pair) => later.pair(...pair))

        const take = (side: Side, item: AnyRecord): void => {
          const record = asWritable(what, item)
          taking = record
          const at = timeOf(item, slice.clock)
          const key = keyOf(item)
          slice.traces?.gather(`${what} ${side}`, key, at, item)
          if (later === undefined) place(side, record, key, at)
          else later.take({ side, record, key, at })
        }
        let open = 2
        const follow = (side: Side, source: Observable<AnyRecord>): void => {
          const step = operate<AnyRecord, never>(what, () => ({ next: (record) => take(side, record) }))
          target.add(
            step(source).subscribe({
              error: fail,
              complete: () => {
                if (--open > 0) return
                if (later === undefined) target.complete()
                else later.end()
              },
            }),
          )
        }
        follow('left', left)
        follow('right', right)
      })
      return stageOf(left, pairs)
    }
    return Object.defineProperty(operator, 'name', { value: what })
  }
  return withSideOutput(what, main, late as SideOutput<LateJoinRecord<L, R>> | undefined)
}

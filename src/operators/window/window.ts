import type { OperatorFunction } from 'rxjs'
import { z } from 'zod'
import type { Duration } from '../../record/duration.js'
import { record as newRecord, type LogRecord, type StreamRecord } from '../../record/record.js'
import type { Good, Handled, RecordOrFailure } from '../../record/types.js'
import { nameOfWindows, type TimeWindows, type Window, type Windows } from '../../record/windows.js'
import { Mark, mark } from '../../runtime/accounting.js'
import { activeSlice } from '../../runtime/context.js'
import { eventTime } from '../../runtime/event-time.js'
import { grouping, groupingFields, saysPartitioned, type ByFunction, type ByRecordKey } from '../../runtime/grouping.js'
import { operate } from '../../runtime/operate.js'
import { duration, functionOption, objectWith, parseOptions, positiveDuration, storeName } from '../../runtime/options.js'
import { withSideOutput, type SideOutput } from '../../runtime/side-output.js'
import { windowing } from './create.js'
import { checkedAggregator, resultOf, type Aggregator, type MergeStates } from '../../state/aggregator.js'
import { bytesOfKey } from '../../state/key.js'

type AnyRecord = StreamRecord<unknown, unknown>

/** One result of a window. */
export interface WindowResult<Out> extends Window {
  readonly result: Out
}

/** A record that came when windows it belongs to were closed. */
export interface LateRecord<R> {
  readonly record: R
  /** The windows that miss it. Of sliding ones that is the one that ends with it, of sessions the one it would have begun. */
  readonly windows: readonly Window[]
  /** How far event time had come in its task. */
  readonly streamTime: number
}

/** Sessions grow together, and a sliding window is put together of several states. */
type MergeFor<W extends Windows, A> = [W] extends [TimeWindows] ? MergeStates<A> | undefined : MergeStates<A>

interface WindowBase<R, A, Out, W extends Windows> {
  /** What is made of the records of a window: count(), sum(...), or an aggregator of your own, with `merge` for sessions and sliding ones. */
  readonly aggregate: Aggregator<NoInfer<R>, A, Out, MergeFor<W, A>>
  /** How long after its end a window still takes records. Default 0: a window closes as soon as event time has passed its end. */
  readonly grace?: Duration
  /**
   * 'final' (default) gives one result a window and key, when it closes. 'updates' gives the latest one at each commit in which it changed.
   * A session that grew or was merged with another comes with its new bounds; it stands for all that lie inside.
   */
  readonly emit?: 'final' | 'updates'
  /** Event time of a record, in whole milliseconds since the epoch. Default: its timestamp. */
  readonly time?: (record: NoInfer<R>) => number
  /**
   * How far a record's time may be ahead of the clock. One that is further is refused: it fails with INVALID_TIMESTAMP, which follows
   * `onError`, and moves no time. Default: as far as it likes; then one record with a wrong time closes all that is open in its task, for
   * good, and what comes after it is late. '1h' leaves room for clocks that are wrong.
   */
  readonly maxAhead?: Duration
  /**
   * Gets the records that came too late for a window; what it does with them commits with everything else. Default: they are counted
   * (`Commit.late`).
   */
  readonly late?: SideOutput<LateRecord<NoInfer<R>>>
  /**
   * Closes all open windows when nothing has come to the task for this long, by the wall clock. Default: never; windows then wait for
   * the next record. What comes later for those windows is late.
   */
  readonly closeWhenIdle?: Duration
  /**
   * Names the state and its changelog, '<group>-<name>-changelog'; must stay the same. Default 'window'; needed where a pipeline has two.
   */
  readonly name?: string
}

export type WindowOptions<R, A, Out, W extends Windows = Windows> = WindowBase<R, A, Out, W> & (ByRecordKey | ByFunction<R>)

const schema = z
  .strictObject({
    aggregate: objectWith<Aggregator<AnyRecord, unknown, unknown>>(['add', 'result'], 'an aggregator such as count()'),
    grace: duration.default(0),
    emit: z.enum(['final', 'updates']).default('final'),
    time: functionOption<(record: AnyRecord) => number>('a function from the record to milliseconds').optional(),
    late: functionOption<SideOutput<LateRecord<AnyRecord>>>('a function from the observable of late records to another').optional(),
    closeWhenIdle: positiveDuration.optional(),
    maxAhead: duration.optional(),
    name: storeName.default('window'),
    ...groupingFields,
  })
  .refine(...saysPartitioned('groups by something else than the record key, so records of one group may be in several partitions'))

/**
 * Aggregates the records of each key by windows of event time.
 *
 * Event time goes on, in each task, to the highest time of its records; it commits and survives restarts with the windows. A window
 * closes when event time has passed its end and the grace; a record for a closed window is late. This is what Kafka Streams and
 * Flink (bounded out-of-orderness of zero, allowed lateness = grace) agree on.
 *
 * Order: windows close by their end. Results carry the key's bytes, `{ start, end, result }`, and as
 * timestamp the last millisecond of the window. Offsets and state: commit together, so each final result is written exactly once.
 * Memory: the state of the open windows, plus about 130 bytes each. FailedRecords are not accepted: handle them before.
 *
 * @throws MillraceError INVALID_OPTIONS; LOSSY_SERDE where the state is not what it was when it is read again; as error of the slice
 * MISSING_KEY, INVALID_TIMESTAMP, NOT_REPARTITIONED
 * @example
 * orders.pipe(
 *   window(tumbling('1m'), { aggregate: sum((o) => o.value.amount), grace: '10s' }),
 *   toTopic({ topic: 'revenue-per-minute', value: json() }),
 * )
 * @see KIP-825 (final results), KIP-450 (sliding windows); Akidau et al., The Dataflow Model, 2015
 */
export function window<R extends RecordOrFailure = AnyRecord, A = unknown, Out = unknown, W extends Windows = Windows>(
  windows: W,
  options: Handled<R> & WindowOptions<Good<R>, A, Out, NoInfer<W>>,
): OperatorFunction<R, StreamRecord<Buffer, WindowResult<Out>>>
export function window<R extends AnyRecord, A, Out>(
  windows: Windows,
  options: WindowOptions<R, A, Out, TimeWindows>,
): OperatorFunction<R, StreamRecord<Buffer, WindowResult<Out>>> {
  const parsed = parseOptions(schema, options, 'window')
  const { grace, emit, time, late, closeWhenIdle, maxAhead, name, key } = parsed
  const what = `window '${name}'`
  const aggregate = checkedAggregator(what, parsed.aggregate as Aggregator<R, A, Out>)
  const kind = `${nameOfWindows(windows)}/${aggregate.name}`
  const groupOf = grouping<R>(what, key as ((record: R) => string) | undefined)
  const timeOf = eventTime<R>(what, time as ((record: R) => number) | undefined, maxAhead)
  const open = windowing(windows, { name, kind, graceMs: grace, updates: emit === 'updates', aggregator: aggregate })

  return withSideOutput<R, StreamRecord<Buffer, WindowResult<Out>>, LateRecord<R>>(
    what,
    (put) =>
      operate(what, (target) => {
        const slice = activeSlice(what)
        const over = open(
          (spec) => slice.store(what, { ...spec, graceMs: grace }),
          (keyText, span, value) => {
            const timestamp = windows.kind === 'time' ? span.end - 1 : span.end
            const result = newRecord({ key: bytesOfKey(keyText), value: { ...span, result: resultOf(aggregate, value) }, timestamp })
            slice.traces?.combine(what, result, [{ operator: what, key: keyText, from: span.start, to: timestamp }])
            target.next(result)
          },
        )
        let quiet = true
        let rang = false
        const idle =
          closeWhenIdle === undefined
            ? undefined
            : slice.alarm(what, () => {
                // Silence of the pipeline is not silence of the topic.
                if (slice.behind) return
                rang = true
                const end = over.allClosedAt
                if (end !== undefined) over.advance(end)
              })
        return {
          next(record) {
            quiet = false
            const at = timeOf(record, slice.clock)
            const keyText = groupOf(record)
            over.advance(at)
            const missed = over.add(record, keyText, at)
            if (!over.missedAll) slice.traces?.gather(what, keyText, at, record)
            mark(record as unknown as LogRecord<unknown, unknown>, over.missedAll ? Mark.late : Mark.processed)
            if (missed !== undefined) put({ record, windows: missed, streamTime: over.streamTime })
          },
          complete() {
            over.complete()
            // A slice without records is the first one after a restore, or rung for by somebody.
            if (closeWhenIdle !== undefined && (!quiet || (!rang && idle?.at === undefined && !over.isEmpty))) idle?.setIn(closeWhenIdle)
            target.complete()
          },
        }
      }),
    late as SideOutput<LateRecord<R>> | undefined,
  )
}

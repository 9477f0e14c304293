import { Observable, type MonoTypeOperatorFunction } from 'rxjs'
import { z } from 'zod'
import type { Duration } from '../../record/duration.js'
import { MillraceError } from '../../record/error.js'
import { FailedRecord, inLog } from '../../record/failed-record.js'
import { failureOf, fitted, type FailureNote, type FailureHeaders } from '../../record/failure-headers.js'
import type { AddedHeaders } from '../../record/headers.js'
import type { Retries } from '../../record/record-source.js'
import type { LogRecord, RawRecord } from '../../record/record.js'
import { hopHeaders, type HopRecord } from '../../record/retry-headers.js'
import { Mark, mark } from '../../runtime/accounting.js'
import { activeSlice, type Meter, type SliceContext } from '../../runtime/context.js'
import { errorMatch, worthRetrying, type ErrorMatch } from '../../runtime/error-match.js'
import { FailureNotice } from '../../runtime/notice.js'
import { subscribeStep, type Step } from '../../runtime/operate.js'
import { duration, parseOptions, storeName } from '../../runtime/options.js'
import type { TopicOutput } from '../../runtime/outputs.js'
import { stageOf } from '../../runtime/stages.js'
import type { Line } from './line.js'
import { RetryOrder, orderStore } from './retry-order.js'
import { tierInlet, tierTopic, tiersOf, type Tier } from './retry-tiers.js'
import { LostNotice, VainWaits } from './vain-waits.js'

export interface RetryTopicOptions {
  /**
   * How long a record waits before each further attempt: as many as there are delays, then it passes on. A topic for each delay, so that a
   * long one keeps no short one waiting; delays of the same length share one.
   */
  readonly delays: readonly Duration[]
  /**
   * false (default): others go on while a record waits, also those of its key. 'key': records of its key that come later wait behind it,
   * and are done in the order they came; those of other keys go on. Where records it waits for are gone from the retry topics, the key goes
   * on without them, with a warning. Costs an entry of state for each key that waits, and its look-up for each record.
   */
  readonly ordered?: false | 'key'
  /**
   * Errors that are retried. Default: all but those of millrace that time cannot change, such as DECODE_FAILED, and those that `attempt`
   * was told not to retry.
   */
  readonly only?: ErrorMatch | readonly ErrorMatch[]
  /** Errors that are not, in addition: they pass on at once. Default: none. */
  readonly except?: ErrorMatch | readonly ErrorMatch[]
  /**
   * Names of the headers in the retry topics: 'millrace' (default), 'spring' as Spring Kafka's non-blocking retries, or 'streams', where
   * the failure goes under the names of Kafka Streams.
   */
  readonly headers?: FailureHeaders
  /**
   * Part of the topics' names, '<topic>.<group>.retry.<name>.<delay>', and of the state's. Default: none; needed where a pipeline has two.
   */
  readonly name?: string
  /**
   * Delays of an earlier release that this one no longer has: their topics are read until they are empty, and not written to. Default:
   * none.
   */
  readonly drain?: readonly Duration[]
}

const schema = z.strictObject({
  delays: z.array(duration).min(1, { message: 'name at least one delay' }),
  ordered: z.union([z.literal(false), z.literal('key')]).default(false),
  only: errorMatch.optional(),
  except: errorMatch.optional(),
  headers: z.enum(['millrace', 'spring', 'streams']).default('millrace'),
  name: storeName.optional(),
  drain: z.array(duration).default([]),
})

/** Least time between two looks at whether the record before it is done. */
const PAUSE_MS = 1_000

/**
 * Takes FailedRecords out of the stream and brings each back to the front of the slice after a while, through topics of the pipeline's own;
 * after the last delay it passes on as a FailedRecord, to be dealt with by `deadLetter`.
 *
 * The hop commits with the offset of the record and nothing else of the failed attempt is left. The topics,
 * '<topic>.<group>.retry.<delay>', have as many partitions as the inputs; `provision` makes them. A record waits there, as bytes in the
 * topic and not in memory, and is never early; partitions, shorter delays and heartbeats do not wait with it. It comes back as it was read:
 * with its own origin, time, headers and bytes, so `dedupe` knows it again. All operators before this one see it again, and so do other
 * branches of the slice: put those that count or add up behind it.
 *
 * Order: a record that is retried is overtaken, unless `ordered` is 'key'. Then only what is synchronous may stand between the step that
 * fails and this operator, besides `attempt` with its order by key; the key is the one the record was read with. Offsets: those of the
 * retry topics commit with the others of the task. State, memory: none beyond the outputs of the transaction; see `ordered`. A hop counts
 * as `failed` in the Commit, and a record that comes back as a record of the retry topic; `Commit.meters` has, for each delay,
 * `retry.<delay>.sent`, `.taken`, and by how much they were late, `.lateMs` in all and `.maxLateMs`; `retry.parked`; and `retry.lost`, keys
 * that went on without records which are gone. What was not read from an input of the source, but made by the program or read from a
 * `repartition`, passes on at once.
 *
 * @throws MillraceError INVALID_OPTIONS; OUTSIDE_SLICE when subscribed outside withTransaction; MISSING_TOPIC, PARTITION_MISMATCH before
 * anything is read
 * @example
 * orders.pipe(
 *   attempt((order) => charge(order.value)),
 *   retryTopic({ delays: ['1s', '30s', '5m'], except: InvalidCardError }),
 *   deadLetter({ topic: 'orders.dead' }),
 * )
 */
export function retryTopic<R>(options: RetryTopicOptions): MonoTypeOperatorFunction<R> {
  const { delays, ordered, only, except, headers, name, drain } = parseOptions(schema, options, 'retryTopic')
  const tiers = tiersOf(delays)
  const all = [...new Map([...tiers, ...tiersOf(drain)].map((tier) => [tier.delay, tier])).values()]
  const what = name === undefined ? 'retryTopic' : `retryTopic '${name}'`
  const prefix = name === undefined ? 'retry' : `retry.${name}`
  const delayMs = delays.reduce((sum, ms) => sum + ms, 0)
  const store = ordered === 'key' ? orderStore(prefix) : undefined
  const retries = worthRetrying(only, except)

  const subscribe = (source: Observable<R>): Observable<R> => {
    const rest = new Observable<R>((target) => {
      const slice = activeSlice(what)
      const topicOf = (input: string, tier: Tier): string => tierTopic(input, slice.group, name, tier)
      const outputs = slice.outputs(
        what,
        slice.inputs.flatMap((input) => all.map((tier) => topicOf(input, tier))),
      )
      const meters = new Map(all.map((tier) => [tier.delay, new TierMeters(slice, `${prefix}.${tier.delay}`)]))
      for (const tier of all) {
        const meter = meters.get(tier.delay) as TierMeters
        for (const input of slice.inputs) {
          slice.inlet(what, tierInlet(topicOf(input, tier), tier), (record) => {
            meter.took(record, slice.clock.now())
            slice.reenter(record)
          })
        }
      }
      /** By input, in the order of the delays. */
      const written = new Map(slice.inputs.map((input) => [input, tiers.map((tier) => outputs.get(topicOf(input, tier)) as TopicOutput)]))

      const write = (record: HopRecord, index: number, retries: Retries, now: number, told?: FailureNote): void => {
        const { timestamp, offset, lineage } = record
        const { topic, partition } = record.source
        const { attempt, tries, due, behind, firstError, firstMessage } = retries
        const output = (written.get(topic) as TopicOutput[])[index] as TopicOutput
        const trace = slice.traces?.of(record)?.headers ?? record.source.carried
        const hop = { attempt, tries, due, behind, firstError, firstMessage, topic, partition, offset, timestamp, lineage, trace }
        const encode = (failure: FailureNote | undefined): AddedHeaders =>
          hopHeaders(failure === told ? hop : { ...hop, firstMessage: '', trace: undefined }, failure, headers)
        const added = told === undefined ? encode(told) : fitted(told, encode, (tried) => output.excessBytesAdding(record, tried))
        output.appendAdding(record, slice.partition, added, Math.floor(now))
        mark(record, Mark.failed)
      }

      const notice = new FailureNotice(slice, what, `records failed and come again (${what})`)

      const park = (record: RawRecord, behind: number, { tier, due }: Line): void => {
        slice.meter(`${prefix}.parked`).count++
        const hop = record as HopRecord
        const now = slice.clock.now()
        // One that has waited already finds the first of its key before it in the topic. Where that was lost, it must not go round at once.
        const from = hop.source.retries === undefined ? due : Math.max(due, now + PAUSE_MS)
        write(hop, Math.min(tier, tiers.length - 1), waiting(hop, behind, from), now)
      }

      const lost = new LostNotice(slice, what, `${prefix}.lost`)
      const kept = store && slice.store(what, store)
      const order = kept && new RetryOrder(kept, park, VainWaits.of(kept, slice.clock), lost)

      const pass = (failed: FailedRecord): void => {
        const { retries: before } = inLog(failed).source
        order?.passes(failed.raw)
        const { record, error, step, attempts, retryable } = failed
        target.next((before === undefined ? failed : new FailedRecord(record, error, step, attempts + before.tries, retryable)) as R)
      }

      /** Takes a failed record over; false if it is to pass on. */
      const hop = (failed: FailedRecord): boolean => {
        const raw = failed.raw as HopRecord
        if (raw.start < 0 || !slice.inputs.includes(raw.source.topic)) return false
        if (order?.parks(raw) === true) return true
        const before = raw.source.retries
        // Only one before it failed, and that has passed on: it is its turn now.
        const untried = failed.error instanceof MillraceError && failed.error.code === 'KEY_IN_RETRY'
        const attempt = before?.attempt ?? 1
        const index = untried ? 0 : attempt - 1
        const tier = tiers[index]
        if (tier === undefined || !(untried || retries(failed))) return false
        if (!untried) slice.traces?.failed(failed)
        const now = slice.clock.now()
        const due = Math.ceil(now + (untried ? 0 : tier.delayMs))
        const tries = failed.attempts + (before?.tries ?? 0)
        const failure = { ...failureOf(failed, 0), attempts: tries }
        const known = before !== undefined && before.firstError !== ''
        const { firstError, firstMessage } = known ? before : { firstError: failure.error, firstMessage: failure.message }
        try {
          if (untried) write(raw, index, waiting(raw, -1, due), now)
          else write(raw, index, { attempt: attempt + 1, tries, due, firstError, firstMessage, behind: -1 }, now, failure)
        } catch (error) {
          // As it does not fit, whoever handles the failure next may have room.
          if (error instanceof MillraceError && error.code === 'RECORD_TOO_LARGE' && !untried) return false
          throw error
        }
        ;(meters.get(tier.delay) as TierMeters).sent()
        if (!untried) notice.add(failed)
        order?.leaves(raw, index, due)
        return true
      }

      const step: Step<R> = {
        next(item) {
          if (!(item instanceof FailedRecord)) target.next(item)
          // Planning and what comes after the slice was given up write nothing.
          else if (slice.mode === 'run' && !slice.closed && !hop(item)) pass(item)
        },
        complete() {
          order?.complete()
          notice.end()
          lost.end()
          target.complete()
        },
      }
      return slice.beforeRetry({ operator: what, delayMs, gate: order }, () => subscribeStep(source, target, step))
    })
    return stageOf(source, rest)
  }
  return Object.defineProperty(subscribe, 'name', { value: what })
}

/** How a record goes on that waits behind another: as it was. */
function waiting({ source }: HopRecord, behind: number, due: number): Retries {
  const { attempt = 1, tries = 0, firstError = '', firstMessage = '' } = source.retries ?? {}
  return { attempt, tries, due, behind, firstError, firstMessage }
}

/** What goes through one tier in a transaction. */
class TierMeters {
  private readonly meters: { [name in 'sent' | 'taken' | 'lateMs' | 'maxLateMs']?: Meter } = {}

  constructor(
    private readonly slice: SliceContext,
    private readonly name: string,
  ) {}

  sent(): void {
    this.meter('sent').count++
  }

  took(record: RawRecord, now: number): void {
    const due = (record as LogRecord<unknown, unknown>).source.retries?.due
    if (due === undefined) return
    const max = this.meter('maxLateMs')
    this.meter('taken').count++
    this.meter('lateMs').count += now - due
    if (now - due > max.count) max.count = now - due
  }

  /** Made when first needed: a transaction without hops has none. */
  private meter(kind: 'sent' | 'taken' | 'lateMs' | 'maxLateMs'): Meter {
    return (this.meters[kind] ??= this.slice.meter(`${this.name}.${kind}`))
  }
}

import { Observable, type MonoTypeOperatorFunction } from 'rxjs'
import { z } from 'zod'
import type { Duration } from '../record/duration.js'
import { MillraceError } from '../record/error.js'
import { FailedRecord } from '../record/failed-record.js'
import { failureOf, shortened, type FailureHeaders } from '../record/failure-headers.js'
import type { LogRecord, RawRecord } from '../record/record.js'
import { hopHeaders, type Hop, type HopRecord } from '../record/retry-headers.js'
import { Mark, mark } from '../runtime/accounting.js'
import { activeSlice, type SliceContext } from '../runtime/context.js'
import { errorMatch, type ErrorMatch } from '../runtime/error-match.js'
import { operate } from '../runtime/operate.js'
import { duration, parseOptions, storeName } from '../runtime/options.js'
import type { TopicOutput } from '../runtime/outputs.js'
import { RetryOrder, orderStore } from '../runtime/retry-order.js'
import { tierInlet, tierTopic, tiersOf, type Tier } from '../runtime/retry-tiers.js'

export interface RetryTopicOptions {
  /**
   * How long a record waits before each further attempt: as many as there are delays, then it passes on. A topic for each delay, so that a long one keeps no short one
   * waiting; delays of the same length share one.
   */
  readonly delays: readonly Duration[]
  /**
   * false (default): others go on while a record waits, also those of its key. 'key': records of its key that come later wait behind it, and are done in the
   * order they came; those of other keys go on. Costs an entry of state for each key that waits, and its look-up for each record.
   */
  readonly ordered?: false | 'key'
  /** Errors that are retried. Default: all but those of `except`. */
  readonly only?: ErrorMatch | readonly ErrorMatch[]
  /** Errors that are not: they pass on at once. Default: errors of millrace that time cannot change, such as DECODE_FAILED, unless `only` names them. */
  readonly except?: ErrorMatch | readonly ErrorMatch[]
  /** Names of the headers in the retry topics: 'millrace' (default), 'spring' as Spring Kafka's non-blocking retries, or 'streams', where the failure goes under the names of Kafka Streams. */
  readonly headers?: FailureHeaders
  /** Part of the topics' names, '<topic>.<group>.retry.<name>.<delay>', and of the state's. Default: none; needed where a pipeline has two. */
  readonly name?: string
  /** Delays of an earlier release that this one no longer has: their topics are read until they are empty, and not written to. Default: none. */
  readonly drain?: readonly Duration[]
}

const schema = z
  .strictObject({
    delays: z.array(duration).min(1, { message: 'name at least one delay' }),
    ordered: z.union([z.literal(false), z.literal('key')]).default(false),
    only: errorMatch.optional(),
    except: errorMatch.optional(),
    headers: z.enum(['millrace', 'spring', 'streams']).default('millrace'),
    name: storeName.optional(),
    drain: z.array(duration).default([]),
  })

/**
 * Takes FailedRecords out of the stream and brings each back to the front of the slice after a while, through topics of the pipeline's own; after the last
 * delay it passes on as a FailedRecord, to be dealt with by `deadLetter`.
 *
 * The hop commits with the offset of the record and nothing else of the failed attempt is left. The topics, '<topic>.<group>.retry.<delay>', have as
 * many partitions as the inputs; `provision` makes them. A record waits there, as bytes in the topic and not in memory, and is never
 * early; partitions, shorter delays and heartbeats do not wait with it. It comes back as it was read: with its own origin, time, headers and bytes, so `dedupe` knows
 * it again. All operators before this one see it again, and so do other branches of the slice: put those that count or add up behind it.
 *
 * Order: a record that is retried is overtaken, unless `ordered` is 'key'. Then only what is synchronous may stand between the step that fails and this operator, besides
 * `attempt` with its order by key; the key is the one the record was read with. Offsets: those of the retry topics commit with the others of the task.
 * State, memory: none beyond the outputs of the transaction; see `ordered`. A hop counts as `failed` in the Commit, and a record that comes back as a record of
 * the retry topic; `Commit.meters` has, for each delay, `retry.<delay>.sent`, `.taken`, and by how much they were late, `.lateMs` in all and `.maxLateMs`; and `retry.parked`.
 * What was not read from an input of the source, but made by the program or read from a `repartition`, passes on at once.
 *
 * @throws MillraceError INVALID_OPTIONS; OUTSIDE_SLICE when subscribed outside withTransaction; MISSING_TOPIC, PARTITION_MISMATCH before anything is read
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
  const lasts = ({ error }: FailedRecord): boolean => only === undefined && error instanceof MillraceError && !error.retryable
  const retries = (failed: FailedRecord): boolean => (only?.(failed) ?? true) && !(except ?? lasts)(failed)

  const subscribe = (source: Observable<R>): Observable<R> =>
    new Observable<R>((target) => {
      const slice = activeSlice(what)
      const topics = new Map(slice.inputs.flatMap((input) => all.map((tier) => [`${input} ${tier.delay}`, tierTopic(input, slice.group, name, tier)] as const)))
      const outputs = slice.outputs(what, [...topics.values()])
      for (const tier of all) {
        for (const input of slice.inputs) {
          const inlet = tierInlet(topics.get(`${input} ${tier.delay}`) as string, tier, headers)
          slice.inlet(what, inlet, (record) => {
            countLateness(slice, `${prefix}.${tier.delay}`, record)
            slice.reenter(record)
          })
        }
      }

      const write = (record: HopRecord, tier: Tier, hop: Hop): void => {
        const output = outputs.get(topics.get(`${record.source.topic} ${tier.delay}`) as string) as TopicOutput
        const { key, value } = record
        let failure = hop.failure
        let section = hopHeaders(record, hop, headers)
        for (let excess = output.excessBytes(key, value, section); excess > 0 && failure.message !== ''; excess = output.excessBytes(key, value, section)) {
          failure = shortened(failure, excess)
          section = hopHeaders(record, { ...hop, failure, firstMessage: '' }, headers)
        }
        output.appendWhole(record, slice.partition, key, value, section, slice.clock.now())
        mark(record, Mark.failed)
      }

      const order =
        store === undefined
          ? undefined
          : new RetryOrder(slice.store(what, store), (record, behind, { tier, due }) => {
              slice.meter(`${prefix}.parked`).count++
              write(record as HopRecord, tiers[Math.min(tier, tiers.length - 1)] as Tier, waitingHop(record as HopRecord, behind, due))
            })

      const pass = (failed: FailedRecord): void => {
        const { retries: before } = failed.record.source
        order?.passes(failed.raw)
        const { record, error, step, attempts } = failed
        target.next((before === undefined ? failed : new FailedRecord(record, error, step, attempts + before.tries)) as R)
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
        const due = slice.clock.now() + (untried ? 0 : tier.delayMs)
        const failure = { ...failureOf(failed, 0), attempts: failed.attempts + (before?.tries ?? 0) }
        const known = before !== undefined && before.firstError !== ''
        const { firstError, firstMessage } = known ? before : { firstError: failure.error, firstMessage: failure.message }
        try {
          write(raw, tier, untried ? waitingHop(raw, -1, due) : { attempt: attempt + 1, due, firstError, firstMessage, behind: -1, failure })
        } catch (error) {
          // As it does not fit, whoever handles the failure next may have room.
          if (error instanceof MillraceError && error.code === 'RECORD_TOO_LARGE' && !untried) return false
          throw error
        }
        slice.meter(`${prefix}.${tier.delay}.sent`).count++
        order?.leaves(raw, index, due)
        return true
      }

      const step = operate<R, R>(what, (next) => ({
        next(item) {
          if (!(item instanceof FailedRecord)) next.next(item)
          // Planning and what comes after the slice was given up write nothing.
          else if (slice.mode === 'run' && !slice.closed && !hop(item)) pass(item)
        },
        complete() {
          order?.complete()
          next.complete()
        },
      }))
      return slice.beforeRetry({ operator: what, delayMs, gate: order }, () => step(source).subscribe(target))
    })
  return Object.defineProperty(subscribe, 'name', { value: what })
}

/** What a record has in its headers that waits behind another. */
function waitingHop({ origin, timestamp, source }: HopRecord, behind: number, due: number): Hop {
  const { attempt = 1, tries = 0, firstError = '', firstMessage = '' } = source.retries ?? {}
  const failure = { origin, timestamp, step: '', error: '', code: 'KEY_IN_RETRY', message: '', stack: '', attempts: tries }
  return { attempt, due, firstError, firstMessage, behind, failure }
}

function countLateness(slice: SliceContext, name: string, record: RawRecord): void {
  const due = (record as LogRecord<unknown, unknown>).source.retries?.due
  if (due === undefined) return
  const late = slice.clock.now() - due
  slice.meter(`${name}.taken`).count++
  slice.meter(`${name}.lateMs`).count += late
  const max = slice.meter(`${name}.maxLateMs`)
  max.count = Math.max(max.count, late)
}

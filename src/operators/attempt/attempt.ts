import type { OperatorFunction, Subscriber } from 'rxjs'
import { z } from 'zod'
import type { Duration } from '../../record/duration.js'
import { MillraceError } from '../../record/error.js'
import { FailedRecord, type SomeFailure } from '../../record/failed-record.js'
import { LogRecord, type NotSpread, unspread, type StreamRecord } from '../../record/record.js'
import type { KeyOf } from '../../record/types.js'
import { AttemptRunner, type AttemptFunction } from './attempt-runner.js'
import { Breaker, type CircuitBreaker, type CockatielBreaker } from './circuit-breaker.js'
import { activeSlice, type SliceContext } from '../../runtime/context.js'
import { errorMatch, type ErrorMatch } from '../../runtime/error-match.js'
import { operate } from '../../runtime/operate.js'
import { duration, parseOptions, positiveDuration, positiveInteger } from '../../runtime/options.js'

/** What the function given to `attempt` is told besides the record. */
export interface AttemptContext {
  /** Aborts when the time limit of this try is over, and when the slice is given up: pass it on to fetch, to a database, ... */
  readonly signal: AbortSignal
}

export interface AttemptRetry {
  /** How often a failing function is called again, at most. */
  readonly times: number
  /** Longest pause before the first such call; doubled for each further one. Default '100ms'. */
  readonly delay?: Duration
  /**
   * The pause grows to this at most. Default '10s'; the transaction stays in memory meanwhile, so longer pauses belong in a retry topic.
   */
  readonly maxDelay?: Duration
  /**
   * 'full' (default): each pause is any time up to the longest, so that records that failed together do not come again together. 'none':
   * the longest.
   */
  readonly jitter?: 'full' | 'none'
  /** Errors after which it is called again. Default: all but those of millrace that time cannot change, such as DECODE_FAILED. */
  readonly only?: ErrorMatch | readonly ErrorMatch[]
  /**
   * Errors after which it is not, in addition: a card that was declined is not charged a second time. Default: none. What this or `only`
   * leaves out is not worth retrying later either (`FailedRecord.retryable`), so a retryTopic behind passes it on at once.
   */
  readonly except?: ErrorMatch | readonly ErrorMatch[]
}

export interface AttemptOptions {
  /**
   * Calls under way at once, in each partition. Default 16. More hides the latency of a service, and asks more of it. `autoTune` of
   * `withTransaction` adapts it.
   */
  readonly concurrency?: number
  /**
   * 'key' (default): records of one key one after the other, those of different keys and those without one side by side. 'partition': side
   * by side, also those of one key, and out in the order they came. 'none': out as they are done. With a concurrency of 1 all three are
   * strictly one after the other.
   */
  readonly order?: 'key' | 'partition' | 'none'
  /**
   * Time limit of one call; its signal aborts, and the record fails with ATTEMPT_TIMEOUT or is tried again. Default: none, and a call that
   * never ends stalls the slice (see `stallAfter`). A call that does not heed its signal goes on unseen.
   */
  readonly timeout?: Duration
  /** Calls that fail are made again, in place. Default: not. */
  readonly retry?: AttemptRetry
  /** Name in `FailedRecord.step`, in `Commit.meters` and in messages. Default 'attempt'; give another where a pipeline has several. */
  readonly step?: string
  /** Has calls wait while the service is down, instead of failing records: from `circuitBreaker`, or one of cockatiel. Default: none. */
  readonly breaker?: CircuitBreaker | CockatielBreaker
}

type AnyRecord = StreamRecord<unknown, unknown>

/** What comes out for what the function returned: a record is itself, nothing leaves the record as it was, all else becomes its value. */
export type Attempted<R extends AnyRecord, T> = [T] extends [never] ? R : Outcome<R, T>
/** None where nothing before can fail. */
type FailedBefore<E, F extends AnyRecord> = [F] extends [never] ? never : FailedRecord<E, F>
/** What no operator takes. */
interface SpreadOfARecord {
  readonly mistake: 'return record.with({ value: ... }), or spread record.value: { ...record } has neither key nor value'
}
type Outcome<R extends AnyRecord, T> = T extends FailedRecord
  ? never
  : T extends AnyRecord
    ? T
    : T extends undefined | void
      ? R
      : [NotSpread<T>] extends [never]
        ? SpreadOfARecord
        : StreamRecord<KeyOf<R>, T>

const schema = z.strictObject({
  concurrency: positiveInteger.default(16),
  order: z.enum(['key', 'partition', 'none']).default('key'),
  timeout: positiveDuration.optional(),
  retry: z
    .strictObject({
      times: z.number().int().min(0),
      delay: duration.default(100),
      maxDelay: duration.default(10_000),
      jitter: z.enum(['full', 'none']).default('full'),
      only: errorMatch.optional(),
      except: errorMatch.optional(),
    })
    .default({ times: 0, delay: 0, maxDelay: 0, jitter: 'none' }),
  step: z.string().min(1).default('attempt'),
  breaker: z
    .custom<CircuitBreaker | CockatielBreaker>((given) => given instanceof Breaker || isCockatiel(given), {
      message: 'expected circuitBreaker({ ... }), or a circuit breaker of cockatiel',
    })
    .optional(),
})

/**
 * Calls a function with each record, as often at once as allowed; what it throws or rejects with makes the record a FailedRecord, which
 * keeps its bytes.
 *
 * The function returns the new value, or a promise of it; or a record, made with `record.with({ ... })`; or nothing, which leaves the
 * record as it is. It may be called more than once for a record: after a crash, an abort or a rebalance its slice runs again. Give it an
 * idempotency key, `record.id`: it is the same over retries, delays and redrives.
 *
 * Its failures are typed by the record that the function got; those from before keep their type. One that is made outside of a pipe (`const
 * charge = attempt(...)`) takes any failures, whose type it does not know.
 *
 * Order: see `order`; FailedRecords from before pass untouched, in their place. Offsets: commit when all calls of the transaction are done.
 * State: none, but for that of a breaker. Memory: the records of the slice that wait. A function that returns no promise costs none.
 *
 * With a `breaker` that is open, nothing fails: records wait, the slice with them, and nothing more is read; heartbeats go on, and a stop
 * or a rebalance does not wait. In `Commit.meters`, `<step>.breaker.opened` counts how often it opened and `<step>.breaker.held` the calls
 * to be made again for it.
 *
 * @throws MillraceError INVALID_OPTIONS; OUTSIDE_SLICE when subscribed outside withTransaction. As `error` of a FailedRecord: what the
 * function threw, ATTEMPT_TIMEOUT
 * @example
 * orders.pipe(
 *   attempt(async (order, { signal }) => charge(order.value, { idempotencyKey: order.id, signal }), { timeout: '5s', retry: { times: 3, except: CardDeclined } }),
 *   deadLetter({ topic: 'orders.dead' }),
 *   toTopic({ topic: 'receipts', value: json() }),
 * )
 */
export function attempt<R extends AnyRecord, T, E = never, F extends AnyRecord = never>(
  fn: (record: R, context: AttemptContext) => T,
  options: AttemptOptions = {},
): OperatorFunction<R | FailedRecord<E, F> | SomeFailure, Attempted<R, Awaited<T>> | FailedRecord<unknown, R> | FailedBefore<E, F>> {
  const { breaker: given, ...settings } = parseOptions(schema, options, 'attempt')
  const { step } = settings
  if (typeof fn !== 'function') throw new MillraceError('INVALID_OPTIONS', 'attempt: its first argument is a function of the record')
  const breaker = given === undefined || given instanceof Breaker ? given : Breaker.around(given as CockatielBreaker)

  return operate(step, (target) => {
    const slice = activeSlice(`attempt '${step}'`)
    if (slice.gate !== undefined && settings.order !== 'key' && settings.concurrency > 1) {
      throw new MillraceError(
        'INVALID_OPTIONS',
        `attempt '${step}' stands before a retryTopic with ordered: 'key' and mixes the records of a key up: give it order: 'key'`,
      )
    }
    const runner = new AttemptRunner(
      fn as unknown as AttemptFunction,
      settings,
      target as Subscriber<unknown>,
      slice,
      breakerOf(slice, breaker, step),
    )
    target.add(() => runner.close())
    return {
      next(item) {
        if (item instanceof FailedRecord) runner.pass(item)
        else if (!(item instanceof LogRecord)) throw notARecord(item, step)
        // Planning calls nobody's service.
        else if (slice.mode === 'run') runner.add(item)
      },
      complete: () => runner.end(),
    }
  })
}

/** The first breaker given under the step's name serves all slices: one made inside the project function is made for each of them. */
function breakerOf(slice: SliceContext, given: Breaker | undefined, step: string): Breaker | undefined {
  if (given === undefined) return undefined
  const kept = slice.shared(`breaker of ${step}`, () => given)
  if (slice.mode === 'plan' && kept !== given) {
    throw new MillraceError(
      'INVALID_OPTIONS',
      `two steps with circuit breakers are called '${step}': give each a name of its own (step: '...'), by which its breaker is kept from slice to slice`,
    )
  }
  return kept
}

function isCockatiel(given: unknown): given is CockatielBreaker {
  const policy = given as Partial<CockatielBreaker> | null | undefined
  return typeof policy?.execute === 'function' && typeof policy.onStateChange === 'function' && typeof policy.state === 'number'
}

function notARecord(item: unknown, step: string): MillraceError {
  unspread(item, `what attempt '${step}' was given`)
  return new MillraceError(
    'INVALID_OPTIONS',
    `attempt '${step}' was given ${item === null ? 'null' : `a ${typeof item}`} that is not a record: derive records with record.with({ ... }), or make one with record({ ... })`,
  )
}

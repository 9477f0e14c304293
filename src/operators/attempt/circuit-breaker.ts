import {
  CircuitState,
  ConsecutiveBreaker,
  circuitBreaker as cockatielBreaker,
  handleWhen,
  isBrokenCircuitError,
  type IBackoffFactory,
} from 'cockatiel'
import { BehaviorSubject, type Observable } from 'rxjs'
import { z } from 'zod'
import { systemClock, type Clock } from '../../record/clock.js'
import type { Duration } from '../../record/duration.js'
import { errorMessage } from '../../record/error.js'
import { quietLogger, type Logger } from '../../record/logger.js'
import { Notice } from '../../runtime/notice.js'
import type { BreakerStatus } from '../../runtime/status/status.js'
import { functionOption, parseOptions, positiveDuration, positiveInteger } from '../../runtime/options.js'

/** 'open': calls wait. 'half-open': one call tries whether it works again. 'isolated': held open by hand (cockatiel's `isolate`). */
export type BreakerState = 'closed' | 'open' | 'half-open' | 'isolated'

export interface CircuitBreakerOptions {
  /** Failures in a row that open it. Default 5. */
  readonly failures?: number
  /** How long it stays open before one call tries again. Default '10s'. */
  readonly resetAfter?: Duration
  /** Whether an error speaks of the service called; others, such as a refused order, neither open it nor keep it open. Default: all do. */
  readonly when?: (error: unknown) => boolean
  /**
   * How often the call of one record may fail while the breaker is open or opens. Then the record is taken to be at fault, and becomes a
   * FailedRecord, so that a poison that was alone in a slice cannot keep the breaker open for ever. Default 5.
   */
  readonly maxHolds?: number
  /** Called with each new state, and the error that opened it. */
  readonly onState?: (state: BreakerState, error: unknown) => void
}

/** Counts failures of a service and, while it is down, has `attempt` wait instead of failing records. */
export interface CircuitBreaker {
  readonly state: BreakerState
  /** The state, and each new one. */
  readonly states: Observable<BreakerState>
}

/** What is used of a circuit breaker of cockatiel, of any of its versions. */
export interface CockatielBreaker {
  readonly state: number
  readonly onStateChange: (listener: (state: number) => void) => { dispose(): void }
  execute<T>(fn: () => PromiseLike<T> | T): Promise<T>
  /** Held open until that is disposed of. */
  isolate?(): { dispose(): void }
}

const schema = z.strictObject({
  failures: positiveInteger.default(5),
  resetAfter: positiveDuration.default(10_000),
  when: functionOption<(error: unknown) => boolean>('a function of the error').default(() => () => true),
  maxHolds: positiveInteger.default(5),
  onState: functionOption<(state: BreakerState, error: unknown) => void>('a function of the state').optional(),
})

/**
 * Makes a circuit breaker for `attempt`: when a service fails several times in a row, calls stop, intake pauses, and after a while one call
 * at a time tries whether it is back. Records wait meanwhile: they do not fail.
 *
 * State: for the life of the pipeline, also where it is made inside the function given to withTransaction; one made outside can be shared
 * by several steps and pipelines. It is cockatiel's, on the pipeline's clock.
 *
 * @throws MillraceError INVALID_OPTIONS
 * @example
 * const payments = circuitBreaker({ failures: 5, resetAfter: '10s' })
 * payments.states.subscribe((state) => gauge.set({ state }))
 * records.pipe(attempt(charge, { breaker: payments }))
 */
export function circuitBreaker(options: CircuitBreakerOptions = {}): CircuitBreaker {
  return Breaker.of(options)
}

/** How long a policy of somebody else's, which does not tell when it lets calls through again, is left alone. */
const ASK_AGAIN_MS = 500
const DEFAULT_MAX_HOLDS = 5
const STATES: Readonly<Record<number, BreakerState>> = {
  [CircuitState.Closed]: 'closed',
  [CircuitState.Open]: 'open',
  [CircuitState.HalfOpen]: 'half-open',
  [CircuitState.Isolated]: 'isolated',
}

interface Rules {
  readonly counts: (error: unknown) => boolean
  readonly maxHolds: number
  readonly onState: ((state: BreakerState, error: unknown) => void) | undefined
  readonly reopenMs: number
}

/** What `attempt` sees of a breaker. */
export class Breaker implements CircuitBreaker {
  private static readonly known = new WeakMap<CockatielBreaker, Breaker>()
  private readonly subject: BehaviorSubject<BreakerState>
  readonly states: Observable<BreakerState>
  private clock: Clock = systemClock
  private logger: Logger = quietLogger
  private step = ''
  /** While open: when a call may try. */
  private retryAt = 0
  private lastError: unknown
  private openings = 0
  /** Being closed by hand: what it passes through on the way is nobody's business. */
  private byHand = false
  private notice = new Notice(systemClock)

  private constructor(
    private readonly policy: CockatielBreaker,
    private readonly rules: Rules,
  ) {
    this.subject = new BehaviorSubject(this.state)
    this.states = this.subject.asObservable()
    policy.onStateChange((state) => this.changed(STATES[state] ?? 'open'))
  }

  static of(options: CircuitBreakerOptions): Breaker {
    const { failures, resetAfter, when, maxHolds, onState } = parseOptions(schema, options, 'circuitBreaker')
    // cockatiel asks the wall clock whether the time is up, and the time to wait of this object: so the latter answers by the pipeline's
    // clock.
    const byOurClock: IBackoffFactory<unknown> & { readonly duration: number } = {
      get duration() {
        return breaker.clock.monotonic() >= breaker.retryAt ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY
      },
      next: () => byOurClock,
    }
    const policy = cockatielBreaker(handleWhen(when), { breaker: new ConsecutiveBreaker(failures), halfOpenAfter: byOurClock })
    const breaker: Breaker = new Breaker(policy, { counts: when, maxHolds, onState, reopenMs: resetAfter })
    return breaker
  }

  /** The one breaker for a policy, however often it is given. */
  static around(policy: CockatielBreaker): Breaker {
    const known =
      this.known.get(policy) ??
      new Breaker(policy, { counts: () => true, maxHolds: DEFAULT_MAX_HOLDS, onState: undefined, reopenMs: ASK_AGAIN_MS })
    this.known.set(policy, known)
    return known
  }

  get state(): BreakerState {
    return STATES[this.policy.state] ?? 'open'
  }

  /** Whose clock and log it goes by. */
  join(step: string, clock: Clock, logger: Logger): void {
    this.step = step
    if (clock !== this.clock) this.notice = new Notice(clock)
    this.clock = clock
    this.logger = logger
  }

  breakerStatus(): BreakerStatus {
    return { step: this.step, state: this.state, retryInMs: this.retryInMs }
  }

  /** Closes it, for those who know that the service is back; false where it is closed, or held open by the program. */
  closeByHand(): boolean {
    const { policy, state } = this
    if (state === 'closed' || state === 'isolated' || policy.isolate === undefined) return false
    this.byHand = true
    try {
      // A policy closes at once only where what isolated it is over.
      policy.isolate().dispose()
    } finally {
      this.byHand = false
    }
    this.changed(this.state)
    return this.state === 'closed'
  }

  /** Whether a call may begin. */
  admits(): boolean {
    const { state } = this
    return state === 'closed' || (state === 'open' && this.clock.monotonic() >= this.retryAt)
  }

  /** Milliseconds until a call may try; undefined where a new state will tell. */
  get retryInMs(): number | undefined {
    return this.state === 'open' ? Math.max(0, this.retryAt - this.clock.monotonic()) : undefined
  }

  /** Runs `fn`, unless calls have to wait: then rejects with what `refused` knows. */
  async call<T>(fn: () => PromiseLike<T>): Promise<T> {
    try {
      return await this.policy.execute(() =>
        fn().then(undefined, (error: unknown) => {
          this.lastError = error
          throw error
        }),
      )
    } catch (error) {
      if (this.refused(error)) this.retryAt = Math.max(this.retryAt, this.clock.monotonic() + ASK_AGAIN_MS)
      throw error
    }
  }

  refused(error: unknown): boolean {
    return isBrokenCircuitError(error)
  }

  /** Whether a call that failed so, `holds` times by now, is to wait and be tried again rather than count against its record. */
  holds(error: unknown, holds: number): boolean {
    return this.state !== 'closed' && holds <= this.rules.maxHolds && this.rules.counts(error)
  }

  /** How often it opened since somebody last asked. */
  takeOpenings(): number {
    const { openings } = this
    this.openings = 0
    return openings
  }

  private changed(state: BreakerState): void {
    if (this.byHand) return
    if (state === 'open' || state === 'isolated') {
      this.openings++
      this.retryAt = this.clock.monotonic() + this.rules.reopenMs
    }
    const { step } = this
    if (state === 'open')
      this.notice.add(1, (times) =>
        this.logger.warn(
          { step, times, error: errorMessage(this.lastError), retryInMs: this.rules.reopenMs },
          'a circuit breaker opened: its step waits, and nothing more is read',
        ),
      )
    else this.logger.info({ step }, `a circuit breaker is ${state}`)
    this.subject.next(state)
    try {
      this.rules.onState?.(state, this.lastError)
    } catch (error) {
      // Thrown on, it would be taken for a failure of the call that changed the state.
      this.logger.error({ step, error: errorMessage(error) }, 'onState of a circuit breaker failed')
    }
  }
}

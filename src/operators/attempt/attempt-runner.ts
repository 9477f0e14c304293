import type { Subscriber } from 'rxjs'
import { MillraceError } from '../../record/error.js'
import { FailedRecord } from '../../record/failed-record.js'
import { LogRecord } from '../../record/record.js'
import { Mark, mark } from '../../runtime/accounting.js'
import { backoffMs, type Backoff } from './backoff.js'
import type { Breaker } from './circuit-breaker.js'
import type { Gate, SliceContext } from '../../runtime/context.js'
import { worthRetrying } from '../../runtime/error-match.js'
import { FailureNotice } from '../../runtime/notice.js'
import { Fifo } from '../../runtime/fifo.js'
import { AnyOrder, InputOrder, KeyOrder, keyText, type Job, type JobOrder } from './job-order.js'

type AnyRecord = LogRecord<unknown, unknown>

export type AttemptFunction = (record: AnyRecord, context: { readonly signal: AbortSignal }) => unknown

export interface AttemptSettings {
  readonly concurrency: number
  readonly order: 'key' | 'partition' | 'none'
  readonly timeout?: number | undefined
  readonly retry: Backoff & { readonly times: number; readonly only?: FailedTest | undefined; readonly except?: FailedTest | undefined }
  readonly step: string
}

type FailedTest = (failed: FailedRecord) => boolean

/** One record and how far it has come. */
class Work implements Job<unknown> {
  output: unknown
  done = false
  tries = 0
  /** How often it failed for the breaker's sake. */
  holds = 0

  constructor(
    readonly record: AnyRecord,
    readonly key: string | undefined,
  ) {}
}

/** One call of the user's function: its signal, made only if asked for, and its time limit. */
class Call {
  private controller: AbortController | undefined
  private reason: unknown
  /** Ends it from outside. */
  abandon: (error: unknown) => void = () => {}

  get signal(): AbortSignal {
    if (this.controller === undefined) {
      this.controller = new AbortController()
      if (this.reason !== undefined) this.controller.abort(this.reason)
    }
    return this.controller.signal
  }

  abort(reason: unknown): void {
    this.reason = reason
    this.controller?.abort(reason)
  }
}

/**
 * What `attempt` does in one slice: calls the function for each record, not too often at once, again if it fails, and lets the results out in order.
 */
export class AttemptRunner {
  private readonly order: JobOrder<Work>
  /** Records that hold a place: their function runs, or waits for its next try. */
  private running = 0
  /** Records that may start, in the order they came. */
  private readonly ready = new Fifo<Work>()
  /** Those that another one was in the way of: they take over its place. */
  private readonly successors: Work[] = []
  private readonly calls = new Set<Call>()
  private readonly timers = new Set<() => void>()
  private pumping = false
  private ended = false
  private closed = false
  /** Whether all of the slice waits for the breaker. */
  private held = false
  private knock: (() => void) | undefined
  private readonly leaveBreaker: () => void
  private readonly gate: Gate | undefined
  private readonly worth: FailedTest
  private readonly notice: FailureNotice

  constructor(
    private readonly fn: AttemptFunction,
    private readonly settings: AttemptSettings,
    private readonly target: Subscriber<unknown>,
    private readonly slice: SliceContext,
    private readonly breaker: Breaker | undefined,
  ) {
    this.gate = slice.gate
    this.notice = new FailureNotice(slice, `attempt '${settings.step}'`, 'calls failed and are made again, in place')
    this.worth = worthRetrying(settings.retry.only, settings.retry.except)
    const emit = (output: unknown): void => target.next(output)
    const { order, concurrency } = settings
    this.order =
      order === 'none' ? new AnyOrder(emit) : order === 'partition' || concurrency === 1 ? new InputOrder(emit) : new KeyOrder(emit)
    if (breaker === undefined || slice.mode === 'plan') {
      this.leaveBreaker = () => {}
    } else {
      breaker.join(settings.step, slice.clock, slice.logger)
      const states = breaker.states.subscribe(() => this.pump())
      this.leaveBreaker = () => states.unsubscribe()
    }
  }

  /** A record that failed before keeps its place and is left alone. */
  pass(failed: FailedRecord): void {
    const work = new Work(failed.record, this.keyOf(failed.record))
    work.output = failed
    work.done = true
    this.order.enter(work)
  }

  add(record: AnyRecord): void {
    if (this.breaker === undefined && this.running === 0 && this.ready.length === 0) {
      this.addAlone(record)
      return
    }
    const work = new Work(record, this.keyOf(record))
    if (this.order.enter(work)) this.ready.push(work)
    this.pump()
  }

  /** No more records come. */
  end(): void {
    this.ended = true
    this.pump()
  }

  /** The slice is over: what is still under way counts for nothing. */
  close(): void {
    if (this.closed) return
    this.closed = true
    this.leaveBreaker()
    this.hold(false)
    for (const cancel of this.timers) cancel()
    this.timers.clear()
    if (this.calls.size === 0) return
    const error = new MillraceError(
      'CLOSED',
      'the slice was given up: the pipeline stops, the group rebalances, or another record failed it. Its records come again',
    )
    for (const call of this.calls) {
      call.abort(error)
      call.abandon(error)
    }
    this.calls.clear()
  }

  /** With nothing else under way, a function that returns no promise needs none of what is here. */
  private addAlone(record: AnyRecord): void {
    if (this.gate?.holds(record) === true) {
      this.target.next(this.kept(record))
      return
    }
    const call = new Call()
    let result: unknown
    try {
      result = this.fn(record, call)
    } catch (error) {
      const failed = this.failure(record, error, 1)
      if (this.settings.retry.times === 0 || !failed.retryable) this.target.next(this.handOver(failed))
      else this.failed(this.begin(record), error)
      return
    }
    if (isThenable(result)) this.follow(this.begin(record), call, result)
    else this.target.next(this.outcome(record, result))
  }

  private begin(record: AnyRecord): Work {
    const work = new Work(record, this.keyOf(record))
    this.order.enter(work)
    this.running++
    work.tries = 1
    return work
  }

  /** Starts what may start. */
  private pump(): void {
    if (this.pumping || this.closed) return
    this.pumping = true
    try {
      while (!this.closed && this.running < this.settings.concurrency && this.waiting > 0 && this.breaker?.admits() !== false) {
        this.running++
        this.run((this.successors.pop() ?? this.ready.shift()) as Work)
      }
    } finally {
      this.pumping = false
    }
    if (this.closed) return
    this.hold(this.waiting > 0 && this.breaker?.admits() === false)
    if (this.ended && this.running === 0 && this.waiting === 0) {
      this.notice.end()
      this.target.complete()
    }
  }

  private get waiting(): number {
    return this.successors.length + this.ready.length
  }

  /** Waits for the breaker, or stops waiting for it. */
  private hold(shut: boolean): void {
    const held = shut && this.running === 0
    if (held !== this.held) {
      this.held = held
      this.slice.waits.outside += held ? 1 : -1
    }
    this.knock?.()
    this.knock = undefined
    const inMs = shut ? this.breaker?.retryInMs : undefined
    if (inMs !== undefined) this.knock = this.after(inMs, () => this.pump())
  }

  private run(work: Work): void {
    if (work.tries === 0 && this.gate?.holds(work.record) === true) {
      this.finish(work, this.kept(work.record))
      return
    }
    const call = new Call()
    work.tries++
    if (this.breaker !== undefined) {
      this.runGuarded(work, call, this.breaker)
      return
    }
    let result: unknown
    try {
      result = this.fn(work.record, call)
    } catch (error) {
      this.failed(work, error)
      return
    }
    if (isThenable(result)) this.follow(work, call, result)
    else this.succeeded(work, result)
  }

  /** Through the breaker, which is to see the time limit as a failure too. */
  private runGuarded(work: Work, call: Call, breaker: Breaker): void {
    const trial = breaker.state !== 'closed'
    breaker
      .call(
        () =>
          new Promise<unknown>((resolve, reject) => {
            // A trial that is given up opens the breaker again; any other call that is given up says nothing, and never ends.
            if (trial) call.abandon = reject
            const result = this.fn(work.record, call)
            if (isThenable(result)) this.watch(call, result, resolve, reject)
            else resolve(result)
          }),
      )
      .then(
        (value) => this.succeeded(work, value),
        (error: unknown) => this.failed(work, error),
      )
  }

  private follow(work: Work, call: Call, result: PromiseLike<unknown>): void {
    this.watch(
      call,
      result,
      (value) => this.succeeded(work, value),
      (error) => this.failed(work, error),
    )
  }

  /** Tells once how a call ended: by itself, or by its time limit. */
  private watch(call: Call, result: PromiseLike<unknown>, onValue: (value: unknown) => void, onError: (error: unknown) => void): void {
    const { timeout, step } = this.settings
    let over = false
    let cancelTimer: (() => void) | undefined
    const ended = (): boolean => {
      if (over || this.closed) return false
      over = true
      this.calls.delete(call)
      if (cancelTimer !== undefined) {
        cancelTimer()
        this.slice.waits.bounded--
      }
      this.slice.progress()
      return true
    }
    this.calls.add(call)
    if (timeout !== undefined) {
      this.slice.waits.bounded++
      cancelTimer = this.after(timeout, () => {
        const error = new MillraceError(
          'ATTEMPT_TIMEOUT',
          `${step} took longer than its time limit of ${timeout} ms: raise the timeout, or see why the call is slow`,
          { retryable: true },
        )
        if (!ended()) return
        call.abort(error)
        onError(error)
      })
    }
    result.then(
      (value) => {
        if (ended()) onValue(value)
      },
      (error: unknown) => {
        if (ended()) onError(error)
      },
    )
  }

  private succeeded(work: Work, result: unknown): void {
    if (this.closed) return
    try {
      this.finish(work, this.outcome(work.record, result))
    } catch (error) {
      this.target.error(error)
    }
  }

  private failed(work: Work, error: unknown): void {
    if (this.closed) return
    const { retry, step } = this.settings
    if (this.breaker !== undefined) {
      this.slice.meter(`${step}.breaker.opened`).count += this.breaker.takeOpenings()
      const refused = this.breaker.refused(error)
      if (refused || this.breaker.holds(error, work.holds + 1)) {
        if (!refused) {
          work.holds++
          this.slice.meter(`${step}.breaker.held`).count++
        }
        work.tries--
        this.running--
        // Behind the others, so that each time another record tries; unless they are to follow it strictly.
        if (this.settings.concurrency === 1) this.successors.push(work)
        else this.ready.push(work)
        this.pump()
        return
      }
    }
    const failure = this.failure(work.record, error, work.tries)
    if (work.tries > retry.times || !failure.retryable) {
      this.finish(work, this.handOver(failure))
      return
    }
    this.notice.add(failure)
    this.slice.waits.bounded++
    this.after(backoffMs(retry, work.tries), () => {
      this.slice.waits.bounded--
      this.running--
      this.successors.push(work)
      this.pump()
    })
  }

  private finish(work: Work, output: unknown): void {
    work.output = output
    work.done = true
    this.running--
    const successor = this.order.leave(work)
    if (successor !== undefined) this.successors.push(successor)
    this.pump()
  }

  /** What the record is if it is not tried again, and whether it is to be. */
  private failure(record: AnyRecord, error: unknown, tries: number): FailedRecord {
    const { step } = this.settings
    const failed = new FailedRecord(record, error, step, tries)
    return this.worth(failed) === failed.retryable ? failed : new FailedRecord(record, error, step, tries, !failed.retryable)
  }

  private handOver(failed: FailedRecord): FailedRecord {
    mark(failed.record, Mark.failed)
    this.gate?.failing(failed.record)
    return failed
  }

  /** What the user's function returned, as what goes on. */
  private outcome(record: AnyRecord, result: unknown): unknown {
    if (result === undefined) return record
    if (result instanceof LogRecord) return result
    if (result instanceof FailedRecord) {
      mark(result.record, Mark.failed)
      this.gate?.failing(record)
      return result
    }
    return record.with({ value: result })
  }

  /** Not tried, since one of its key before it failed. */
  private kept(record: AnyRecord): FailedRecord {
    return new FailedRecord(
      record,
      new MillraceError('KEY_IN_RETRY', `${record.id} waits for a record of its key that is being retried`, {
        retryable: true,
        origin: record.origin,
      }),
      this.settings.step,
      0,
    )
  }

  private keyOf(record: AnyRecord): string | undefined {
    return this.settings.order === 'key' ? keyText(record.key) : undefined
  }

  private after(ms: number, fn: () => void): () => void {
    const stop = this.slice.clock.after(ms, () => {
      this.timers.delete(cancel)
      fn()
    })
    const cancel = (): void => {
      this.timers.delete(cancel)
      stop()
    }
    this.timers.add(cancel)
    return cancel
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && typeof (value as { readonly then?: unknown }).then === 'function'
}

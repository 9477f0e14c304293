import type { Subscriber } from 'rxjs'
import { FailedRecord, inLog } from '../../record/failed-record.js'
import { LogRecord } from '../../record/record.js'
import { backoffMs, type Backoff } from './backoff.js'
import type { Breaker } from './circuit-breaker.js'
import type { Gate, SliceContext } from '../../runtime/context.js'
import { worthRetrying } from '../../runtime/error-match.js'
import { FailureNotice } from '../../runtime/notice.js'
import { Fifo } from '../../runtime/fifo.js'
import { CallCounts } from './call-counts.js'
import { Call, Calls, isThenable } from './calls.js'
import { AnyOrder, InputOrder, KeyOrder, keyText, type Job, type JobOrder } from './job-order.js'
import { Outcomes } from './outcomes.js'

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

/**
 * What `attempt` does in one slice: calls the function for each record, not too often at once, again if it fails, and lets the results out
 * in order.
 */
export class AttemptRunner {
  private readonly order: JobOrder<Work>
  /** Records that hold a place: their function runs, or waits for its next try. */
  private running = 0
  /** Records that may start, in the order they came. */
  private readonly ready = new Fifo<Work>()
  /** Those that another one was in the way of: they take over its place. */
  private readonly successors: Work[] = []
  private readonly counts: CallCounts
  private readonly calls: Calls
  private pumping = false
  private ended = false
  private closed = false
  /** Whether all of the slice waits for the breaker. */
  private held = false
  private knock: (() => void) | undefined
  private readonly leaveBreaker: () => void
  private readonly gate: Gate | undefined
  private readonly outcomes: Outcomes
  private readonly notice: FailureNotice
  private readonly fn: AttemptFunction

  constructor(
    fn: AttemptFunction,
    private readonly settings: AttemptSettings,
    private readonly target: Subscriber<unknown>,
    private readonly slice: SliceContext,
    private readonly breaker: Breaker | undefined,
  ) {
    this.gate = slice.gate
    this.notice = new FailureNotice(slice, `attempt '${settings.step}'`, 'calls failed and are made again, in place')
    this.counts = slice.shared(`calls of ${settings.step}`, () => new CallCounts(settings.step, settings.concurrency, slice.clock))
    this.calls = new Calls(slice, settings.step, settings.timeout, this.counts)
    this.outcomes = new Outcomes(settings.step, worthRetrying(settings.retry.only, settings.retry.except), slice.gate, slice.traces)
    this.fn = this.followed(fn)
    const emit = this.emitting()
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
    const record = inLog(failed)
    const work = new Work(record, this.keyOf(record))
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
    this.calls.close()
  }

  /** With nothing else under way, a function that returns no promise needs none of what is here. */
  private addAlone(record: AnyRecord): void {
    if (this.gate?.holds(record) === true) {
      this.target.next(this.outcomes.kept(record))
      return
    }
    const call = new Call()
    let result: unknown
    try {
      result = this.fn(record, call)
    } catch (error) {
      const failed = this.outcomes.failure(record, error, 1)
      if (this.settings.retry.times === 0 || !failed.retryable) this.target.next(this.outcomes.handOver(failed))
      else this.failed(this.begin(record), error)
      return
    }
    if (isThenable(result)) this.follow(this.begin(record), call, result)
    else this.target.next(this.outcomes.of(record, result))
  }

  /** Where tracing is on, the function is called as part of its record's trace, and of no other's whose end let it begin. */
  private followed(fn: AttemptFunction): AttemptFunction {
    const { traces } = this.slice
    return traces === undefined ? fn : (record, context) => traces.within(record, () => fn(record, context))
  }

  private emitting(): (output: unknown) => void {
    const { target, slice } = this
    const { traces } = slice
    if (traces === undefined) return (output) => target.next(output)
    return (output) => {
      const record = output instanceof FailedRecord ? inLog(output) : output
      if (record instanceof LogRecord) traces.within(record as AnyRecord, () => target.next(output))
      else target.next(output)
    }
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
    const most = this.counts.most(this.settings.concurrency)
    try {
      while (!this.closed && this.running < most && this.waiting > 0 && this.breaker?.admits() !== false) {
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
    if (inMs !== undefined) this.knock = this.calls.after(inMs, () => this.pump())
  }

  private run(work: Work): void {
    if (work.tries === 0 && this.gate?.holds(work.record) === true) {
      this.finish(work, this.outcomes.kept(work.record))
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
            if (isThenable(result)) this.calls.watch(call, result, resolve, reject)
            else resolve(result)
          }),
      )
      .then(
        (value) => this.succeeded(work, value),
        (error: unknown) => this.failed(work, error),
      )
  }

  private follow(work: Work, call: Call, result: PromiseLike<unknown>): void {
    this.calls.watch(
      call,
      result,
      (value) => this.succeeded(work, value),
      (error) => this.failed(work, error),
    )
  }

  private succeeded(work: Work, result: unknown): void {
    if (this.closed) return
    try {
      this.finish(work, this.outcomes.of(work.record, result))
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
    const failure = this.outcomes.failure(work.record, error, work.tries)
    if (work.tries > retry.times || !failure.retryable) {
      this.finish(work, this.outcomes.handOver(failure))
      return
    }
    this.notice.add(failure)
    this.slice.waits.bounded++
    this.calls.after(backoffMs(retry, work.tries), () => {
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

  private keyOf(record: AnyRecord): string | undefined {
    return this.settings.order === 'key' ? keyText(record.key) : undefined
  }
}

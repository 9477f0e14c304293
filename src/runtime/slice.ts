import type { Observable, Subscription } from 'rxjs'
import { MillraceError } from '../record/error.js'
import type { Clock } from '../record/clock.js'
import type { Logger } from '../record/logger.js'
import type { RawRecord } from '../record/record.js'
import type { StoreSpec, TaskStore } from '../state/store.js'
import { WaitReport } from '../record/wait-report.js'
import { isUnavailable } from './blame.js'
import { MAX_RETRY_MS, RETRY_MS } from './persist.js'
import {
  runInSlice,
  type Alarm,
  type Gate,
  type InletSpec,
  type Meter,
  type Participant,
  type RetryScope,
  type SliceContext,
  type Standing,
} from './context.js'
import type { Effects, TopicProgress } from './effects.js'
import type { TopicOutput } from './outputs.js'
import type { SliceEnvironment } from './slice-environment.js'
import { cutOff, endedEarly, stalled, unheard } from './slice-errors.js'
import { SliceStream, type RecordStream } from './slice-stream.js'
import type { SliceTiming } from './slice-timing.js'
import { Stages } from './stages.js'
import type { RoundTraces } from './tracing/traces.js'

/** User code: one slice in, anything out; done when the returned observable completes. */
export type Project = (records: RecordStream) => Observable<unknown>

interface Flushing {
  delayMs: number
  cancel: () => void
  report?: WaitReport
}

/** One run of the project function over the records of one task in one transaction. */
export class Slice implements SliceContext {
  readonly mode = 'run'
  closed = false
  /** Set when the projected observable failed or ended where it must not. */
  failure: { readonly error: unknown; readonly pushing: RawRecord | undefined } | undefined
  completed = false
  private inputEnded = false
  private ending = false
  private projectEnded = false
  /** Counts anything that comes out, so that slow is told from stuck. */
  signsOfLife = 0
  readonly waits = { bounded: 0, outside: 0, calls: 0 }
  private readonly timing: SliceTiming | undefined
  readonly stages: Stages
  private pushing: RawRecord | undefined
  private readonly stream: SliceStream
  private readonly inlets = new Map<string, (record: RawRecord) => void>()
  private readonly rings = new Map<string, () => void>()
  private subscription: Subscription | undefined
  readonly pieces = undefined
  /** Set while, and after, the serdes of its stores are waited for. */
  private flushing: Flushing | undefined
  gate: Gate | undefined
  /** Asked about each record that is to go in. */
  private front: Gate | undefined

  constructor(
    readonly inputs: readonly string[],
    readonly partition: number,
    project: Project,
    private readonly environment: SliceEnvironment,
  ) {
    this.timing = environment.profile?.next()
    this.stages = new Stages(this.timing)
    this.stream = new SliceStream(this.stages, inputs, partition)
    runInSlice(this, () => {
      try {
        this.subscription = this.stages.observable(project(this.stream), 'the project function').subscribe({
          next: () => {
            this.signsOfLife++
          },
          error: (error: unknown) => this.fail(error),
          complete: () => this.complete(),
        })
      } catch (error) {
        this.fail(error)
      }
    })
  }

  /** True when nothing more is expected of it. */
  get ended(): boolean {
    return this.completed || this.failure !== undefined
  }

  /** Runs `feed`, which calls `push`, with this slice active. */
  feed(feed: () => void): void {
    if (this.timing === undefined) runInSlice(this, feed)
    else this.timing.within(this.stream.stage, () => runInSlice(this, feed))
    this.pushing = undefined
  }

  push(record: RawRecord): void {
    this.pushing = record
    this.reenter(record)
  }

  /** A record of a topic of the pipeline's own. */
  pushInto(topic: string, record: RawRecord): void {
    this.pushing = record
    const push = this.inlets.get(topic)
    if (push === undefined) {
      throw new MillraceError(
        'NOT_PLANNED',
        `no operator of the slice takes the records of '${topic}': the one that reads it was seen in planning, and is now subscribed in a branch that was not taken. Move it out of mergeMap, defer or groupBy`,
        { origin: record.origin },
      )
    }
    try {
      push(record)
    } catch (error) {
      this.fail(error)
    }
  }

  /** Rings the alarms that are due. */
  ring(): Slice['failure'] {
    const names = this.environment.alarms.take()
    runInSlice(this, () => {
      try {
        for (const name of names) if (!this.ended) this.rings.get(name)?.()
      } catch (error) {
        this.fail(error)
      }
    })
    return this.failure
  }

  endInput(): void {
    if (this.inputEnded) return
    this.inputEnded = true
    this.ending = true
    runInSlice(this, () => this.stream.complete())
    this.ending = false
    if (this.projectEnded) this.complete()
  }

  /** Stops user code; nothing that still comes out of it counts. */
  close(): void {
    this.closed = true
    this.subscription?.unsubscribe()
    this.flushing?.cancel()
    this.flushing?.report?.end()
  }

  /** Why the slice does not end, as far as can be seen. */
  stalledError(silentMs: number, records: number): MillraceError {
    return stalled(this.partition, silentMs, records, this.stages.blame(), this.flushing !== undefined)
  }

  outputs(operator: string, topics: readonly string[]): ReadonlyMap<string, TopicOutput> {
    return new Map(
      topics.map((topic) => {
        const output = this.environment.outputs.topic(topic)
        if (output === undefined) {
          throw new MillraceError(
            'NOT_PLANNED',
            `${operator} writes to '${topic}', which planning did not see: it is subscribed in a branch that an empty slice does not take. Name it in withTransaction's options: declare: { topics: ['${topic}'] }`,
          )
        }
        return [topic, output] as const
      }),
    )
  }

  get group(): string {
    return this.environment.group
  }

  get traces(): RoundTraces | undefined {
    return this.environment.traces
  }

  get tasks(): number {
    return this.environment.tasks
  }

  get behind(): boolean {
    return this.environment.behind()
  }

  store<S extends TaskStore>(operator: string, spec: StoreSpec<S>): S {
    return this.environment.state.store(operator, spec)
  }

  inlet(_operator: string, { topic }: InletSpec, push: (record: RawRecord) => void): void {
    this.inlets.set(topic, push)
  }

  reenter(record: RawRecord): void {
    if (this.front === undefined || this.admits(this.front, record)) this.stream.push(record)
  }

  /** A record that was taken out by the error policy: see `Gate`. */
  leaveOut(record: RawRecord): void {
    runInSlice(this, () => this.front?.leftOut(record))
  }

  beforeRetry<T>({ gate }: RetryScope, subscribe: () => T): T {
    const before = this.gate
    this.front ??= gate
    this.gate = gate ?? before
    try {
      return subscribe()
    } finally {
      this.gate = before
    }
  }

  warn(): void {}

  wake(): void {
    this.environment.onEnd()
  }

  join(participant: Participant): void {
    this.environment.join(participant)
  }

  effects<E extends Effects>(operator: string, key: object): E {
    return this.environment.effects.get(operator, key) as E
  }

  progressOfTask(): readonly TopicProgress[] {
    return this.environment.progress()
  }

  get standing(): Standing {
    return this.environment.standing
  }

  alarm(name: string, ring: () => void): Alarm {
    this.rings.set(name, ring)
    const { alarms } = this.environment
    return {
      get at() {
        return alarms.at(name)
      },
      set: (at) => alarms.set(name, at),
      setIn: (ms) => alarms.setIn(name, ms),
    }
  }

  meter(name: string): Meter {
    let meter = this.environment.meters.get(name)
    if (meter === undefined) this.environment.meters.set(name, (meter = { count: 0 }))
    return meter
  }

  progress(): void {
    this.signsOfLife++
  }

  get clock(): Clock {
    return this.environment.clock
  }

  get logger(): Logger {
    return this.environment.logger
  }

  shared<T>(name: string, create: () => T): T {
    const { shared } = this.environment
    if (!shared.has(name)) shared.set(name, create())
    return shared.get(name) as T
  }

  private admits(front: Gate, record: RawRecord): boolean {
    try {
      return front.admits(record)
    } catch (error) {
      this.fail(error)
      return false
    }
  }

  private fail(error: unknown): void {
    if (this.ended || this.closed) return
    this.failure = { error, pushing: this.pushing }
    this.environment.onEnd()
  }

  private complete(): void {
    if (this.ended || this.closed) return
    this.projectEnded = true
    // Others that listen to the slice learn of its end in the same turn.
    if (this.ending) return
    const error = this.endedEarly() ?? this.cutOff()
    if (error !== undefined) return this.fail(error)
    this.flush()
  }

  /** What stores hold is encoded here, so that a state that cannot be kept fails the records that made it. */
  private flush(): void {
    const { state, clock } = this.environment
    try {
      const preparing = state.prepare()
      if (preparing !== undefined) return this.flushLater(preparing)
      state.flush(clock.now())
    } catch (error) {
      return this.fail(error)
    }
    this.done()
  }

  private done(): void {
    this.completed = true
    if (this.timing !== undefined) this.environment.profile?.add(this.stages)
    this.environment.onEnd()
  }

  private flushLater(preparing: Promise<unknown>): void {
    const { state, clock } = this.environment
    this.flushing ??= { delayMs: RETRY_MS, cancel: () => {} }
    const { flushing } = this
    preparing.then(
      () => {
        if (this.closed || this.ended) return
        flushing.report?.end()
        try {
          state.flush(clock.now())
        } catch (error) {
          return this.fail(error)
        }
        this.done()
      },
      (error: unknown) => {
        if (this.closed || this.ended) return
        if (isUnavailable(error)) this.flushAgain(flushing, error)
        else this.fail(error)
      },
    )
  }

  /** Nothing that was put in is to blame: the serdes of its stores are asked again. */
  private flushAgain(flushing: Flushing, error: unknown): void {
    const { clock, logger } = this.environment
    flushing.report ??= new WaitReport(clock, logger, { partition: this.partition }, 'for the serdes of its stores to be able to answer')
    flushing.report.because(error)
    this.waits.outside++
    flushing.cancel = clock.after(flushing.delayMs, () => {
      this.waits.outside--
      this.flush()
    })
    flushing.delayMs = Math.min(MAX_RETRY_MS, flushing.delayMs * 2)
  }

  private endedEarly(): MillraceError | undefined {
    return this.inputEnded ? undefined : endedEarly(this.partition, this.pushing, this.stages.cutOff())
  }

  /** What completes while a part of it has not may have dropped what that part still held. */
  private cutOff(): MillraceError | undefined {
    if (this.stream.unheard) return unheard(this.partition)
    const cut = this.stages.cutOff()
    return cut === undefined ? undefined : cutOff(cut)
  }
}

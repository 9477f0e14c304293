import { Observable, Subscriber, isObservable, type Operator, type OperatorFunction } from 'rxjs'
import { MillraceError, errorMessage } from '../record/error.js'
import type { SliceTiming, StepTime, Timed } from './slice-timing.js'

/** One step of the pipes over a slice, and how many of its subscriptions have run to their end. */
export interface Stage extends Timed {
  /** What it takes its items from, where that is a stage as well. */
  readonly input: Stage | undefined
  /** Of the start of a pipe: the step that feeds it. */
  readonly feeder: Stage | undefined
  /** The first that was subscribed while this one was: of a piece made by `compose`, its last step. */
  inner: Stage | undefined
  /** What it is, where it stands in no pipe. */
  readonly name: string
  place: Place | undefined
  opened: number
  completed: number
  failure: { readonly error: unknown } | undefined
  time: StepTime | undefined
}

/** A step of a pipe that has a name, and the next one above it that has. */
export interface NamedStage {
  readonly stage: Stage
  readonly name: string
  /** Of `compose`. */
  readonly piece: string | undefined
  readonly after: Stage | undefined
}

interface Place {
  readonly position: number
  readonly of: number
  /** The piece made by `compose` that it counts in. */
  readonly piece: string | undefined
  readonly name: string
  /** Its stack tells where the pipe is; read only for a message, as making the text costs much. */
  readonly site: Error
}

/** An observable as RxJS's `lift` leaves it; these two fields are how it is made of its source. */
interface Lifted {
  readonly source?: Observable<unknown> | undefined
  readonly operator?: Operator<unknown, unknown> | undefined
}

/**
 * The steps of the pipes over one slice: those of the slice itself, of its side outputs, and of what the project function returned.
 *
 * Each has to run to its end, or records are lost without a word: one that is left before it completed (`take`, `race`) may hold records
 * that nobody waits for, one whose error somebody caught has dropped them. What cannot be seen: observables that user code makes of its own
 * accord, in `mergeMap`, in a group of `groupBy`, of a Subject.
 *
 * Costs nothing a record: the subscriber of a stage is the real one, only its `complete` and `error` are watched.
 */
export class Stages {
  private readonly all: Stage[] = []
  /** The one that is being subscribed: what asks the slice for something now belongs to it. */
  current: Stage | undefined

  /** `timing`: where the steps of this slice are timed. */
  constructor(readonly timing?: SliceTiming) {}

  /** The start of a pipe: a slice, or a side output. */
  root(name: string): Stage {
    return this.add(undefined, name)
  }

  add(input: Stage | undefined, name = ''): Stage {
    const feeder = name === '' ? undefined : this.current
    const stage: Stage = {
      input,
      feeder,
      inner: undefined,
      name,
      place: undefined,
      opened: 0,
      completed: 0,
      failure: undefined,
      time: undefined,
    }
    this.all.push(stage)
    return stage
  }

  /** Those that have a name, in the order they were made; what stands between them, and the pieces they stand in, are passed over. */
  steps(pieces: ReadonlySet<string>): readonly NamedStage[] {
    const named = new Map<Stage, string>()
    for (const stage of this.all) {
      const name = nameOf(stage)
      if (name !== undefined && !pieces.has(name)) named.set(stage, name)
    }
    const above = (stage: Stage | undefined): Stage | undefined => {
      let at = stage
      while (at !== undefined && !named.has(at)) at = (nameOf(at) === undefined ? undefined : at.inner) ?? at.input ?? at.feeder
      return at
    }
    return [...named].map(([stage, name]) => ({
      stage,
      name,
      piece: stage.place?.piece,
      after: above(stage.input ?? stage.feeder),
    }))
  }

  /** Subscribes a stage: while that lasts, it is the current one. */
  within<R>(stage: Stage, subscribe: () => R): R {
    const before = this.current
    if (before !== undefined) before.inner ??= stage
    this.current = stage
    try {
      return subscribe()
    } finally {
      this.current = before
    }
  }

  /**
   * What user code returned as an observable, watched.
   * @throws MillraceError PLAN_FAILED if it is none, with what is likely missing
   */
  observable<T>(given: Observable<T>, of: string): Observable<T> {
    if (isObservable(given)) return this.watched(given)
    const hint =
      (given as unknown) === undefined
        ? 'nothing: is a return missing?'
        : typeof (given as { readonly then?: unknown } | null)?.then === 'function'
          ? 'a promise: it may not be async, since it is called anew for each slice and has to listen at once; await inside of mergeMap or attempt'
          : `${given === null ? 'null' : `a ${typeof given}`} instead of an observable`
    throw new MillraceError('PLAN_FAILED', `${of} returned ${hint}`)
  }

  /** The pipe that ends in `observable`, as far up as RxJS shows it, with its steps watched: what stands behind a `merge` of branches. */
  watched<T>(observable: Observable<T>): Observable<T> {
    const { source, operator } = observable as Lifted
    if (observable instanceof StageStream || source === undefined || operator === undefined) return observable
    const above = this.watched(source)
    const stream = new StageStream<T>(this, this.add(above instanceof StageStream ? above.stage : undefined))
    return stream.lifting(above, operator as Operator<unknown, T>)
  }

  /** The first step whose input ended while it did not; undefined if all have ended. */
  blame(): string | undefined {
    const held = this.all.find(isOpen)
    return held === undefined ? undefined : described(held)
  }

  /** The steps that were timed; `key` is the same in every slice, and `name` costs much. */
  timed(): readonly {
    readonly key: string
    readonly name: () => string
    readonly operator: string | undefined
    readonly time: StepTime
  }[] {
    return this.all.flatMap((stage, i) => {
      const { time, place, input } = stage
      if (time === undefined) return []
      if (place === undefined && input === undefined && stage.name !== '')
        return [{ key: `reading ${i}`, name: () => (i === 0 ? 'reading' : stage.name), operator: undefined, time }]
      const key = [i, place?.position, place?.of, place?.name, place?.piece].join(' ')
      return [{ key, name: () => described(stage), operator: nameOf(stage), time }]
    })
  }

  /** What was cut off, once the project function's observable is complete: undefined if every step ran to its end. */
  cutOff(): { readonly text: string; readonly cause: unknown } | undefined {
    const open = this.all.find(isOpen)
    if (open === undefined) return undefined
    const failed = this.all.find((stage) => isOpen(stage) && stage.failure !== undefined)
    const next = this.all.find((stage) => stage.input === (failed ?? open) && stage.opened > 0 && !isOpen(stage))
    const by = next === undefined ? '' : ` by ${described(next)}`
    if (failed !== undefined) {
      const { error } = failed.failure as NonNullable<Stage['failure']>
      return { text: `${described(failed)} failed (${errorMessage(error)}), and the error was caught${by}`, cause: error }
    }
    return { text: `${described(open)} had not ended, but was left${by}`, cause: undefined }
  }
}

/** An observable of a slice, or made of one: what RxJS's operators make of it is one too, whether by `pipe` or not. */
export class StageStream<T> extends Observable<T> {
  constructor(
    readonly stages: Stages,
    readonly stage: Stage,
    subscribe?: (subscriber: Subscriber<T>) => ReturnType<Observable<T>['subscribe']>,
  ) {
    super(subscribe)
  }

  /** @internal RxJS's operators call it for what they return. */
  override lift<R>(operator?: Operator<T, R>): Observable<R> {
    // A ConnectableObservable takes this function over from its source.
    const { stages, stage } = this instanceof StageStream ? (this as StageStream<T>) : stageAbove(this)
    return new StageStream<R>(stages, stages.add(stage)).lifting(this, operator as Operator<unknown, R>)
  }

  override pipe(...operators: readonly OperatorFunction<never, unknown>[]): Observable<never> {
    return this.pipedAs(operators) as Observable<never>
  }

  /** The same of the operators that `compose` made one of. */
  pipedAs(operators: readonly OperatorFunction<never, unknown>[], piece?: string): Observable<unknown> {
    const site = new Error()
    return operators.reduce<Observable<unknown>>((source, operator, i) => {
      const made: unknown = operator(source as Observable<never>)
      const place = { position: i + 1, of: operators.length, piece, name: operator.name === '' ? '' : ` (${operator.name})`, site }
      if (!isObservable(made))
        throw new MillraceError(
          'PLAN_FAILED',
          `${placeText(place)} returned ${made === null ? 'null' : typeof made} instead of an observable`,
        )
      if (made === source) return made
      const stream = made instanceof StageStream ? (made as StageStream<unknown>) : stageOf(source, made)
      if (stream instanceof StageStream) (stream as StageStream<unknown>).stage.place ??= place
      return stream
    }, this)
  }

  /** @internal */
  lifting(source: Observable<unknown>, operator: Operator<unknown, T>): this {
    this.source = source
    this.operator = {
      call: (subscriber: Subscriber<T>, from: unknown) =>
        opened(this.stages, this.stage, subscriber, (at) => operator.call(at, from)) as ReturnType<Operator<unknown, T>['call']>,
    }
    return this
  }
}

/** `made`, which an operator made of `source` without `lift`, as a stage behind it, if `source` is one. */
export function stageOf<T>(source: Observable<unknown>, made: Observable<T>): Observable<T> {
  if (!(source instanceof StageStream)) return made
  const { stages } = source
  const stage = stages.add(source.stage)
  return new StageStream<T>(stages, stage, (subscriber) => opened(stages, stage, subscriber, (at) => made.subscribe(at)))
}

/** Subscribes a stage whose items go to `given`. */
function opened<T, R>(stages: Stages, stage: Stage, given: Subscriber<T>, subscribe: (subscriber: Subscriber<T>) => R): R {
  const { timing, current } = stages
  const subscriber = watched(given, stage, timing)
  return stages.within(stage, () => subscribe(timing === undefined ? subscriber : timing.towards(current, subscriber)))
}

/** Those that are watched for a stage. */
const taken = new WeakSet<Subscriber<never>>()

/**
 * The subscriber to give to a stage: the one given, or one in front of it where that is another stage's already (`takeUntil` hands its own
 * on).
 */
function watched<T>(given: Subscriber<T>, stage: Stage, timing: SliceTiming | undefined): Subscriber<T> {
  const subscriber = taken.has(given) ? new Subscriber<T>(given) : given
  taken.add(subscriber)
  stage.opened++
  const { complete, error } = subscriber
  let over = false
  subscriber.complete = function end() {
    if (!over && !this.closed) {
      over = true
      stage.completed++
      timing?.ended(stage)
    }
    complete.call(this)
  }
  subscriber.error = function fail(reason: unknown) {
    if (!over && !this.closed) {
      over = true
      stage.failure ??= { error: reason }
    }
    error.call(this, reason)
  }
  return subscriber
}

function stageAbove(observable: Lifted): StageStream<unknown> {
  const { source } = observable
  return source instanceof StageStream ? (source as StageStream<unknown>) : stageAbove(source as Lifted)
}

/** As `operate` named it; undefined for what has none, such as RxJS's own operators, and for where pipes begin. */
function nameOf({ place }: Stage): string | undefined {
  return place === undefined || place.name === '' ? undefined : place.name.slice(2, -1)
}

function isOpen({ opened, completed }: Stage): boolean {
  return opened > completed
}

function described(stage: Stage): string {
  let at: Stage | undefined = stage
  let behind = 0
  for (; at !== undefined && at.place === undefined && at.name === ''; at = at.input) behind++
  const where = at === undefined ? 'what is merged' : at.place === undefined ? at.name : placeText(at.place)
  return behind === 0 ? where : `operator ${behind} behind ${where}`
}

/** RxJS leaves its operators without a name; ours have one (see operate). */
function placeText({ position, of, piece, name, site }: Place): string {
  if (piece !== undefined) return `operator ${position} of ${of}${name} of '${piece}' in the pipe at ${callSite(site)}`
  return `operator ${position} of ${of}${name} of the pipe at ${callSite(site)}`
}

/** Where this library is: all of its files lie together, whether as they are or in one. */
const OURS =
  /(?:file:\/\/)?([^()\s]+?)(?:runtime[\\/]stages\.[jt]s)?:\d+:\d+\)?$/.exec(new Error().stack?.split('\n')[1] ?? '')?.[1] ?? 'millrace'

/** File and line of the first caller outside this library. */
function callSite({ stack = '' }: Error): string {
  const lines = stack.split('\n').slice(1)
  const outside = lines.find((line) => !line.includes(OURS) && !/node:internal|<anonymous>|[\\/]node_modules[\\/]rxjs[\\/]/.test(line))
  return /\(?((?:file:\/\/)?[^()\s]+:\d+:\d+)\)?$/.exec(outside ?? '')?.[1] ?? 'an unknown place'
}

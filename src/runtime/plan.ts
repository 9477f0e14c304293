import { systemClock } from '../record/clock.js'
import { MillraceError, errorMessage } from '../record/error.js'
import { silentLogger } from '../record/logger.js'
import { changelogTopic, type StoreSpec, type TaskStore } from '../state/store.js'
import {
  runInSlice,
  type Alarm,
  type Gate,
  type InletSpec,
  type Meter,
  type Pieces,
  type RetryScope,
  type SliceContext,
  type Standing,
} from './context.js'
import type { Effects, EffectsOf, PlannedEffects } from './effects.js'
import { TopicOutput } from './outputs.js'
import type { Project } from './slice.js'
import { SliceStream } from './slice-stream.js'
import { Stages } from './stages.js'
import { Topology, type PlanStep } from './topology.js'

/**
 * Whether pipelines with stores that can hold two transactions overlap as well. Tests have it so; pipelines do not: the changelog is
 * written only when the transaction before is decided, and what is left to gain was less than the noise of the bench.
 */
export const overlap = { withState: false }

/** What a pipeline reads, writes, keeps and is made of, as its dry subscription told. */
export interface Plan {
  readonly group: string
  readonly inputs: readonly string[]
  readonly outputs: readonly { readonly topic: string; readonly writtenBy: readonly string[] }[]
  readonly stores: readonly PlanStore[]
  /** Topics that the pipeline both writes and reads. */
  readonly inlets: readonly (InletSpec & { readonly operator: string })[]
  /** What is written outside the log, by what it is. */
  readonly effects: ReadonlyMap<object, PlannedEffects>
  /** Whether operators want to be called by the clock: they set their alarms from what was restored. */
  readonly alarms: boolean
  /**
   * Whether the records of the next transaction may be processed while the last is being committed: what is kept from one to the other is
   * in stores that can undo both.
   */
  readonly overlaps: boolean
  /** Whether records wait for others at the front of the slice: those in front have to learn of one that the error policy took out. */
  readonly gated: boolean
  /** Operators that `compose` made, in the order of the pipes. */
  readonly pieces: readonly { readonly name: string; readonly operators: readonly string[] }[]
  /** The steps that have a name, and how they hang together. */
  readonly steps: readonly PlanStep[]
  /** What is allowed and likely not meant. */
  readonly warnings: readonly string[]
}

export interface PlanStore {
  readonly spec: StoreSpec
  readonly operator: string
  /** The changelog; for a view, the topic it shows. */
  readonly topic: string
}

export interface Declarations {
  /** Topics written by branches that planning does not take. */
  readonly topics: readonly string[]
}

class PlanPieces implements Pieces {
  readonly all: { readonly name: string; readonly operators: readonly string[] }[] = []
  private inside: readonly string[] = []

  add(name: string, operators: readonly string[]): void {
    this.all.push({ name, operators })
  }

  within<T>(name: string | undefined, subscribe: () => T): T {
    const before = this.inside
    this.inside = name === undefined ? before.slice(0, -1) : [...before, name]
    try {
      return subscribe()
    } finally {
      this.inside = before
    }
  }

  /** An operator, with the pieces it stands in. */
  placed(operator: string): string {
    return [operator, ...this.inside.slice().reverse()].join(' in ')
  }
}

class PlanContext implements SliceContext {
  readonly mode = 'plan'
  readonly partition = -1
  readonly tasks = 1
  closed = false
  readonly stages = new Stages()
  readonly topology = new Topology(this.stages)
  readonly clock = systemClock
  readonly logger = silentLogger
  readonly waits = { bounded: 0, outside: 0, calls: 0 }
  readonly behind = false
  readonly traces = undefined
  readonly standing: Standing = {
    generation: 0,
    producerId: -1n,
    held: [],
    progress: () => [],
    committedOffsets: () => Promise.resolve([]),
  }
  private readonly kept = new Map<string, unknown>()
  readonly found = new Map<string, Set<string>>()
  readonly stores = new Map<string, PlanStore>()
  readonly alarms = new Set<string>()
  joined = false
  /** All stores can hold two transactions. */
  overlapping = true
  readonly planned = new Map<object, PlannedEffects & { readonly names: Map<string, string> }>()
  readonly warnings = new Set<string>()
  readonly inlets = new Map<string, InletSpec & { readonly operator: string }>()
  readonly named = new PlanPieces()
  readonly pieces: Pieces = this.named
  gate: Gate | undefined
  gated: string | undefined
  /** The retry topics that what is subscribed now stands before. */
  private readonly retries: RetryScope[] = []
  /** What has been subscribed since a pipe last reached the slice: it stands behind what comes next. */
  private windows: { readonly operator: string; readonly graceMs: number }[] = []

  constructor(
    readonly group: string,
    readonly inputs: readonly string[],
  ) {}

  outputs(operator: string, topics: readonly string[]): ReadonlyMap<string, TopicOutput> {
    return new Map(
      topics.map((topic) => {
        this.topology.note('writes', operator, topic)
        const by = this.found.get(topic) ?? new Set<string>()
        this.found.set(topic, by.add(this.named.placed(operator)))
        return [topic, new TopicOutput(topic, 1, undefined, false)] as const
      }),
    )
  }

  store<S extends TaskStore>(name: string, spec: StoreSpec<S>): S {
    const operator = this.named.placed(name)
    this.topology.note('keeps', name, spec.name)
    const earlier = this.stores.get(spec.name)
    // One spec subscribed twice, as in merge(r.pipe(a), r.pipe(a)), would be fed twice: that is two operators as well.
    if (earlier !== undefined && (earlier.spec !== spec || (spec.source === undefined && spec.shared !== true))) {
      throw new MillraceError(
        'PLAN_FAILED',
        `two operators keep their state under the name '${spec.name}' (${earlier.operator} and ${operator}): give each a name of its own, which must stay the same over restarts`,
      )
    }
    if (spec.source !== undefined) this.checkView(operator, spec.source, spec)
    else this.checkSeenAgain(operator, spec.kind)
    if (spec.graceMs !== undefined) this.windows.push({ operator, graceMs: spec.graceMs })
    this.stores.set(spec.name, { spec, operator, topic: spec.source ?? changelogTopic(this.group, spec.name) })
    const store = spec.create()
    // What others write to a topic is undone by nobody.
    this.overlapping &&= spec.source !== undefined || store.seal !== undefined
    return store
  }

  /** A topic is read once: as input, or into one view. */
  private checkView(operator: string, topic: string, spec: StoreSpec): void {
    if (this.inputs.includes(topic))
      throw new MillraceError(
        'PLAN_FAILED',
        `${operator} shows '${topic}', which is an input of the source as well: read it in one of the two ways, or keep its latest values with aggregate or store`,
      )
    for (const other of this.stores.values()) {
      if (other.spec.source === topic && other.spec !== spec)
        throw new MillraceError(
          'PLAN_FAILED',
          `two tables ('${other.spec.name}' and '${spec.name}') show topic '${topic}': define it once and use that in both places`,
        )
    }
  }

  inlet(operator: string, spec: InletSpec): void {
    const earlier = this.inlets.get(spec.topic)
    if (earlier !== undefined)
      throw new MillraceError(
        'PLAN_FAILED',
        `two operators (${earlier.operator} and ${operator}) read '${spec.topic}': give each a topic of its own`,
      )
    if (this.inputs.includes(spec.topic))
      throw new MillraceError(
        'PLAN_FAILED',
        `${operator} writes to and reads '${spec.topic}', which is an input of the source as well: its records would go round for ever. Give it a topic of its own`,
      )
    for (const retry of this.retries) {
      if (!operator.startsWith('retryTopic'))
        this.warn(
          `${retry.operator} stands behind ${operator}: what comes out of that has another origin, which cannot be gone back to, so its failures pass on without a retry. Put ${retry.operator} before it`,
        )
    }
    this.topology.note('readsBack', operator, spec.topic)
    this.inlets.set(spec.topic, { ...spec, operator: this.named.placed(operator) })
  }

  reenter(): void {}

  beforeRetry<T>(retry: RetryScope, subscribe: () => T): T {
    for (const { operator, graceMs } of this.windows) {
      if (graceMs < retry.delayMs) {
        this.warn(
          `${operator} has a grace of ${graceMs} ms and stands behind ${retry.operator}, whose delays add up to ${retry.delayMs} ms: records that were retried keep their event time and come late. Give it a grace that exceeds the delays`,
        )
      }
    }
    if (retry.gate !== undefined) {
      if (this.gated !== undefined)
        throw new MillraceError(
          'PLAN_FAILED',
          `${this.gated} and ${retry.operator} both keep the records of a key in order, which one can only do for all of the slice: leave ordered out of one`,
        )
      this.gated = retry.operator
    }
    const before = this.gate
    this.gate = retry.gate ?? before
    this.retries.push(retry)
    try {
      return subscribe()
    } finally {
      this.retries.pop()
      this.gate = before
    }
  }

  /** A pipe has reached the slice: what comes now belongs to another. */
  pipeEnds(): void {
    this.windows = []
  }

  private checkSeenAgain(operator: string, kind: string): void {
    if (SEES_AGAIN.test(kind)) return
    for (const retry of this.retries) {
      this.warn(
        `${operator} stands before ${retry.operator} and keeps state: it sees a record that is retried again, and counts it again. Put ${retry.operator} before it`,
      )
    }
  }

  warn(text: string): void {
    this.warnings.add(text)
  }

  join(): void {
    this.joined = true
  }

  effects<E extends Effects>(operator: string, key: object, name: string, create: EffectsOf<E>): E {
    const { group, clock, logger } = this
    const names = this.planned.get(key)?.names ?? new Map<string, string>()
    if (names.has(name))
      throw new MillraceError(
        'PLAN_FAILED',
        `two sinks keep their positions under the name '${name}' (${names.get(name)} and ${operator}): give each a name of its own, which must stay the same over restarts`,
      )
    this.planned.set(key, { create, names: names.set(name, operator) })
    // Planning writes nothing.
    return create(
      {
        group,
        inputs: this.inputs,
        innerTopics: [],
        partitions: () => 0,
        clock,
        logger,
        ends: () => Promise.resolve([]),
        confirm: () => Promise.resolve(),
      },
      [],
    )
  }

  progressOfTask(): readonly [] {
    return []
  }

  alarm(name: string): Alarm {
    this.alarms.add(name)
    return { at: undefined, set() {}, setIn() {} }
  }

  meter(): Meter {
    return { count: 0 }
  }

  wake(): void {}

  progress(): void {}

  shared<T>(name: string, create: () => T): T {
    if (!this.kept.has(name)) this.kept.set(name, create())
    return this.kept.get(name) as T
  }
}

/** Kinds of state that a record may come to twice. */
const SEES_AGAIN = /^(dedupe|delay|retry)/

/**
 * Subscribes the project function once over an empty slice and notes what its operators use. Values that appear
 * (startWith, defaultIfEmpty, reduce) reach no topic.
 *
 * @throws MillraceError PLAN_FAILED, or what the operators refuse
 */
export function planOf(project: Project, group: string, inputs: readonly string[], declared: Declarations): Plan {
  const context = new PlanContext(group, inputs)
  for (const topic of declared.topics) context.outputs('declare', [topic])
  const slice = new SliceStream(context.stages, inputs, -1, () => context.pipeEnds())
  let failure: { readonly error: unknown } | undefined
  runInSlice(context, () => {
    try {
      const subscription = context.stages
        .observable(project(slice), 'the project function')
        .subscribe({ error: (error: unknown) => (failure = { error }) })
      slice.complete()
      // What is still to come waits on timers or promises; planning looks at what is subscribed, not at what comes.
      subscription.unsubscribe()
    } catch (error) {
      failure = { error }
    }
  })
  context.closed = true
  if (failure !== undefined) {
    if (failure.error instanceof MillraceError) throw failure.error
    throw new MillraceError(
      'PLAN_FAILED',
      `the project function failed on an empty slice, with which it is tried before anything is read: ${errorMessage(failure.error)}. Operators that need a value (first, last, single) need a default`,
      { cause: failure.error },
    )
  }
  return {
    group,
    inputs,
    outputs: [...context.found].map(([topic, by]) => ({ topic, writtenBy: [...by] })),
    stores: [...context.stores.values()],
    inlets: [...context.inlets.values()],
    effects: context.planned,
    alarms: context.alarms.size > 0,
    overlaps:
      (context.stores.size === 0 || (overlap.withState && context.overlapping)) &&
      context.alarms.size === 0 &&
      !context.joined &&
      context.planned.size === 0,
    gated: context.gated !== undefined,
    pieces: context.named.all,
    steps: context.topology.steps(new Set(context.named.all.map(({ name }) => name))),
    warnings: [...context.warnings],
  }
}

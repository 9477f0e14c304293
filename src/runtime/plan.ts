import type { LogClient, NewTopic, TopicInfo } from '../log/port.js'
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
  type RetryScope,
  type SliceContext,
  type Standing,
} from './context.js'
import { TopicOutput } from './outputs.js'
import type { Project } from './slice.js'
import { SliceStream } from './slice-stream.js'
import { Stages } from './stages.js'

/** What a pipeline reads, writes, keeps and is made of, as its dry subscription told. */
export interface Plan {
  readonly group: string
  readonly inputs: readonly string[]
  readonly outputs: readonly { readonly topic: string; readonly writtenBy: readonly string[] }[]
  readonly stores: readonly PlanStore[]
  /** Topics that the pipeline both writes and reads. */
  readonly inlets: readonly (InletSpec & { readonly operator: string })[]
  /** Whether operators want to be called by the clock: they set their alarms from what was restored. */
  readonly alarms: boolean
  /** Whether the records of the next transaction may be processed while the last is being committed: nothing is kept from one to the other. */
  readonly overlaps: boolean
  /** Whether records wait for others at the front of the slice: those in front have to learn of one that the error policy took out. */
  readonly gated: boolean
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

class PlanContext implements SliceContext {
  readonly mode = 'plan'
  readonly partition = -1
  readonly tasks = 1
  closed = false
  readonly stages = new Stages()
  readonly clock = systemClock
  readonly logger = silentLogger
  readonly waits = { bounded: 0, outside: 0 }
  readonly behind = false
  readonly standing: Standing = { generation: 0, producerId: -1n, held: [], committedOffsets: () => Promise.resolve([]) }
  private readonly kept = new Map<string, unknown>()
  readonly found = new Map<string, Set<string>>()
  readonly stores = new Map<string, PlanStore>()
  readonly alarms = new Set<string>()
  joined = false
  readonly warnings = new Set<string>()
  readonly inlets = new Map<string, InletSpec & { readonly operator: string }>()
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
        const by = this.found.get(topic) ?? new Set<string>()
        this.found.set(topic, by.add(operator))
        return [topic, new TopicOutput(topic, 1, undefined, false)] as const
      }),
    )
  }

  store<S extends TaskStore>(operator: string, spec: StoreSpec<S>): S {
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
    return spec.create()
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
    this.inlets.set(spec.topic, { ...spec, operator })
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

  alarm(name: string): Alarm {
    this.alarms.add(name)
    return { at: undefined, set() {} }
  }

  meter(): Meter {
    return { count: 0 }
  }

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
      const subscription = project(slice).subscribe({ error: (error: unknown) => (failure = { error }) })
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
    alarms: context.alarms.size > 0,
    overlaps: context.stores.size === 0 && context.alarms.size === 0 && !context.joined,
    gated: context.gated !== undefined,
    warnings: [...context.warnings],
  }
}

/** How missing output topics are made. */
export interface Provision {
  readonly partitions?: number | undefined
  readonly replicationFactor?: number | undefined
  readonly config?: Readonly<Record<string, string>> | undefined
}

export interface CheckedPlan extends Plan {
  /** Number of tasks: the partition count that all inputs share. */
  readonly tasks: number
  /** Of outputs and inlets. */
  readonly outputInfos: readonly TopicInfo[]
  readonly changelogInfos: readonly TopicInfo[]
}

/** Changelogs live as long as their last value of each key. */
const CHANGELOG_CONFIG = { 'cleanup.policy': 'compact' } as const

/**
 * Checks a plan against the log, and creates missing topics of its own if asked to.
 *
 * @throws MillraceError MISSING_TOPIC, PARTITION_MISMATCH, STATE_MISMATCH, and what the log refuses
 */
export async function checkPlan(plan: Plan, log: LogClient, provision: Provision | undefined): Promise<CheckedPlan> {
  const views = plan.stores.filter(({ spec }) => spec.source !== undefined).map(({ topic }) => topic)
  const changelogs = plan.stores.filter(({ spec }) => spec.source === undefined).map(({ topic }) => topic)
  const inlets = plan.inlets.map(({ topic }) => topic)
  const outputs = [...new Set([...plan.outputs.map(({ topic }) => topic), ...inlets])]
  const inputs = [...plan.inputs, ...views]
  const all = [...new Set([...inputs, ...outputs, ...changelogs])]

  let infos = await log.topics(all)
  const missingInputs = inputs.filter((topic) => !infos.has(topic))
  if (missingInputs.length > 0) {
    throw new MillraceError(
      'MISSING_TOPIC',
      `input ${list(missingInputs)} does not exist. Create it first (cluster.createTopics), or check the name and the rights to see it`,
    )
  }
  const tasks = taskCount(plan.inputs, infos)
  for (const { spec, topic } of plan.stores) if (spec.source !== undefined) checkView(spec.name, infos.get(topic), tasks, plan.inputs)
  const missing = all.filter((topic) => !infos.has(topic))
  if (missing.length > 0) {
    if (provision === undefined) {
      const kind = changelogs.includes(missing[0] as string) ? 'changelog' : inlets.includes(missing[0] as string) ? 'internal' : 'output'
      throw new MillraceError(
        'MISSING_TOPIC',
        `${kind} ${list(missing)} does not exist. Create it first (cluster.createTopics${kind === 'output' ? '' : ` with ${tasks} partitions${kind === 'changelog' ? ' and cleanup.policy=compact' : ''}`}), or let withTransaction do it: provision: true`,
      )
    }
    await log.createTopics(missing.map((topic) => newTopic(topic, provision)))
    infos = await log.topics(all)
  }
  for (const topic of [...changelogs, ...inlets]) checkOwn(infos.get(topic), tasks, changelogs.includes(topic))
  const found = (topics: readonly string[]): TopicInfo[] => topics.map((topic) => infos.get(topic)).filter((info) => info !== undefined)
  return { ...plan, tasks, outputInfos: found(outputs), changelogInfos: found(changelogs) }

  function newTopic(topic: string, { partitions = tasks, replicationFactor, config }: Provision): NewTopic {
    const inlet = plan.inlets.find((one) => one.topic === topic)
    const replicas = replicationFactor === undefined ? {} : { replicationFactor }
    if (changelogs.includes(topic)) return { topic, partitions: tasks, ...replicas, config: CHANGELOG_CONFIG }
    if (inlet !== undefined) return { topic, partitions: tasks, ...replicas, config: { ...inlet.config, ...roomConfig(inlet.roomBytes) } }
    return { topic, partitions, ...replicas, ...(config === undefined ? {} : { config }) }
  }

  /** What fits into an input fits with so much more. */
  function roomConfig(roomBytes: number | undefined): Record<string, string> {
    const largest = Math.max(0, ...plan.inputs.map((topic) => infos.get(topic)?.maxMessageBytes ?? 0))
    return roomBytes === undefined || largest === 0 ? {} : { 'max.message.bytes': String(largest + roomBytes) }
  }
}

/** A topic of the pipeline's own has a partition a task, and a changelog keeps what it is told. */
function checkOwn(info: TopicInfo | undefined, tasks: number, changelog: boolean): void {
  if (info === undefined) return
  const { topic, partitions, cleanupPolicy } = info
  if (partitions !== tasks) {
    throw new MillraceError(
      'PARTITION_MISMATCH',
      `topic '${topic}' has ${partitions} partitions and the inputs have ${tasks}; it must have as many, since partition p of it belongs to task p. ` +
        (changelog
          ? 'Partitions were added to the inputs: keys are now elsewhere than their state. Move the data to new topics, or start with another name'
          : 'Create it anew with as many'),
    )
  }
  if (changelog && cleanupPolicy !== undefined && cleanupPolicy !== 'compact') {
    throw new MillraceError(
      'STATE_MISMATCH',
      `changelog '${topic}' has cleanup.policy=${cleanupPolicy}: old state would be deleted from it. Set cleanup.policy=compact`,
    )
  }
}

/** Partition p of a table belongs to task p. */
function checkView(name: string, info: TopicInfo | undefined, tasks: number, inputs: readonly string[]): void {
  if (info === undefined || info.partitions === tasks) return
  throw new MillraceError(
    'PARTITION_MISMATCH',
    `table '${name}' cannot be joined: its topic '${info.topic}' has ${info.partitions} partitions and ${list(inputs)} ${inputs.length === 1 ? 'has' : 'have'} ${tasks}, so records and rows of one key would be in partitions of different numbers. ` +
      `Give the table a topic with ${tasks} partitions, written with the same partitioner, or put the inputs into topics with ${info.partitions}`,
  )
}

/** All inputs must have as many partitions: task p is partition p of each. */
export function taskCount(inputs: readonly string[], infos: ReadonlyMap<string, TopicInfo>): number {
  const counts = inputs.map((topic) => infos.get(topic)?.partitions ?? 0)
  if (new Set(counts).size > 1) {
    throw new MillraceError(
      'PARTITION_MISMATCH',
      `the topics of one source must have the same number of partitions, since partition p of all of them is one task: ${inputs.map((topic, i) => `${topic} has ${counts[i]}`).join(', ')}. Use a source for each, or give them the same count`,
    )
  }
  return counts[0] ?? 0
}

function list(topics: readonly string[]): string {
  return topics.length === 1 ? `topic '${topics[0]}'` : `topics ${topics.map((topic) => `'${topic}'`).join(', ')}`
}

import type { Plan } from '../plan.js'
import type { RunContext } from '../run-context.js'
import type { SourceSettings, TransactionSettings } from '../settings.js'
import type { Task } from '../task.js'
import { limitsOf } from '../tuning/tuner.js'
import type { Chronicle } from './chronicle.js'
import type { FreshEnds } from './fresh-ends.js'
import { DurationHistogram } from './histogram.js'
import { thisProcess } from '../process-heap.js'
import { placesOf } from './places.js'
import { NO_TIME } from './time-ledger.js'
import type { HeldStatus, LagStatus, PartitionStatus, PipelineStatus, TaskStatus, TransactionStatus } from './status.js'

/** From then on it is said by which step a transaction is held, and ends are asked for that no fetch tells. */
const LONG_MS = 5_000
const HELD_MS = 1_000

/** What a snapshot is made of. */
export interface Sources {
  readonly source: SourceSettings
  readonly transaction: TransactionSettings
  readonly plan: Plan
  /** Undefined where the pipeline was never subscribed. */
  readonly chronicle: Chronicle | undefined
  readonly now: number
  /** What runs; undefined before the topics were looked at, and at the end. */
  readonly run: RunContext | undefined
  readonly ends: FreshEnds | undefined
  readonly standbys: readonly number[]
  readonly owners: readonly (string | undefined)[]
}

const NOTHING = new DurationHistogram().result()
const UNTOLD = {
  totals: { records: 0, processed: 0, filtered: 0, duplicate: 0, late: 0, failed: 0, outputs: 0 },
  written: {},
  meters: {},
  rates: { records: 0, outputs: 0, commits: 0 },
  logged: { warnings: 0, errors: 0 },
  events: [],
  waits: [],
  lastError: undefined,
  time: NO_TIME,
  commits: { committed: 0, aborted: 0, unknown: 0, duration: NOTHING, commit: NOTHING, last: undefined },
  rebalances: { count: 0, duration: NOTHING, lastAt: undefined, recent: 0 },
} satisfies Partial<PipelineStatus>

export function snapshotOf(sources: Sources): PipelineStatus {
  const { source, plan, chronicle, now, run, ends, standbys } = sources
  const told = chronicle?.told() ?? UNTOLD
  const tasks = run?.tasks ?? []
  const places = run === undefined || ends === undefined ? [] : tasks.map((task) => placesOf(task, ends, now))
  const partitions = places.flat().sort(byPlace)
  const tiers = new Set(plan.inlets.filter(({ due }) => due !== undefined).map(({ topic }) => topic))
  const transaction = run && transactionOf(run)
  const stores = run?.storeUsage() ?? []
  const status: PipelineStatus = {
    at: now,
    group: source.group,
    topics: source.topics,
    operators: operatorsOf(plan),
    steps: plan.steps,
    state: chronicle?.state ?? 'idle',
    stateMs: chronicle?.stateMs ?? 0,
    member: {
      state: run?.parts.membership.state ?? 'lost',
      memberId: run?.memberIfAny?.memberId,
      generation: run?.memberIfAny?.generation,
      instanceId: source.instanceId,
      address: source.address,
      owners: sources.owners,
    },
    taskCount: run?.taskCount ?? 0,
    tasks: (run === undefined ? [] : tasks.map((task, i) => taskOf(run, task, lagOf(places[i] ?? [], tiers)))).sort(
      (a, b) => a.partition - b.partition,
    ),
    standbys,
    partitions,
    lag: lagOf(partitions, tiers),
    transaction,
    ...told,
    time: { ...told.time, calls: run === undefined ? [] : run.calls },
    process: thisProcess.status(),
    limits: run === undefined ? limitsOf(source, sources.transaction) : { ...run.parts.limits },
    deadLetters: deadLettersOf(sources, told.written),
    retries: [...tiers].map((topic) => heldOf(topic, partitions, run)),
    timers: plan.stores
      .filter(({ spec }) => spec.kind === 'delay')
      .map(({ spec: { name } }) => ({ name, waiting: stores.find((store) => store.name === name)?.keys ?? 0 })),
    breakers: run === undefined ? [] : run.breakers.map((breaker) => breaker.breakerStatus()),
    stores,
    unread: run?.parts.unread.list() ?? [],
  }
  if (run !== undefined) ends?.refresh(unheardOf(status))
  return status
}

/** The partitions whose ends no fetch tells at present. */
function unheardOf({ partitions, transaction, waits, tasks }: PipelineStatus): readonly PartitionStatus[] {
  const stuck = (transaction?.openMs ?? 0) > LONG_MS || waits.length > 0 || tasks.some(({ state }) => state !== 'running')
  return stuck ? partitions : partitions.filter(({ held }) => held)
}

function taskOf(run: RunContext, task: Task, lag: LagStatus): TaskStatus {
  const { chronicle, unread } = run.parts
  const trouble = run.troubleOf(task)
  const restoring = task.ready ? undefined : task.state.restoring
  const state = !task.ready
    ? 'restoring'
    : run.isPaused(task)
      ? 'paused'
      : trouble !== undefined
        ? 'set-aside'
        : unread.list().some(({ partition }) => partition === task.partition)
          ? 'unread'
          : 'running'
  return {
    partition: task.partition,
    state,
    restoring: restoring && {
      done: restoring.reduce((sum, { span, reached = 0 }) => sum + (span === undefined ? 0 : reached - span.from), 0),
      total: restoring.some(({ span }) => span === undefined)
        ? undefined
        : restoring.reduce((sum, { span }) => sum + (span === undefined ? 0 : span.to - span.from), 0),
      forMs: run.parts.clock.monotonic() - task.openedAt,
    },
    why: trouble && { ...chronicle.described('slice', trouble.cause), at: trouble.at },
    lag: lag.records,
  }
}

function transactionOf(run: RunContext): TransactionStatus | undefined {
  const { clock, outputs } = run.parts
  const now = clock.monotonic()
  const committing = run.commit
  if (committing !== undefined) {
    const { round } = committing
    const openMs = now - (round.startedAt ?? committing.began)
    return {
      state: 'committing',
      openMs,
      records: round.records,
      outputs: committing.outputs,
      waits: { bounded: 0, outside: 0 },
      heldBy: [],
    }
  }
  const { round } = run
  if (round?.startedAt === undefined || round.closed) return undefined
  const openMs = now - round.startedAt
  const { finishing, waits, heldBy } = round.look(openMs > HELD_MS)
  return { state: finishing ? 'finishing' : 'reading', openMs, records: round.records, outputs: outputs.records, waits, heldBy }
}

function lagOf(partitions: readonly PartitionStatus[], tiers: ReadonlySet<string>): LagStatus {
  let records = 0
  let ms: number | undefined
  for (const { topic, lag = 0, lagMs } of partitions) {
    if (tiers.has(topic)) continue
    records += lag
    if (lagMs !== undefined) ms = Math.max(ms ?? 0, lagMs)
  }
  return { records, ms }
}

function heldOf(topic: string, partitions: readonly PartitionStatus[], run: RunContext | undefined): HeldStatus {
  const due = run?.tasks.flatMap(({ inputs }) => inputs.held.dueOf(topic) ?? []) ?? []
  return {
    topic,
    records: partitions.reduce((sum, { topic: of, lag = 0 }) => sum + (of === topic ? lag : 0), 0),
    nextDueAt: due.length === 0 ? undefined : Math.min(...due),
  }
}

function deadLettersOf({ plan, transaction }: Sources, written: Readonly<Record<string, number>>): PipelineStatus['deadLetters'] {
  const { onError } = transaction
  const topics = plan.outputs.filter(({ writtenBy }) => writtenBy.some((by) => by.startsWith('deadLetter'))).map(({ topic }) => topic)
  const all = new Set(typeof onError === 'object' ? [...topics, onError.deadLetter] : topics)
  const byTopic = Object.fromEntries([...all].map((topic) => [topic, written[topic] ?? 0]))
  return { total: Object.values(byTopic).reduce((sum, count) => sum + count, 0), byTopic }
}

function operatorsOf({ outputs, stores, inlets, pieces }: Plan): readonly string[] {
  const named = [
    ...outputs.flatMap(({ writtenBy }) => writtenBy),
    ...stores.map(({ operator }) => operator),
    ...inlets.map(({ operator }) => operator),
    ...pieces.flatMap(({ operators }) => operators),
  ]
  return [...new Set(named)]
}

function byPlace(a: PartitionStatus, b: PartitionStatus): number {
  return a.topic < b.topic ? -1 : a.topic > b.topic ? 1 : a.partition - b.partition
}

import type { GroupMember, LogClient, LogReader, TopicPartition } from '../log/port.js'
import type { UnreadPartitions } from '../log/unread.js'
import type { Clock } from '../record/clock.js'
import type { Durations } from '../record/durations.js'
import { inArea, type Logger } from '../record/logger.js'
import { Agenda } from './agenda.js'
import type { CommitFate } from './commit-fate.js'
import type { CommitUnderWay } from './commit-under-way.js'
import { PipelineEffects } from './effects.js'
import type { Membership } from './group/membership.js'
import { MemoryGuard } from './memory-guard.js'
import type { StoreUsage } from '../state/store.js'
import type { PipelineSpec } from './host.js'
import type { Outputs } from './outputs.js'
import { persist } from './persist.js'
import type { CheckedPlan } from './plan-check.js'
import type { Round } from './round.js'
import type { RoundEnvironment } from './round-environment.js'
import type { Chronicle } from './status/chronicle.js'
import type { BreakerStatus, CallStatus } from './status/status.js'
import { usageOf } from './task-state.js'
import type { Producers } from './producers.js'
import { progressOf } from './progress.js'
import type { Task } from './task.js'
import type { TopicWatch } from './topic-watch.js'
import type { Limits, Tuner } from './tuning/tuner.js'
import type { PipelineTraces } from './tracing/traces.js'
import type { Wakeup } from './wakeup.js'

export interface RunParts {
  readonly spec: PipelineSpec
  readonly plan: CheckedPlan
  readonly log: LogClient
  readonly reader: LogReader
  readonly unread: UnreadPartitions
  readonly producers: Producers
  readonly outputs: Outputs
  readonly membership: Membership
  readonly watch: TopicWatch
  readonly clock: Clock
  readonly logger: Logger
  readonly wakeup: Wakeup
  readonly stopping: AbortSignal
  readonly chronicle: Chronicle
  /** As they are in force, and what adapts them, if anything does. */
  readonly limits: Limits
  readonly tuner: Tuner | undefined
  /** Set where tracing is on. */
  readonly traces: PipelineTraces | undefined
  /** Set where somebody is to be told. */
  readonly durations: Durations | undefined
}

/** A circuit breaker, as the engine sees it. */
interface KeptBreaker {
  breakerStatus(): BreakerStatus
  closeByHand(): boolean
}

/** The calls of a step, as the engine sees them. */
interface KeptCalls {
  callStatus(): CallStatus
  /** So many at once from here on, in each partition. */
  adapt(concurrency: number): void
}

function isCalling(kept: unknown): kept is KeptCalls {
  return typeof (kept as Partial<KeptCalls> | undefined)?.callStatus === 'function'
}

function isBreaker(kept: unknown): kept is KeptBreaker {
  return typeof (kept as Partial<KeptBreaker> | undefined)?.closeByHand === 'function'
}

/** The tasks of an assignment by partition. */
interface TaskIndex {
  readonly tasks: readonly Task[]
  readonly byPartition: ReadonlyMap<number, Task>
  readonly held: readonly number[]
}

/** Of more tasks it is counted once a second what their stores hold, not at each commit. */
const FEW_TASKS = 32
const RECOUNT_MS = 1_000

/** What the parts of a running pipeline share: what it works with, and what it has of the group right now. */
export class RunContext {
  /** Those of the assignment that is worked on, and which of them have something to do. */
  private assigned: readonly Task[] = []
  readonly agenda: Agenda
  /** Tasks whose state is not there yet. */
  restoring = 0
  /** The member and generation that the tasks are held in. Set before there are any. */
  member!: GroupMember
  /** Number of tasks of the pipeline, over all members, as of the last join. */
  taskCount: number
  /** Set where the state in memory may not be what is in the log: it is read again, in the same assignment. */
  stale = false
  /** What is under way, for those who look in from outside. */
  round: Round | undefined
  commit: CommitUnderWay | undefined
  /** Why a task runs by itself, if it does. */
  troubleOf: (task: Task) => { readonly cause: unknown; readonly at: number } | undefined = () => undefined
  /** Tasks of which nothing is read until somebody says so, by partition; those that go to others are forgotten. */
  readonly paused = new Set<number>()
  /** What operators keep for the life of the pipeline. */
  readonly shared = new Map<string, unknown>()
  readonly effects: PipelineEffects
  private readonly memory: MemoryGuard
  private readonly stepsLogger: Logger
  private usage: readonly StoreUsage[] = []
  private usedAt = Number.NEGATIVE_INFINITY
  private assigning = false
  private indexed: TaskIndex | undefined

  constructor(readonly parts: RunParts) {
    this.taskCount = parts.plan.tasks
    this.memory = new MemoryGuard(parts.logger)
    this.stepsLogger = inArea(parts.logger, 'steps')
    const { plan, spec, clock, logger, log } = parts
    const ends = (partitions: readonly TopicPartition[]): Promise<readonly number[]> => log.offsets(partitions, 'latest')
    const confirm = (): Promise<unknown> => parts.membership.confirm()
    this.effects = new PipelineEffects(plan.effects, {
      group: spec.source.group,
      inputs: plan.inputs,
      innerTopics: plan.inlets.filter(({ due }) => due === undefined).map(({ topic }) => topic),
      partitions: () => this.taskCount,
      clock,
      logger: inArea(logger, 'steps'),
      ends,
      confirm,
    })
    this.agenda = new Agenda(parts.clock)
  }

  get tasks(): readonly Task[] {
    return this.assigned
  }

  set tasks(tasks: readonly Task[]) {
    this.assigned = tasks
    this.restoring = tasks.reduce((count, { ready }) => (ready ? count : count + 1), 0)
    this.agenda.reset(tasks)
    for (const partition of this.paused) if (this.taskOf(partition) === undefined) this.paused.delete(partition)
  }

  pause(partition: number): boolean {
    if (this.taskOf(partition) === undefined || this.paused.has(partition)) return false
    this.paused.add(partition)
    this.parts.logger.warn({ partition }, 'a task was paused by hand: nothing of it is read')
    // What is fetched ahead of it would keep the others from being fetched.
    this.assignReaderSoon()
    return true
  }

  resume(partition: number): boolean {
    if (!this.paused.delete(partition)) return false
    this.parts.logger.info({ partition }, 'a task that was paused is read on')
    this.assignReaderSoon()
    this.agenda.wakePartition(partition)
    this.parts.wakeup.wake()
    return true
  }

  isPaused({ partition }: Task): boolean {
    return this.paused.size > 0 && this.paused.has(partition)
  }

  closeBreaker(step: string): boolean {
    return this.breakers.filter((breaker) => breaker.breakerStatus().step === step && breaker.closeByHand()).length > 0
  }

  /** Those of the steps, as operators keep them for the life of the pipeline. */
  get breakers(): readonly KeptBreaker[] {
    return [...this.shared.values()].filter(isBreaker)
  }

  /** What the steps call outside. */
  get calls(): readonly CallStatus[] {
    return [...this.shared.values()].filter(isCalling).map((kept) => kept.callStatus())
  }

  /** A step has so many calls at once from here on, in each partition. */
  adaptCalls(step: string, concurrency: number): void {
    for (const kept of [...this.shared.values()].filter(isCalling)) if (kept.callStatus().step === step) kept.adapt(concurrency)
  }

  /** So many records a task has in one step at once, at most; 0 where no step makes calls. */
  get callsAtOnce(): number {
    return this.calls.reduce((most, { concurrency }) => Math.max(most, concurrency), 0)
  }

  /** The state of a task is there: it takes part. */
  restored(task: Task): void {
    task.ready = true
    if (!this.agenda.has(task)) return
    this.restoring--
    this.agenda.wake(task)
  }

  /** The member, once there is one. */
  get memberIfAny(): GroupMember | undefined {
    return this.member as GroupMember | undefined
  }

  /** What the stores of the tasks hold, those that are being restored included: the tasks' together, by name. */
  storeUsage(): readonly StoreUsage[] {
    const now = this.parts.clock.monotonic()
    if (this.tasks.length <= FEW_TASKS || now - this.usedAt >= RECOUNT_MS) {
      this.usedAt = now
      this.usage = usageOf(this.tasks.map(({ state }) => state))
    }
    return this.usage
  }

  /** @throws MillraceError STATE_TOO_LARGE */
  checkMemory(): void {
    if (this.parts.plan.stores.length > 0) this.memory.check(() => this.storeUsage())
  }

  /** What the group, or a stop, asks of the open transaction. */
  demand(): 'none' | 'drain' | 'drop' {
    const { membership, stopping } = this.parts
    const { state } = membership
    if (state === 'lost' || state === 'fatal') return 'drop'
    return state === 'rebalancing' || stopping.aborted ? 'drain' : 'none'
  }

  /**
   * Does something against the log again and again, as long as the assignment holds. A stop ends it at once, or after `graceMs`.
   * @returns undefined if the assignment went, or a stop came
   */
  whileHeld<T>(what: string, action: () => Promise<T>, graceMs = 0): Promise<T | undefined> {
    const { clock, logger, stopping, spec } = this.parts
    const { group } = spec.source
    return persist({ what, fields: { group }, clock, logger, signal: stopping, graceMs, wanted: () => this.demand() !== 'drop' }, action)
  }

  /** The partitions of the tasks. Asked for in each round, so made once for an assignment. */
  private get held(): readonly number[] {
    return this.index.held
  }

  /** The task of a partition, if it is here. */
  taskOf(partition: number): Task | undefined {
    return this.index.byPartition.get(partition)
  }

  /** The order of the tasks changes from round to round, which ones they are does not. */
  private get index(): TaskIndex {
    const { tasks } = this
    if (this.indexed?.tasks !== tasks) {
      const byPartition = new Map(tasks.map((task) => [task.partition, task]))
      this.indexed = { tasks, byPartition, held: [...byPartition.keys()] }
    }
    return this.indexed
  }

  /** Tells the reader where the tasks go on. */
  assignReader(): void {
    this.parts.reader.assign(this.tasks.flatMap((task) => (this.isPaused(task) ? [] : task.fetchPositions())))
  }

  /** The same, once for all tasks that change their positions in one turn. */
  assignReaderSoon(): void {
    if (this.assigning) return
    this.assigning = true
    queueMicrotask(() => {
      this.assigning = false
      this.assignReader()
    })
  }

  /** What a round works with; `before` where the commit before it is under way. */
  roundEnvironment(before?: CommitFate): RoundEnvironment {
    const { spec, plan, outputs, producers, clock, wakeup, log, chronicle, traces, durations } = this.parts
    const producer = producers.current
    const { source, transaction, project } = spec
    return {
      group: source.group,
      taskCount: this.taskCount,
      inputs: source.topics,
      project,
      outputs,
      producer,
      clock,
      logger: this.stepsLogger,
      shared: this.shared,
      standing: {
        generation: this.member.generation,
        get producerId() {
          return producer.id
        },
        held: this.held,
        progress: () => this.tasks.map(progressOf),
        committedOffsets: (group, partitions) => log.committedOffsets(group, partitions),
      },
      effects: this.effects,
      wakeup,
      streamBytes: transaction.streamBytes,
      stallAfterMs: transaction.stallAfter,
      drainMs: transaction.drainWithin,
      demand: () => this.demand(),
      before,
      keeps: plan.stores.some(({ spec: { source: view } }) => view === undefined),
      time: chronicle.time,
      profile: chronicle.profile,
      traces,
      durations,
    }
  }
}

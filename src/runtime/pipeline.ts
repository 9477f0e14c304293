import { logError } from '../log/error.js'
import { inArea } from '../record/logger.js'
import { MAX_BATCH_BYTES } from '../log/fetch-queue.js'
import type { LogClient } from '../log/port.js'
import { UnreadPartitions } from '../log/unread.js'
import type { Commit } from './commit.js'
import { Committer } from './committer.js'
import { Membership, type Assignment } from './group/membership.js'
import type { PipelineHandle, PipelineHost, PipelineSpec } from './host.js'
import { Investigator } from './investigator.js'
import { NewTopics } from './new-topics.js'
import { Outputs, type MakeOutput } from './outputs.js'
import { persist } from './persist.js'
import { Producers } from './producers.js'
import { planOf, type Plan } from './plan.js'
import { checkPlan } from './plan-check.js'
import { RunContext } from './run-context.js'
import { Standbys } from './standbys.js'
import { openTasks, type StartEnvironment } from './start.js'
import { StateRestore } from './state-restore.js'
import { Chronicle } from './status/chronicle.js'
import { FreshEnds } from './status/fresh-ends.js'
import { snapshotOf } from './status/snapshot.js'
import { hasEnded, type PipelineStatus } from './status/status.js'
import type { PlannedStore, TaskState } from './task-state.js'
import { TopicWatch } from './topic-watch.js'
import { TracedTopicOutput } from './tracing/traced-output.js'
import { PipelineTraces } from './tracing/traces.js'
import { Transactions } from './transactions.js'
import { Troubles } from './troubles.js'
import { Tuner, limitsOf } from './tuning/tuner.js'
import { Wakeup } from './wakeup.js'

/**
 * One running pipeline: takes part in the group and works on what it is assigned.
 * How a record travels through it is told in DESIGN.md.
 */
export class Pipeline implements PipelineHandle {
  readonly plan: Plan
  private readonly wakeup: Wakeup
  private readonly stopping = new AbortController()
  /** Set once the topics were looked at. */
  private context: RunContext | undefined
  private stores: readonly PlannedStore[] = []
  private standbys: Standbys | undefined
  /** Set while the tasks are those of an assignment. */
  private serving: Assignment | undefined
  /** The member and generation that the tasks were last held in. */
  private heldIn: Assignment['member'] | undefined
  private readonly host: PipelineHost
  /** Made by this one, and not told of yet. */
  private readonly newTopics = new NewTopics()
  private readonly chronicle: Chronicle
  private ends: FreshEnds | undefined

  constructor(
    private readonly spec: PipelineSpec,
    host: PipelineHost,
    private readonly emit: (commit: Commit) => void,
  ) {
    this.wakeup = new Wakeup(host.clock)
    this.chronicle = new Chronicle(host.clock, host.logger, spec.transaction.sampleSteps)
    this.host = { ...host, logger: this.chronicle.logger }
    const { onError, declare } = spec.transaction
    const topics = typeof onError === 'object' ? [...declare.topics, onError.deadLetter] : declare.topics
    this.plan = planOf(spec.project, spec.source.group, spec.source.topics, { topics })
  }

  /** Where the state of a task is, for those who ask from outside: here, at the owner of that address, or not to be had right now. */
  whereIs(partition: number): { readonly state: TaskState } | { readonly owner: string } | undefined {
    const { serving, context } = this
    if (serving === undefined || context === undefined) return undefined
    const { state } = context.parts.membership
    if (state === 'lost' || state === 'fatal') return undefined
    const task = context.taskOf(partition)
    if (task !== undefined) return task.ready ? { state: task.state } : undefined
    const owner = serving.tasks.includes(partition) ? undefined : serving.owners[partition]
    return owner === undefined ? undefined : { owner }
  }

  /** What it is doing. */
  status(): PipelineStatus {
    const { source, transaction } = this.spec
    return snapshotOf({
      source,
      transaction,
      plan: this.plan,
      chronicle: this.chronicle,
      now: this.host.clock.now(),
      run: this.context,
      ends: this.ends,
      standbys: this.standbys?.tasks ?? [],
      owners: this.serving?.owners ?? [],
    })
  }

  /** Has the steps of one slice in so many timed, until the function that is returned is called. */
  sampleSteps(oneIn: number): () => void {
    const { profile } = this.chronicle
    const before = profile.oneIn
    profile.oneIn = oneIn
    return () => {
      profile.oneIn = before
    }
  }

  /** Number of tasks; undefined before the topics were looked at. */
  get taskCount(): number | undefined {
    return this.context?.taskCount
  }

  /** Ends the pipeline in order; `run` then resolves. */
  stop(): void {
    this.stopping.abort()
    if (!this.isOver) this.chronicle.enter('stopping')
    this.wakeup.wake()
  }

  /** Reads nothing more of a task until `resume`; false where it is not here, or was paused. */
  pause(partition: number): boolean {
    return this.context?.pause(partition) === true
  }

  resume(partition: number): boolean {
    return this.context?.resume(partition) === true
  }

  /** Closes the circuit breaker of a step that is open. */
  closeBreaker(step: string): boolean {
    return this.context?.closeBreaker(step) === true
  }

  /** Runs until stopped. @throws MillraceError for everything that needs somebody to change something */
  async run(): Promise<void> {
    try {
      await this.runOn(await this.host.openLog(this.host.logger))
      this.chronicle.enter('stopped')
    } catch (error) {
      this.chronicle.failed('end', error)
      this.chronicle.enter('failed')
      throw error
    } finally {
      // Whoever asks for the status of what has ended does not keep its state and records in memory.
      this.standbys = this.context = this.ends = undefined
    }
  }

  private get isOver(): boolean {
    return hasEnded(this.chronicle)
  }

  private async runOn(log: LogClient): Promise<void> {
    try {
      const run = await this.start(log)
      if (run === undefined) return
      this.context = run
      this.ends = new FreshEnds(log, this.host.clock, this.host.logger)
      await this.takePart(run)
    } finally {
      this.standbys?.close()
      await this.context?.effects.close()
      await this.context?.parts.membership.leave()
      await log.close()
    }
  }

  /** Goes on until the cluster can be reached, or a stop comes: a container often starts before its broker does. */
  private start(log: LogClient): Promise<RunContext | undefined> {
    const { clock, logger } = this.host
    const { group, startWithin } = this.spec.source
    for (const warning of this.plan.warnings) logger.warn({ group }, warning)
    const signal = this.stopping.signal
    return persist({ what: 'for the cluster, to start', fields: { group }, clock, logger, signal, withinMs: startWithin }, async () => {
      await log.connect()
      return this.open(log)
    })
  }

  /** Checks the plan against the log, and makes all that the pipeline works with. */
  private async open(log: LogClient): Promise<RunContext> {
    const { source, transaction } = this.spec
    const { clock, logger, trace, telemetry } = this.host
    const { provision } = transaction
    const plan = await checkPlan(this.plan, log, provision === true ? {} : provision === false ? undefined : provision)
    this.newTopics.add(plan)
    await this.newTopics.tell(log, logger, { group: source.group, inputs: source.topics, tasks: plan.tasks })
    const traces = telemetry?.tracer === undefined ? undefined : new PipelineTraces(telemetry.tracer, source.group)
    const make: MakeOutput | undefined =
      traces === undefined ? undefined : (info, checkSize) => new TracedTopicOutput(info, checkSize, traces)
    const outputs = new Outputs(plan.outputInfos, transaction.compression === 'none', plan.changelogInfos, make)
    const stores = plan.stores.map(({ spec, topic }) => ({
      spec,
      changelog: spec.source === undefined ? outputs.topic(topic) : undefined,
    }))
    const standbys = new Standbys(log, stores, clock, inArea(logger, 'state'))
    this.stores = stores
    this.standbys = standbys
    const durations = telemetry?.durations
    const unread = new UnreadPartitions(clock, logger)
    const limits = limitsOf(source, transaction)
    const reader = log.reader({
      isolation: 'read_committed',
      get prefetchBytes() {
        return limits.prefetchBytes
      },
      onData: () => this.wakeup.wake(),
      onNews: (_topic, partition) => this.context?.agenda.wakePartition(partition),
      maxBatchBytes: Math.max(MAX_BATCH_BYTES, transaction.maxBytes),
      onSkipped: source.onUnreadable === 'skip' ? (batch) => unread.skipped(batch) : undefined,
      onFetched: durations && ((took) => durations.operated('poll', { ...took, group: source.group })),
    })
    const producers = new Producers(log, {
      group: source.group,
      instanceId: source.instanceId,
      transactional: transaction.guarantee === 'exactly-once',
      logger,
      transactionTimeoutMs: transaction.transactionTimeout,
      compression: transaction.compression,
      trace,
    })
    const group = log.group({
      group: source.group,
      instanceId: source.instanceId,
      sessionTimeoutMs: source.sessionTimeout,
      rebalanceTimeoutMs: source.rebalanceTimeout,
    })
    const membership = new Membership(group, {
      group: source.group,
      instanceId: source.instanceId,
      topics: source.topics,
      changingTopics: source.changingTopics,
      innerTopics: plan.inlets.map(({ topic }) => topic),
      stateful: stores.length > 0,
      seated: producers.seated,
      sessionTimeoutMs: source.sessionTimeout,
      // A join that arrives in a rebalance is held until that is over, and only then does its session begin.
      outlastMs: this.host.yieldsAtOnce === true ? 0 : source.sessionTimeout + source.rebalanceTimeout,
      standbys: stores.length > 0 ? source.standbys : 0,
      warm: () => standbys.tasks,
      address: source.address,
      clock,
      logger: inArea(logger, 'group'),
      onChange: () => {
        this.chronicle.rebalancing()
        this.wakeup.wake()
      },
    })
    const { spec, wakeup } = this
    const tuned = { status: () => this.status(), adaptCalls: (step: string, most: number) => this.context?.adaptCalls(step, most) }
    const { autoTune } = transaction
    const watch = new TopicWatch({
      plan,
      log,
      clock,
      logger,
      onOutputs: (infos) => outputs.resize(infos),
      onNews: () => wakeup.wake(),
    })
    return new RunContext({
      spec,
      plan,
      log,
      reader,
      unread,
      producers,
      outputs,
      membership,
      watch,
      clock,
      logger,
      wakeup,
      stopping: this.stopping.signal,
      chronicle: this.chronicle,
      limits,
      tuner: autoTune === undefined ? undefined : new Tuner(autoTune, limits, tuned, clock, logger),
      traces,
      durations,
    })
  }

  private async takePart(run: RunContext): Promise<void> {
    const { membership, stopping, watch } = run.parts
    const troubles = new Troubles(run)
    run.troubleOf = (task) => troubles.of(task)
    const committer = new Committer(run, troubles, this.emit)
    const restoring = new StateRestore(run)
    const transactions = new Transactions(run, committer, new Investigator(run, committer, troubles), troubles, restoring)
    const countTasks = async (): Promise<number> => (run.taskCount = await watch.count())
    while (!stopping.aborted) {
      this.chronicle.enter('joining')
      this.chronicle.time.enter('rebalancing')
      this.chronicle.rebalancing()
      const assignment = await membership.join(countTasks, stopping)
      if (assignment === undefined) return
      committer.seated(assignment)
      this.chronicle.assigned()
      do {
        run.stale = false
        troubles.clear()
        if ((await committer.readyProducer()) && (await this.openAssignment(run, assignment)))
          await this.work(run, assignment, transactions, restoring)
      } while (run.stale && run.demand() === 'none')
      if (membership.state === 'fatal') throw membership.failure
    }
  }

  /** Finds where the tasks start and which copies of others are to be kept; false if the assignment went meanwhile. */
  private async openAssignment(run: RunContext, { tasks, standby, member }: Assignment): Promise<boolean> {
    if (!(await this.knowsPartitions(run, tasks))) return false
    const opened = await run.whileHeld('to know where its tasks go on', () => openTasks(this.startEnvironment(run, member), tasks))
    this.heldIn = undefined
    if (opened === undefined) return false
    run.tasks = opened
    if (run.paused.size > 0) run.assignReader()
    // What was kept warm here and is now ours has been taken over.
    return (await run.whileHeld('to keep warm copies', () => (this.standbys as Standbys).keep(standby).then(() => true))) === true
  }

  /**
   * Another member may have seen partitions that were added since this one looked. What goes for them is checked before anything is read.
   */
  private async knowsPartitions(run: RunContext, tasks: readonly number[]): Promise<boolean> {
    const largest = Math.max(-1, ...tasks)
    if (largest < run.taskCount) return true
    const known = await run.whileHeld('to see partitions that another member has seen', async () => {
      run.taskCount = await run.parts.watch.count()
      if (largest >= run.taskCount)
        throw logError('MISSING_TOPIC', 'retry', `the inputs have ${run.taskCount} partitions here, and task ${largest} was assigned`)
      return true
    })
    return known === true
  }

  /** Transactions of one assignment, until it is to be given back. */
  private async work(run: RunContext, assignment: Assignment, transactions: Transactions, restoring: StateRestore): Promise<void> {
    this.serving = assignment
    if (!run.parts.stopping.aborted) this.chronicle.enter('running')
    let over = false
    const restored = restoring.restore(() => over || run.demand() !== 'none')
    try {
      await transactions.runAll()
      if (!run.stale && run.parts.membership.state !== 'lost') this.heldIn = assignment.member
    } finally {
      this.serving = undefined
      over = true
      // Nobody wants what a restore reads that is still under way in a stop, and the log may not answer it.
      await Promise.race([restored, aborted(run.parts.stopping)])
    }
  }

  private startEnvironment(run: RunContext, member: Assignment['member']): StartEnvironment {
    const { heldIn } = this
    const { log, reader, clock, plan } = run.parts
    return {
      log,
      reader,
      settings: this.spec.source,
      clock,
      earlier: run.tasks,
      // A generation without us would have let others have the tasks, and give them back, unseen.
      uninterrupted: heldIn !== undefined && heldIn.memberId === member.memberId && heldIn.generation + 1 === member.generation,
      stores: this.stores,
      warmCopy: (task) => this.standbys?.take(task),
      inlets: plan.inlets,
      unread: run.parts.unread,
      onPositions: () => run.assignReaderSoon(),
    }
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
}

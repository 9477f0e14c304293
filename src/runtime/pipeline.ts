import { reactionTo } from '../log/error.js'
import type { LogClient, LogProducer, LogReader, PartitionOffset, TopicInfo, TraceEvent } from '../log/port.js'
import { LogRecord } from '../record/record.js'
import { sleep, type Clock } from '../record/clock.js'
import { MillraceError, errorMessage, type ErrorCode } from '../record/error.js'
import { restore } from '../state/restore.js'
import { FailedRecord } from '../record/failed-record.js'
import type { Logger } from '../record/logger.js'
import { Mark, Tally, mark } from './accounting.js'
import type { Commit, TaskCommit } from './commit.js'
import type { CommitFate } from './commit-fate.js'
import { CommitUnderWay } from './commit-under-way.js'
import { writeDeadLetter } from './dead-letter.js'
import { Membership, type Assignment } from './group/membership.js'
import { Outputs } from './outputs.js'
import { checkPlan, planOf, taskCount, type CheckedPlan, type Plan } from './plan.js'
import { Round, type RoundEnd, type RoundEnvironment } from './round.js'
import type { SourceSettings, TransactionSettings } from './settings.js'
import type { Project } from './slice.js'
import { Standbys } from './standbys.js'
import { openTasks, type StartEnvironment } from './start.js'
import { Suspicion } from './suspicion.js'
import type { PlannedStore, TaskState } from './task-state.js'
import type { Task } from './task.js'
import { Wakeup } from './wakeup.js'

/** Where a pipeline lives. */
export interface PipelineHost {
  readonly openLog: () => Promise<LogClient>
  readonly clock: Clock
  readonly logger: Logger
  readonly trace: ((event: TraceEvent) => void) | undefined
  /** Told of every run, so that closing the cluster can wait for it. Never rejects. */
  readonly onRun: (ended: Promise<void>) => void
}

export interface PipelineSpec {
  readonly source: SourceSettings
  readonly transaction: TransactionSettings
  readonly project: Project
}

/** A task whose slice failed: runs alone until the record to blame is known, while the others go on. */
interface Trouble {
  readonly suspicion: Suspicion
  cause: unknown
  notBefore: number
  delayMs: number
}

/** Mistakes in the program: running them again, or without some record, changes nothing. */
const PROGRAM_ERRORS: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'CLAIM_STORE_FAILED',
  'SLICE_COMPLETED_EARLY',
  'SLICE_SUBSCRIBED_LATE',
  'SLICE_STALLED',
  'OUTSIDE_SLICE',
  'NOT_PLANNED',
  'INVALID_OPTIONS',
])
/** Refusals of the log that no record is to blame for. */
const REFUSALS: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['UNAUTHORIZED', 'MISSING_TOPIC', 'UNSUPPORTED_FORMAT'])

const FIRST_LIMIT = 1_000
/** From one round to the next, the limit grows to what there was time for. */
const MIN_GROWTH = 4
const MAX_GROWTH = 32
const RETRY_MS = 200
/** Alarm of a task whose state has just been restored. */
const RESTORED = 'restored'
const MAX_RETRY_MS = 5_000
/** A producer fenced this often in a row, with a live membership, has a rival. */
const MAX_FENCED = 5
/** How often to look whether partitions were added. */
const TOPIC_CHECK_MS = 60_000

/**
 * One running pipeline: takes part in the group, runs one transaction after the other over its tasks, and recovers.
 * How a record travels through it is told in DESIGN.md.
 */
export class Pipeline {
  readonly plan: Plan
  private readonly wakeup: Wakeup
  private readonly stopping = new AbortController()
  private checked!: CheckedPlan
  private log!: LogClient
  private outputs!: Outputs
  private producer!: LogProducer
  private producerReady = false
  private reader!: LogReader
  private membership!: Membership
  /** Of the assignment being worked on. */
  private generation = 0
  private tasks: Task[] = []
  private stores: readonly PlannedStore[] = []
  private standbys!: Standbys
  /** Set while the tasks are those of an assignment. */
  private serving: Assignment | undefined
  /** The member and generation that the tasks were last held in. */
  private heldIn: Assignment['member'] | undefined
  /** Set where the state in memory may not be what is in the log: it is read again, in the same assignment. */
  private reopen = false
  private restoreFailure: { readonly error: unknown } | undefined
  private readonly shared = new Map<string, unknown>()
  private readonly troubles = new Map<Task, Trouble>()
  private limit: number
  /** Failures in a row of the log, not of user code. */
  private setbacks = 0
  private fenced = 0
  private failedAlarms = 0
  private reassigning = false

  constructor(
    private readonly spec: PipelineSpec,
    private readonly host: PipelineHost,
    private readonly emit: (commit: Commit) => void,
  ) {
    this.wakeup = new Wakeup(host.clock)
    this.limit = Math.min(FIRST_LIMIT, spec.transaction.maxRecords)
    const { onError, declare } = spec.transaction
    const topics = typeof onError === 'object' ? [...declare.topics, onError.deadLetter] : declare.topics
    this.plan = planOf(spec.project, spec.source.group, spec.source.topics, { topics })
  }

  /** Where the state of a task is, for those who ask from outside: here, at the owner of that address, or not to be had right now. */
  whereIs(partition: number): { readonly state: TaskState } | { readonly owner: string } | undefined {
    const { serving } = this
    if (serving === undefined || this.membership.state === 'lost' || this.membership.state === 'fatal') return undefined
    if (serving.tasks.includes(partition)) {
      const task = this.tasks.find((one) => one.partition === partition)
      return task?.ready === true ? { state: task.state } : undefined
    }
    const owner = serving.owners[partition]
    return owner === undefined ? undefined : { owner }
  }

  /** Number of tasks; undefined before the topics were looked at. */
  get taskCount(): number | undefined {
    return (this.checked as CheckedPlan | undefined)?.tasks
  }

  /** Ends the pipeline in order; `run` then resolves. */
  stop(): void {
    this.stopping.abort()
    this.wakeup.wake()
  }

  /** Runs until stopped. @throws MillraceError for everything that needs somebody to change something */
  async run(): Promise<void> {
    const { source, transaction } = this.spec
    const { clock, logger } = this.host
    this.log = await this.host.openLog()
    try {
      await this.log.connect()
      const { provision } = transaction
      for (const warning of this.plan.warnings) logger.warn({ group: source.group }, warning)
      this.checked = await checkPlan(this.plan, this.log, provision === true ? {} : provision === false ? undefined : provision)
      this.outputs = new Outputs(this.checked.outputInfos, transaction.compression === 'none', this.checked.changelogInfos)
      this.stores = this.plan.stores.map(({ spec, topic }) => ({
        spec,
        changelog: spec.source === undefined ? this.outputs.topic(topic) : undefined,
      }))
      this.standbys = new Standbys(this.log, this.stores, clock, logger)
      this.reader = this.log.reader({ isolation: 'read_committed', prefetchBytes: source.prefetchBytes, onData: () => this.wakeup.wake() })
      this.producer = this.log.producer({
        transactionalId: transaction.guarantee === 'exactly-once' ? `${source.group}-${source.instanceId ?? randomId()}` : undefined,
        transactionTimeoutMs: transaction.transactionTimeout,
        compression: transaction.compression,
        trace: this.host.trace,
      })
      const group = this.log.group({
        group: source.group,
        instanceId: source.instanceId,
        sessionTimeoutMs: source.sessionTimeout,
        rebalanceTimeoutMs: source.rebalanceTimeout,
      })
      this.membership = new Membership(group, {
        group: source.group,
        instanceId: source.instanceId,
        topics: source.topics,
        sessionTimeoutMs: source.sessionTimeout,
        standbys: this.stores.length > 0 ? source.standbys : 0,
        warm: () => this.standbys.tasks,
        address: source.address,
        clock,
        logger,
        onChange: () => this.wakeup.wake(),
      })
      await this.takePart()
    } finally {
      this.standbys?.close()
      await this.membership?.leave()
      await this.log.close()
    }
  }

  private async takePart(): Promise<void> {
    while (!this.stopping.signal.aborted) {
      const assignment = await this.membership.join(() => this.countTasks(), this.stopping.signal)
      if (assignment === undefined) return
      do {
        this.reopen = false
        await this.work(assignment)
      } while (this.reopen && this.demand() === 'none')
      if (this.membership.state === 'fatal') throw this.membership.failure
    }
  }

  /** Transactions of one assignment, until it is to be given back. */
  private async work(assignment: Assignment): Promise<void> {
    const { tasks, standby, member } = assignment
    this.troubles.clear()
    this.generation = member.generation
    if (!(await this.readyProducer())) return
    const opened = await this.whileHeld(() => openTasks(this.startEnvironment(member), tasks))
    this.heldIn = undefined
    if (opened === undefined) return
    this.tasks = opened
    // What was kept warm here and is now ours has been taken over.
    if ((await this.whileHeld(() => this.standbys.keep(standby).then(() => true))) === undefined) return
    this.serving = assignment
    let over = false
    const restored = this.restore(() => over || this.demand() !== 'none')
    try {
      await this.transact(member)
      if (!this.reopen && this.membership.state !== 'lost') this.heldIn = member
    } finally {
      this.serving = undefined
      over = true
      await restored
    }
  }

  private startEnvironment(member: Assignment['member']): StartEnvironment {
    const { heldIn } = this
    return {
      log: this.log,
      reader: this.reader,
      settings: this.spec.source,
      clock: this.host.clock,
      earlier: this.tasks,
      // A generation without us would have let others have the tasks, and give them back, unseen.
      uninterrupted: heldIn !== undefined && heldIn.memberId === member.memberId && heldIn.generation + 1 === member.generation,
      stores: this.stores,
      warmCopy: (task) => this.standbys.take(task),
      inlets: this.plan.inlets,
      onPositions: () => this.reassign(),
    }
  }

  /** Tells the reader where the tasks go on, once for all that change their positions in one turn. */
  private reassign(): void {
    if (this.reassigning) return
    this.reassigning = true
    queueMicrotask(() => {
      this.reassigning = false
      this.reader.assign(this.tasks.flatMap((task) => task.fetchPositions()))
    })
  }

  /** Fills the stores of new tasks, which take part once that is done; the others go on meanwhile. Never rejects. */
  private async restore(cancelled: () => boolean): Promise<void> {
    const waiting = this.tasks.filter((task) => !task.ready)
    if (waiting.length === 0) return
    const parts = waiting.map((task) => [task, task.state.restoring] as const)
    const { clock, logger } = this.host
    try {
      const all = parts.flatMap(([, part]) => part)
      if (!(await restore(all, { log: this.log, clock, logger, cancelled }))) return
      for (const [task, part] of parts) {
        for (const { spec, store, topic, reached } of part) if (spec.source !== undefined) task.follow(topic, store, reached ?? 0)
        task.ready = true
        // An empty slice, in which operators see what was restored and set their alarms.
        if (this.plan.alarms) task.alarms.set(RESTORED, clock.now())
      }
      if (this.stores.some(({ spec }) => spec.source !== undefined)) this.reader.assign(this.tasks.flatMap((task) => task.fetchPositions()))
    } catch (error) {
      this.restoreFailure = { error }
    } finally {
      this.wakeup.wake()
    }
  }

  private async transact(member: Assignment['member']): Promise<void> {
    let topicsChecked = this.host.clock.now()
    let before: CommitUnderWay | undefined

    while (this.demand() === 'none' && !this.reopen) {
      if (before === undefined) {
        if (this.restoreFailure !== undefined) await this.recoverRestore()
        if (!(await this.readyProducer())) break
        const trouble = this.dueTrouble()
        if (trouble !== undefined) {
          await this.investigate(trouble, member)
          continue
        }
      }
      // Each round begins with another task: a limit of fewer records than tasks would starve the last ones.
      this.tasks.push(...this.tasks.splice(0, 1))
      const healthy = this.tasks.filter((task) => task.ready && !this.troubles.has(task))
      const round = new Round(healthy, { ...this.limits(), live: true }, this.environment(before?.fate))
      const end = await this.runRound(round)
      if (before !== undefined) {
        await before.done
        const broken = before.fate.state === 'failed'
        const took = await this.conclude(before)
        before = undefined
        if (broken) {
          // It took effect after all: only what came after it comes again.
          if (took) this.undoTasks()
          continue
        }
        if (end.kind === 'idle') continue
      }
      if (end.kind === 'idle') {
        if (this.host.clock.now() - topicsChecked >= TOPIC_CHECK_MS) {
          topicsChecked = this.host.clock.now()
          if ((await this.whileHeld(() => this.countTasks())) !== this.checked.tasks) return
        }
        await this.wakeup.wait(this.nextLook())
      } else if (end.kind === 'done') {
        this.adapt(round)
        const commit = this.beginCommit(round, healthy, member)
        if (this.plan.overlaps && this.troubles.size === 0) before = commit
        else await this.conclude(commit)
      } else if (end.kind === 'failed') {
        await this.giveUp(round)
        await this.suspect(end)
      } else {
        await this.handle(end, round, counted(healthy))
      }
    }
    if (before !== undefined) await this.conclude(before)
    // Positions of what is kept are compared with the committed offsets when the next assignment comes.
    for (const task of this.tasks) task.rollback()
  }

  private async runRound(round: Round): Promise<RoundEnd> {
    try {
      return await round.run()
    } catch (error) {
      // Only the reader throws here: user code fails its slice instead.
      return { kind: 'send-failed', error }
    }
  }

  private environment(before?: CommitFate): RoundEnvironment {
    const { transaction, project } = this.spec
    return {
      group: this.spec.source.group,
      taskCount: this.checked.tasks,
      inputs: this.spec.source.topics,
      project,
      outputs: this.outputs,
      producer: this.producer,
      clock: this.host.clock,
      logger: this.host.logger,
      shared: this.shared,
      standing: {
        generation: this.generation,
        held: this.tasks.map(({ partition }) => partition),
        committedOffsets: (group, partitions) => this.log.committedOffsets(group, partitions),
      },
      wakeup: this.wakeup,
      streamBytes: transaction.streamBytes,
      stallAfterMs: transaction.stallAfter,
      drainMs: transaction.drainWithin,
      demand: () => this.demand(),
      before,
    }
  }

  private limits(): { everyMs: number; maxRecords: number; maxBytes: number } {
    const { every, maxBytes } = this.spec.transaction
    return { everyMs: every, maxRecords: this.limit, maxBytes }
  }

  private demand(): 'none' | 'drain' | 'drop' {
    const { state } = this.membership
    if (state === 'lost' || state === 'fatal') return 'drop'
    return state === 'rebalancing' || this.stopping.signal.aborted ? 'drain' : 'none'
  }

  /** Slices should take about as long as the commit interval: a slow pipeline gets fewer records at a time. */
  private adapt(round: Round): void {
    const { every, maxRecords } = this.spec.transaction
    const took = round.endedAt - (round.startedAt ?? round.endedAt)
    if (round.records < this.limit && took <= 2 * every) return
    if (took <= every)
      this.limit = Math.min(maxRecords, this.limit * Math.min(MAX_GROWTH, Math.max(MIN_GROWTH, Math.floor(every / Math.max(1, took)))))
    else if (took > 2 * every) this.limit = Math.max(1, Math.min(maxRecords, Math.ceil((round.records * Math.max(every, 1)) / took)))
  }

  /** Commits what a round did. True if it is in the log; else everything since the last commit comes again. */
  private commit(round: Round, tasks: readonly Task[], member: Assignment['member']): Promise<boolean> {
    return this.conclude(this.beginCommit(round, tasks, member))
  }

  /** Sends what a round did to the log. Whether that succeeded is asked by `conclude`, when nothing runs that would have to be undone. */
  private beginCommit(round: Round, tasks: readonly Task[], member: Assignment['member']): CommitUnderWay {
    const began = this.host.clock.now()
    const commit = new CommitUnderWay(round, tasks, began)
    commit.records = counted(tasks)
    try {
      commit.offsets = round.offsets()
      round.prepare()
      for (const task of tasks) task.state.flush(began)
      round.flush()
      // Offsets alone begin a transaction too, which has to be aborted if they are refused.
      round.sent ||= commit.offsets.length > 0
      commit.outputs = this.outputs.records
      commit.tallies = tasks.filter((task) => task.dirty).map((task) => ({ task, tally: task.tally() }))
      for (const task of tasks) task.seal()
      this.outputs.reset()
      this.producer.commit(commit.offsets, member).then(
        () => this.committed(commit),
        (error: unknown) => {
          commit.failed(error)
          this.wakeup.wake()
        },
      )
    } catch (error) {
      commit.failed(error)
    }
    return commit
  }

  /** Waits for a commit, and recovers if it failed. True if it is in the log; else everything since the last commit comes again. */
  private async conclude(commit: CommitUnderWay): Promise<boolean> {
    await commit.done
    if (commit.fate.state === 'committed') return true
    const { round, error } = commit
    const { logger } = this.host
    const outcome = reactionTo(error) === 'indeterminate' ? await this.outcomeOf(commit.offsets) : 'aborted'
    if (outcome === 'unknown') {
      logger.warn(
        { error: errorMessage(error) },
        'the answer to a commit was lost, and it moved no offset that could tell: the state is read again',
      )
      await this.giveUp(round, false)
      this.reopen = true
      this.tasks = []
      return false
    }
    if (outcome === 'aborted') {
      await this.handle({ kind: 'send-failed', error }, round, commit.records)
      return false
    }
    logger.warn({ error: errorMessage(error) }, 'the answer to a commit was lost; the stored offsets show that it took effect')
    this.committed(commit)
    return true
  }

  private committed(commit: CommitUnderWay): void {
    const { round, tasks, tallies, outputs, offsets, began } = commit
    this.setbacks = 0
    this.fenced = 0
    this.failedAlarms = 0
    for (const task of tasks) task.commit()
    round.committed()
    commit.committed()
    // The next round may be waiting for it, with outputs to send.
    if (this.plan.overlaps) this.wakeup.wake()
    // An alarm that found nothing to do changed nothing.
    if (tallies.length === 0 && outputs === 0) return
    const ended = this.host.clock.now()
    const total = new Tally()
    for (const { tally } of tallies) total.merge(tally)
    this.emit({
      ...total.result(),
      outputs,
      lag: this.tasks.reduce((sum, task) => sum + task.lag(), 0),
      restoring: this.tasks.filter((task) => !task.ready).length,
      tasks: tallies.map(({ task, tally }): TaskCommit => ({ partition: task.partition, ...tally.result(), lag: task.lag() })),
      offsets,
      meters: Object.fromEntries([...round.meters].map(([name, meter]) => [name, meter.count])),
      durationMs: ended - (round.startedAt ?? began),
      commitMs: ended - began,
      generation: this.generation,
    })
  }

  /** After a commit without an answer: ends whatever is open under our id, then reads what is stored. */
  private async outcomeOf(offsets: readonly PartitionOffset[]): Promise<'committed' | 'aborted' | 'unknown'> {
    this.producerReady = false
    if (!(await this.readyProducer())) return 'unknown'
    if (offsets.length === 0) return 'unknown'
    const stored = await this.whileHeld(() => this.log.committedOffsets(this.spec.source.group, offsets))
    if (stored === undefined) return 'unknown'
    return offsets.every(({ offset }, i) => stored[i] === offset) ? 'committed' : 'aborted'
  }

  /** Undoes a round and tells those outside the log. `certain`: it did not commit, and what becomes of its records is still ours to say. */
  private async giveUp(round: Round, certain = true): Promise<void> {
    await this.undo(round)
    if (!round.joined) return
    // Who has lost its tasks may not know it yet, and has no say in what becomes of their records.
    const ours = certain && this.demand() !== 'drop' && (await this.membership.probe())
    const told = round.aborted(ours)
    let done = false
    void told.then(() => {
      done = true
      this.wakeup.wake()
    })
    while (!done && this.demand() === 'none') await this.wakeup.wait()
  }

  /** Nothing of a round stays in the log, its records come again. */
  private async undo(round: Round): Promise<void> {
    this.undoTasks()
    // One that has yet to be initialised ends by that what is open, whichever way it went.
    if (!round.sent || !this.producerReady) return
    try {
      await this.producer.abort()
    } catch (error) {
      this.host.logger.debug({ error: errorMessage(error) }, 'abort')
      if (reactionTo(error) === 'fatal') throw error
      this.producerReady = false
    }
  }

  private undoTasks(): void {
    this.outputs.reset()
    for (const task of this.tasks) task.rollback()
  }

  /** A restore that failed: the log's trouble passes, anything else needs somebody to act. */
  private async recoverRestore(): Promise<void> {
    const { error } = this.restoreFailure as NonNullable<typeof this.restoreFailure>
    this.restoreFailure = undefined
    if (reactionTo(error) === 'fatal') throw error
    this.host.logger.warn({ error: errorMessage(error) }, 'restoring state failed and begins again')
    await sleep(this.host.clock, RETRY_MS, this.stopping.signal)
    this.tasks = this.tasks.filter((task) => task.ready)
    this.reopen = true
  }

  /** Recovers from what the log, not user code, did to a round. */
  private async handle(end: RoundEnd, round: Round, records: ReadonlyMap<Task, number>): Promise<void> {
    const reaction = end.kind === 'send-failed' ? reactionTo(end.error) : undefined
    await this.giveUp(round, reaction !== 'lost' && reaction !== 'fatal')
    if (end.kind !== 'send-failed' || reaction === undefined) return
    const { error } = end
    const { logger, clock } = this.host
    const code = error instanceof MillraceError ? error.code : undefined
    if (code === 'OFFSET_OUT_OF_RANGE') return this.relocate(error as MillraceError)
    if (reaction === 'fatal' || (code !== undefined && REFUSALS.has(code))) throw error
    if (reaction === 'reinit' || reaction === 'indeterminate') this.producerReady = false
    if (reaction === 'lost') this.membership.lose()
    if (reaction === 'abort' && error instanceof MillraceError && !error.retryable) {
      // Too large, a timestamp the topic does not take: the broker names the partition written to, not the record, so every
      // task of the round is tried alone.
      for (const [task, count] of records) this.addTrouble(task, error, undefined, count)
      return
    }
    if (reaction === 'reinit') {
      await this.membership.probe()
      if (this.membership.state === 'fatal') throw this.membership.failure
      if (++this.fenced >= MAX_FENCED) {
        throw new MillraceError(
          'PRODUCER_FENCED',
          `the producer was fenced ${MAX_FENCED} times in a row: transactions run into the transaction timeout (raise transactionTimeout), or another program uses the same group and instance id`,
          { cause: error },
        )
      }
    }
    this.setbacks++
    logger.warn({ error: errorMessage(error), reaction, attempt: this.setbacks }, 'the transaction was aborted and will be run again')
    await sleep(clock, Math.min(MAX_RETRY_MS, RETRY_MS * 2 ** (this.setbacks - 1)), this.stopping.signal)
  }

  /** The records at a position are gone: follows `onOutOfRange`. */
  private async relocate(error: MillraceError): Promise<void> {
    const { onOutOfRange } = this.spec.source
    const { origin } = error
    if (onOutOfRange === 'stop' || origin === undefined) throw error
    const [offset] = (await this.whileHeld(() => this.log.offsets([origin], onOutOfRange))) ?? []
    if (offset === undefined) return
    this.host.logger.warn({ origin, offset, onOutOfRange }, 'records were deleted before they were read; going on at another offset')
    this.tasks.find((task) => task.partition === origin.partition)?.relocate(origin.topic, offset)
    this.reader.assign(this.tasks.flatMap((task) => task.fetchPositions()))
  }

  private async suspect(end: RoundEnd & { readonly kind: 'failed' }): Promise<void> {
    if (end.error instanceof MillraceError && PROGRAM_ERRORS.has(end.error.code)) throw end.error
    if (end.records === 0) {
      // What an alarm set off: no record to blame and nothing to leave out.
      const { retries, retryDelay } = this.spec.transaction
      if (++this.failedAlarms > retries) throw end.error
      this.host.logger.warn(
        { partition: end.task.partition, error: errorMessage(end.error) },
        'what was due in a task failed; it is run again',
      )
      await sleep(this.host.clock, retryDelay * 2 ** (this.failedAlarms - 1), this.stopping.signal)
      return
    }
    const waiting = isWaiting(end.error)
    this.addTrouble(end.task, end.error, waiting ? undefined : end.hint, end.records)
    if (waiting) this.postpone(end.task)
  }

  /** A slice that waits for others comes again until they are done: nothing in it is to blame. Not all members at the same moment: they may wait for each other. */
  private postpone(task: Task): void {
    const { retryDelay } = this.spec.transaction
    const trouble = this.troubles.get(task) as Trouble
    trouble.notBefore = this.host.clock.now() + Math.round(retryDelay * (0.5 + Math.random()))
  }

  private addTrouble(task: Task, cause: unknown, hint: number | undefined, records: number): void {
    const { retries, retryDelay } = this.spec.transaction
    const notBefore = retries > 0 ? this.host.clock.now() + retryDelay : 0
    this.host.logger.warn({ partition: task.partition, records, error: errorMessage(cause) }, 'a slice failed; it is run again by itself')
    this.troubles.set(task, { suspicion: new Suspicion(records, retries, hint), cause, notBefore, delayMs: retryDelay })
  }

  private dueTrouble(): Task | undefined {
    const now = this.host.clock.now()
    for (const [task, trouble] of this.troubles) if (trouble.notBefore <= now) return task
    return undefined
  }

  private nextLook(): number {
    const now = this.host.clock.now()
    let wait = TOPIC_CHECK_MS
    for (const task of this.tasks) if (task.ready && !this.troubles.has(task)) wait = Math.min(wait, Math.max(0, task.nextDue - now))
    for (const trouble of this.troubles.values()) wait = Math.min(wait, Math.max(0, trouble.notBefore - now))
    return wait
  }

  /** One step of the search for the record that fails, in a transaction of its own. */
  private async investigate(task: Task, member: Assignment['member']): Promise<void> {
    const trouble = this.troubles.get(task) as Trouble
    const { suspicion } = trouble
    const count = suspicion.next()
    const round = new Round(
      [task],
      { everyMs: Number.POSITIVE_INFINITY, maxRecords: count, maxBytes: Number.POSITIVE_INFINITY, live: false },
      this.environment(),
    )
    const end = await this.runRound(round)
    if (end.kind === 'failed') {
      await this.giveUp(round)
      if (end.error instanceof MillraceError && PROGRAM_ERRORS.has(end.error.code)) throw end.error
      if (isWaiting(end.error)) return this.postpone(task)
      trouble.cause = end.error
      suspicion.failed(count, end.hint)
      trouble.notBefore = suspicion.searching ? 0 : this.host.clock.now() + (trouble.delayMs *= 2)
    } else if (end.kind === 'done' || end.kind === 'idle') {
      const before = this.troubles.get(task)
      if (await this.commit(round, [task], member)) suspicion.passed(Math.max(count, round.records))
      else if (this.troubles.get(task) !== before) {
        // The broker refused it for its size: that is a failure of this part.
        this.troubles.set(task, trouble)
        suspicion.failed(count)
      }
    } else {
      await this.handle(end, round, counted([task]))
      return
    }
    if (suspicion.verdict === 'cleared') this.troubles.delete(task)
    if (suspicion.verdict === 'found') {
      this.troubles.delete(task)
      await this.applyPolicy(task, trouble, member)
    }
  }

  /** The one failing record stands first in the task's replay. */
  private async applyPolicy(task: Task, { cause, suspicion }: Trouble, member: Assignment['member']): Promise<void> {
    const { onError } = this.spec.transaction
    const record = task.takeOne()
    if (!(record instanceof LogRecord)) return
    const described = `record ${record.id} fails: ${errorMessage(cause)}`
    if (onError === 'stop') {
      task.rollback()
      throw new MillraceError(
        'RECORD_FAILED',
        `${described}. All records before it are committed. To go on without it, set onError to 'skip' or { deadLetter: topic }`,
        { origin: record.origin, cause },
      )
    }
    mark(record, Mark.failed)
    if (typeof onError === 'object') {
      const output = this.outputs.topic(onError.deadLetter)
      if (output !== undefined) writeDeadLetter(output, new FailedRecord(record, cause, 'project', suspicion.runs))
    }
    this.host.logger.error(
      { origin: record.origin, error: errorMessage(cause), runs: suspicion.runs, policy: onError },
      'a record failed for good and was taken out',
    )
    const round = new Round([task], { ...this.limits(), live: false, maxRecords: 0 }, this.environment())
    await this.commit(round, [task], member)
  }

  /** InitProducerId until it works; false if the assignment went meanwhile. */
  private async readyProducer(): Promise<boolean> {
    if (this.producerReady) return true
    const done = await this.whileHeld(async () => {
      await this.producer.init()
      return true
    })
    this.producerReady = done === true
    return this.producerReady
  }

  /** Does something against the log again and again, as long as the assignment holds; in a stop just once, so that it knows what became of its last commit. */
  private async whileHeld<T>(action: () => Promise<T>): Promise<T | undefined> {
    const { clock, logger } = this.host
    for (let delay = RETRY_MS; this.demand() !== 'drop'; delay = Math.min(MAX_RETRY_MS, delay * 2)) {
      try {
        return await action()
      } catch (error) {
        if (reactionTo(error) === 'fatal') throw error
        if (this.stopping.signal.aborted) return undefined
        logger.debug({ error: errorMessage(error) }, 'trying again')
        await sleep(clock, delay, this.stopping.signal)
      }
    }
    return undefined
  }

  private async countTasks(): Promise<number> {
    const infos: ReadonlyMap<string, TopicInfo> = await this.log.topics(this.spec.source.topics)
    const missing = this.spec.source.topics.filter((topic) => !infos.has(topic))
    if (missing.length > 0)
      throw new MillraceError('MISSING_TOPIC', `input topics were deleted while they were read: ${missing.join(', ')}`)
    const tasks = taskCount(this.spec.source.topics, infos)
    this.checked = { ...this.checked, tasks }
    return tasks
  }
}

function counted(tasks: readonly Task[]): ReadonlyMap<Task, number> {
  return new Map(tasks.map((task) => [task, task.records]))
}

function isWaiting(error: unknown): boolean {
  return error instanceof MillraceError && error.code === 'CLAIM_PENDING'
}

function randomId(): string {
  return globalThis.crypto.randomUUID()
}

import { reactionTo, truncationOf } from '../log/error.js'
import { sleep } from '../record/clock.js'
import { placeOf, timed } from '../record/durations.js'
import { MillraceError, errorMessage } from '../record/error.js'
import { Tally } from './accounting.js'
import { endsAll, isOfARecord } from './blame.js'
import type { Commit, TaskCommit } from './commit.js'
import type { CommitFate } from './commit-fate.js'
import { CommitUnderWay } from './commit-under-way.js'
import type { Round, RoundEnd } from './round.js'
import { MAX_RETRY_MS, RETRY_MS } from './persist.js'
import type { RunContext } from './run-context.js'
import type { Assignment } from './group/membership.js'
import { progressOf } from './progress.js'
import type { Task } from './task.js'
import { TotalLag } from './total-lag.js'
import type { Troubles } from './troubles.js'

/** A producer fenced this often in a row, with a live membership, has a rival. */
const MAX_FENCED = 5
/** So long a stop waits to learn what became of a commit without an answer. */
const OUTCOME_MS = 5_000

/** What a round did goes to the log whole, or is undone whole. */
export class Committer {
  private producerReady = false
  /** A commit that the next round runs beside. */
  private underWay: CommitUnderWay | undefined
  /** Failures in a row of the log, not of user code. */
  private setbacks = 0
  private fenced = 0

  private readonly lag = new TotalLag()

  constructor(
    private readonly run: RunContext,
    private readonly troubles: Troubles,
    private readonly emit: (commit: Commit) => void,
  ) {}

  /** How the commit under way ends, if there is one. */
  get fate(): CommitFate | undefined {
    return this.underWay?.fate
  }

  /** A member, or one that was dropped and came again, begins with its producer anew: others may have had its transactional id. */
  seated({ seat, member, vacant }: Assignment): void {
    const { run } = this
    const { producers } = run.parts
    if (producers.take(seat) || run.memberIfAny?.memberId !== member.memberId) this.producerReady = false
    run.member = member
    void producers.vacate(vacant)
  }

  /** InitProducerId until it works; false if the assignment went meanwhile, or a stop came and `graceMs` since. */
  async readyProducer(graceMs = 0): Promise<boolean> {
    if (this.producerReady) return true
    const done = await this.run.whileHeld(
      'to initialise the producer',
      async () => {
        await this.run.parts.producers.current.init()
        return true
      },
      graceMs,
    )
    this.producerReady = done === true
    return this.producerReady
  }

  /** Commits what a round did, and goes on at once: whether that succeeded is asked by `settle`. */
  start(round: Round): void {
    this.underWay = this.begin(round)
  }

  /**
   * Waits for the commit that was started. 'failed': what the round beside it did is undone as well, and comes again.
   * 'none': none was.
   */
  async settle(): Promise<'none' | 'committed' | 'failed'> {
    const commit = this.underWay
    if (commit === undefined) return 'none'
    if (commit.fate.state === 'open') this.run.parts.chronicle.time.enter(commit.stage)
    await commit.done
    const failed = commit.fate.state === 'failed'
    const took = await this.conclude(commit)
    this.underWay = undefined
    if (!failed) return 'committed'
    // It took effect after all: only what came after it comes again.
    if (took) this.undoTasks(commit.round)
    return 'failed'
  }

  /** Commits what a round did. True if it is in the log; else everything since the last commit comes again. */
  commit(round: Round): Promise<boolean> {
    return this.conclude(this.begin(round))
  }

  /** Sends what a round did to the log. Whether that succeeded is asked by `conclude`, when nothing runs that would have to be undone. */
  private begin(round: Round): CommitUnderWay {
    const { clock, wakeup } = this.run.parts
    const began = clock.monotonic()
    const tasks = round.touched()
    const commit = new CommitUnderWay(round, tasks, began)
    this.run.commit = commit
    commit.records = recordsOf(tasks)
    try {
      for (const task of tasks) task.endIntake()
      round.prepare()
      for (const task of tasks) task.state.flush(clock.now())
      const { effects, member } = this.run
      if (effects.none) {
        this.send(commit)
        return commit
      }
      // They go first, so the log never has offsets whose effects are not there.
      effects
        .commit({ tasks: tasks.map(progressOf), generation: member.generation, demand: () => this.run.demand() })
        .then(() => this.send(commit))
        .catch((error: unknown) => {
          commit.failed(error)
          wakeup.wake()
        })
    } catch (error) {
      commit.failed(error)
    }
    return commit
  }

  /** Hands the rest of the outputs and the offsets to the log. */
  private send(commit: CommitUnderWay): void {
    const { outputs, producers, wakeup } = this.run.parts
    const { round, tasks } = commit
    try {
      const moved = tasks.flatMap((task) => task.moved())
      round.flush()
      this.stage(commit, round.unacknowledged > 0 ? 'sending' : 'committing')
      round.onAcknowledged = () => this.stage(commit, 'committing')
      // The group's generation fences offsets alone: without any, what a member wrote that was dropped meanwhile would commit. (KIP-447)
      const offsets = moved.length === 0 && round.sent ? round.standing() : moved
      const metadata = this.run.effects.note
      commit.offsets = metadata === undefined ? offsets : offsets.map((at) => ({ ...at, metadata }))
      commit.moves = moved.length > 0
      // Offsets alone begin a transaction too, which has to be aborted if they are refused.
      round.sent ||= commit.offsets.length > 0
      commit.outputs = outputs.records
      commit.outputsByTopic = outputs.byTopic()
      commit.tallies = tasks.filter((task) => task.dirty).map((task) => ({ task, tally: task.tally() }))
      for (const task of tasks) task.beginCommit()
      outputs.reset()
      const { durations, clock, spec } = this.run.parts
      const about = durations === undefined ? {} : { group: spec.source.group, ...placeOf(commit.offsets) }
      const committed = producers.current.commit(commit.offsets, this.run.member)
      timed(durations, () => clock.monotonic(), 'commit', about, committed).then(
        () => this.committed(commit),
        (error: unknown) => {
          commit.failed(error)
          wakeup.wake()
        },
      )
    } catch (error) {
      commit.failed(error)
    }
  }

  private stage(commit: CommitUnderWay, stage: CommitUnderWay['stage']): void {
    commit.stage = stage
    // One that runs beside a round takes none of the loop's time.
    this.run.parts.chronicle.time.enterCommit(stage)
  }

  /** Waits for a commit, and recovers if it failed. True if it is in the log; else everything since the last commit comes again. */
  private async conclude(commit: CommitUnderWay): Promise<boolean> {
    if (commit.fate.state === 'open') this.run.parts.chronicle.time.enter(commit.stage)
    await commit.done
    if (commit.fate.state === 'committed') return true
    const { round, error } = commit
    const { logger } = this.run.parts
    const outcome = reactionTo(error) === 'indeterminate' ? await this.outcomeOf(commit) : 'aborted'
    if (outcome === 'unknown') {
      logger.warn(
        { error: errorMessage(error) },
        'the answer to a commit was lost, and no stored offset tells whether it took effect: the state is read again',
      )
      await this.giveUp(round, false, 'unknown')
      this.run.stale = true
      this.run.tasks = []
      return false
    }
    if (outcome === 'aborted') {
      await this.recover({ kind: 'log-failed', error }, round, commit.records)
      return false
    }
    logger.warn({ error: errorMessage(error) }, 'the answer to a commit was lost; the stored offsets show that it took effect')
    this.committed(commit)
    return true
  }

  private committed(commit: CommitUnderWay): void {
    const { round, tasks, tallies, outputs, offsets, began } = commit
    const { plan, wakeup, clock, unread, chronicle } = this.run.parts
    this.setbacks = 0
    this.fenced = 0
    this.troubles.failedAlarms = 0
    for (const task of tasks) task.commit()
    for (const { topic, partition, metadata } of offsets)
      if (metadata !== undefined) this.run.taskOf(partition)?.metadata.set(topic, metadata)
    round.committed()
    commit.committed()
    if (this.run.commit === commit) this.run.commit = undefined
    // The next round may be waiting for it, with outputs to send.
    if (plan.overlaps) wakeup.wake()
    // An alarm that found nothing to do changed nothing.
    if (tallies.length === 0 && outputs === 0) return
    const ended = clock.monotonic()
    const total = new Tally()
    for (const { tally } of tallies) total.merge(tally)
    const told: Commit = {
      ...total.result(),
      outputs,
      lag: this.lag.count(this.run.tasks, tasks, ended),
      unread: unread.list(),
      restoring: this.run.restoring,
      tasks: tallies.map(({ task, tally }): TaskCommit => ({ partition: task.partition, ...tally.result(), lag: task.lag() })),
      offsets: offsets.map(({ topic, partition, offset }) => ({ topic, partition, offset })),
      stores: this.run.storeUsage(),
      meters: Object.fromEntries([...round.meters].map(([name, meter]) => [name, meter.count])),
      durationMs: Math.round(ended - (round.startedAt ?? began)),
      commitMs: Math.round(ended - began),
      generation: this.run.member.generation,
    }
    chronicle.committed(told, commit.outputsByTopic)
    this.emit(told)
  }

  /**
   * After a commit without an answer: ends whatever is open under our id, then reads what is stored. Only who is a member throughout knows
   * whose commit that is.
   */
  private async outcomeOf({ offsets, moves }: CommitUnderWay): Promise<'committed' | 'aborted' | 'unknown'> {
    const { log, spec, membership } = this.run.parts
    this.producerReady = false
    if (!(await this.readyProducer(OUTCOME_MS)) || !moves) return 'unknown'
    const stored = await this.run.whileHeld(
      'to know what became of a commit',
      () => log.committedOffsets(spec.source.group, offsets),
      OUTCOME_MS,
    )
    // Whoever has been out of the group may be looking at what the next owner committed.
    if (
      stored === undefined ||
      (await this.run.whileHeld('to know whether this is still a member', () => membership.confirm(), OUTCOME_MS)) === undefined
    )
      return 'unknown'
    return offsets.every(({ offset }, i) => stored[i] === offset) ? 'committed' : 'aborted'
  }

  /** Undoes a round and tells those outside the log. `certain`: it did not commit, and what becomes of its records is still ours to say. */
  async giveUp(round: Round, certain = true, result: 'aborted' | 'unknown' = 'aborted'): Promise<void> {
    const { wakeup, chronicle } = this.run.parts
    chronicle.time.enter('recovering')
    round.traces?.settle(result)
    if (round.touched().length > 0) chronicle.undone[result]++
    this.run.commit = undefined
    await this.undo(round)
    if (!round.joined) return
    // Who has lost its tasks may not know it yet, and has no say in what becomes of their records.
    const ours = certain && this.run.demand() !== 'drop' && (await this.isMember())
    const told = round.aborted(ours)
    let done = false
    void told.then(() => {
      done = true
      wakeup.wake()
    })
    while (!done && this.run.demand() === 'none') await wakeup.wait()
  }

  /**
   * Whether this is still a member. A heartbeat that fails in passing does not tell, and is made again: else what was claimed for a record
   * that is taken out afterwards would stay claimed.
   */
  private async isMember(): Promise<boolean> {
    const { membership } = this.run.parts
    const known = await this.run.whileHeld(
      'to know whether this is still a member',
      async () => membership.state === 'fatal' || (await membership.confirm()),
      OUTCOME_MS,
    )
    return known === true && membership.state !== 'fatal'
  }

  /** Nothing of a round stays in the log, its records come again. */
  private async undo(round: Round): Promise<void> {
    this.undoTasks(round)
    this.run.effects.rollback()
    // One that has yet to be initialised ends by that what is open, whichever way it went.
    if (!round.sent || !this.producerReady) return
    try {
      await this.run.parts.producers.current.abort()
    } catch (error) {
      this.run.parts.logger.debug({ error: errorMessage(error) }, 'abort')
      if (reactionTo(error) === 'fatal') throw error
      this.producerReady = false
    }
  }

  /** A task that neither the round, nor the one that runs beside its commit, has looked at stands where its last commit left it. */
  private undoTasks(round: Round): void {
    this.run.parts.outputs.reset()
    for (const task of new Set([...round.looked(), ...(this.run.round?.looked() ?? [])])) {
      task.rollback()
      this.run.agenda.wake(task)
    }
  }

  /** Recovers from what the log, not user code, did to a round. */
  async recover(end: RoundEnd, round: Round, records: ReadonlyMap<Task, number>): Promise<void> {
    const reaction = end.kind === 'log-failed' ? reactionTo(end.error) : undefined
    await this.giveUp(round, reaction !== 'lost' && reaction !== 'fatal')
    if (end.kind !== 'log-failed' || reaction === undefined) return
    const { error } = end
    const { membership, logger, clock, stopping, chronicle } = this.run.parts
    chronicle.failed('log', error)
    const code = error instanceof MillraceError ? error.code : undefined
    if (code === 'OFFSET_OUT_OF_RANGE') return this.relocate(error as MillraceError)
    const refused = reaction === 'abort' && error instanceof MillraceError && !error.retryable
    if (reaction === 'fatal' || endsAll(error) || (refused && !isOfARecord(error))) throw error
    if (reaction === 'reinit' || reaction === 'indeterminate') this.producerReady = false
    if (reaction === 'lost') membership.lose()
    if (refused) {
      // Too large, a timestamp the topic does not take: the broker names the partition written to, not the record, so every
      // task of the round is tried alone.
      for (const [task, count] of records) this.troubles.add(task, error, undefined, count)
      return
    }
    if (reaction === 'reinit') {
      // Under this id another may be at work, whom the group has put in the place of this one: it must not be fenced in return.
      const member = await this.isMember()
      if (membership.state === 'fatal') throw membership.failure
      if (!member) return
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
    await sleep(clock, Math.min(MAX_RETRY_MS, RETRY_MS * 2 ** (this.setbacks - 1)), stopping)
  }

  /** The records at a position are gone: follows `onOutOfRange`. */
  private async relocate(error: MillraceError): Promise<void> {
    const { log, spec, logger, plan } = this.run.parts
    const { onOutOfRange } = spec.source
    const { origin } = error
    const task = origin === undefined ? undefined : this.run.tasks.find(({ partition }) => partition === origin.partition)
    if (origin === undefined || task === undefined) throw error
    if (task.inputs.isView(origin.topic)) {
      // A table is what its topic holds: no record of the input is lost, and no other place than the beginning tells it.
      logger.warn({ origin }, 'the log no longer holds what of a table was to be read next; the table is read again')
      this.run.tasks = []
      this.run.stale = true
      return
    }
    if (onOutOfRange === 'stop') throw error
    // Of what the pipeline wrote for itself nothing is to be left out, wherever its inputs go on.
    const at = plan.inlets.some(({ topic }) => topic === origin.topic) ? 'earliest' : onOutOfRange
    // What is left of a log that was truncated was read already.
    const shared = at === 'earliest' ? truncationOf(error)?.goesOnAt : undefined
    const found = shared === undefined && this.run.whileHeld('to know where a partition begins and ends', () => log.offsets([origin], at))
    const offset = shared?.offset ?? ((await found) || [])[0]
    if (offset === undefined) return
    logger.warn({ origin, offset, onOutOfRange }, 'the log no longer holds what was to be read next; going on at another offset')
    task.relocate(origin.topic, offset, shared?.leaderEpoch)
    this.run.assignReader()
  }
}

/** Records of each task, to know where to look if they are refused. */
export function recordsOf(tasks: readonly Task[]): ReadonlyMap<Task, number> {
  return new Map(tasks.map((task) => [task, task.records]))
}

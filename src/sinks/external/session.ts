import { logError } from '../../log/error.js'
import type { LogError } from '../../log/port.js'
import { sleep } from '../../record/clock.js'
import { MillraceError, errorMessage } from '../../record/error.js'
import type { LogRecord } from '../../record/record.js'
import { WaitReport } from '../../record/wait-report.js'
import type { Effects, EffectsCommit, EffectsEnvironment, TaskProgress, TopicProgress } from '../../runtime/effects.js'
import { ExternalRound, type Chunk } from './external-round.js'
import type { ExternalStore, ExternalTransaction, PlaceToTake, RowChange, StoredRow } from './port.js'
import { TaskMarks } from './task-marks.js'
import { HANGS_AFTER_MS, Waiting } from './waiting.js'

export interface SessionSettings {
  /** After this long without an answer a call is given up, and made again over another connection. */
  readonly withinMs: number
  /** What to do where the log has committed more than the system has. */
  readonly onBehind: 'stop' | 'continue'
}

const FIRST_PAUSE_MS = 20
const MAX_PAUSE_MS = 5_000
/** What another's transaction holds is free again soon, and then taken by whoever asks first. */
const MAX_CONTENDED_PAUSE_MS = 100
/** How often a commit that waits looks whether it is still wanted. */
const LOOK_MS = 100
/** Rows that were taken by another so often in a row belong to another group of this name. */
const MAX_FENCED = 5

/**
 * What a pipeline writes to one external system, transaction by transaction, over all its tasks and sinks.
 *
 * docs/databases.md tells what it relies on: the external transaction commits first, with positions; if the log's does not, the records come
 * again, and those positions tell which of them are written.
 */
export class ExternalSession<Tx> implements Effects {
  private readonly marks = new Map<string, TaskMarks>()
  /** Those that the open transaction has to do with. */
  private readonly used = new Set<TaskMarks>()
  private round = new ExternalRound<Tx>()
  private readonly rollbacks = new Set<Promise<void>>()
  private fenced = 0

  constructor(
    private readonly store: ExternalStore<Tx>,
    private readonly environment: EffectsEnvironment,
    /** Of all sinks that write to it. */
    private readonly sinks: readonly string[],
    private readonly settings: SessionSettings,
  ) {}

  /** Writes what of the records is new, after what was handed in before. @throws what the system, or the code that writes, says of them */
  write(chunk: Chunk<Tx>): Promise<void> {
    const { round } = this
    const { clock, logger } = this.environment
    const waiting = new Waiting(chunk.slice, clock, (why) =>
      logger.warn(
        { store: this.store.name, partition: chunk.slice.partition, why },
        `${chunk.sink} waits for ${this.store.name}; nothing more is taken in meanwhile`,
      ),
    )
    const done = round.chain.then(() => this.perform(round, chunk, waiting)).finally(() => waiting.end())
    // What it fails with is told to its slice.
    round.chain = done.catch(() => {})
    return done
  }

  /** Has this written as the last of the open transaction, whose user code is done: right before `commit`. */
  add(chunk: Chunk<Tx>): void {
    this.round.chunks.push(chunk)
  }

  async commit({ tasks, generation, demand }: EffectsCommit): Promise<void> {
    const { round } = this
    await round.chain
    if (round.failure !== undefined) throw round.failure
    if (demand() === 'drop') throw logError('MEMBER_LOST', 'lost', `the tasks were lost before ${this.store.name} committed`)
    try {
      await this.untilDone(
        round,
        undefined,
        async () => {
          await this.takeAll(round, tasks, generation)
          const changes = this.sinks.flatMap((sink) =>
            tasks.flatMap((task) => this.marksOf(sink, task.partition, generation).changes(task.topics, round.chunks.length > 0)),
          )
          if (changes.length === 0) return
          await this.writeAll(round)
          if (round.failure !== undefined) throw round.failure
          await this.end(round, changes)
        },
        demand,
      )
    } catch (error) {
      throw this.asLogError(error)
    }
    for (const marks of this.used) marks.commit()
    this.used.clear()
    this.fenced = 0
    this.round = new ExternalRound<Tx>()
  }

  rollback(): void {
    const { round } = this
    round.giveUp()
    const undone = round.drop(round.busy > 0)
    this.rollbacks.add(undone)
    void undone.then(() => this.rollbacks.delete(undone))
    for (const marks of this.used) marks.reset()
    this.used.clear()
    this.round = new ExternalRound<Tx>()
  }

  async close(): Promise<void> {
    this.rollback()
    await Promise.all(this.rollbacks)
  }

  private async perform(round: ExternalRound<Tx>, chunk: Chunk<Tx>, waiting: Waiting): Promise<void> {
    const { slice, sink, records, every } = chunk
    let fresh: readonly unknown[] | undefined
    await this.untilDone(round, waiting, async () => {
      if (slice.closed || round.failure !== undefined) return
      if (fresh === undefined) {
        const { standing, partition } = slice
        const marks = this.marksOf(sink, partition, standing.generation)
        // All tasks at once: a system may have one connection, which the open transaction then holds.
        if (marks.begin(slice.progressOfTask()).length > 0) await this.takeAll(round, standing.progress(), standing.generation)
        fresh = every ? records : records.filter((record) => marks.admits(record as LogRecord<unknown, unknown>))
        if (fresh.length < records.length) slice.meter(`${sink}.repeated`).count += records.length - fresh.length
        if (fresh.length > 0) round.chunks.push({ ...chunk, records: fresh })
      }
      if (round.chunks.length > round.written) await this.writeAll(round)
    })
  }

  /** Writes what is not yet written in the open transaction, and opens one where there is none. */
  private async writeAll(round: ExternalRound<Tx>): Promise<void> {
    const { chunks } = round
    round.tx ??= await this.begin(round)
    const { tx } = round
    while (round.written < chunks.length) {
      const { write, records } = chunks[round.written] as Chunk<Tx>
      try {
        await this.call(round, async () => void (await write(tx.handle, records)))
      } catch (error) {
        if (error === ROUND_OVER || this.comesRight(error)) throw error
        if (round.written === chunks.length - 1) throw this.told(error)
        // It went well the first time, so its slice has gone on. What is nobody's fault is done again; else every task is tried alone.
        round.failure =
          error instanceof MillraceError && error.retryable
            ? logError(error.code, 'abort', error.message, { cause: error })
            : logError('RECORD_REFUSED', 'abort', errorMessage(error), { retryable: false, cause: error })
        return
      }
      round.written++
    }
  }

  private async begin(round: ExternalRound<Tx>): Promise<ExternalTransaction<Tx>> {
    const beginning = this.store.begin()
    try {
      return await this.call(round, () => beginning)
    } catch (error) {
      // One that is opened all the same is not left open.
      beginning.then(
        (tx) => tx.rollback(true),
        () => {},
      )
      throw error
    }
  }

  /** Commits the changed rows with all that was written. */
  private async end(round: ExternalRound<Tx>, changes: readonly RowChange[]): Promise<void> {
    const { group } = this.environment
    const tx = round.tx as ExternalTransaction<Tx>
    let committed: boolean
    try {
      committed = await this.call(round, () => tx.commit(group, changes))
    } catch (error) {
      // It may have taken effect, or still do so. Who takes the rows next learns which, and keeps it from doing so later.
      throw this.isAway(error) ? this.givenUp(error) : error
    }
    round.tx = undefined
    if (committed) return
    this.fenced++
    this.marks.clear()
    throw logError(
      'SINK_FENCED',
      this.fenced < MAX_FENCED ? 'lost' : 'fatal',
      `another member has taken the positions of its tasks in ${this.store.name}, or they stand elsewhere than they were left: nothing was written. ` +
        (this.fenced < MAX_FENCED
          ? 'This member was replaced, and joins again'
          : `That happened ${MAX_FENCED} times in a row: another program, maybe of another cluster, uses group '${group}' with the same positions. Give one of them a group, or a table of positions, of its own`),
      { retryable: this.fenced < MAX_FENCED },
    )
  }

  private marksOf(sink: string, partition: number, generation: number): TaskMarks {
    const key = `${sink}/${partition}`
    let marks = this.marks.get(key)
    // Between two generations others may have had the task.
    if (marks?.generation !== generation) this.marks.set(key, (marks = new TaskMarks(sink, partition, generation)))
    this.used.add(marks)
    return marks
  }

  private async takeAll(round: ExternalRound<Tx>, tasks: readonly TaskProgress[], generation: number): Promise<void> {
    const wanted = this.sinks.flatMap((sink) =>
      tasks.flatMap(({ partition, topics }) => {
        const marks = this.marksOf(sink, partition, generation)
        return marks.begin(topics).map((place) => ({
          marks,
          place,
          progress: topics.find(({ topic }) => topic === place.topic) as TopicProgress,
        }))
      }),
    )
    if (wanted.length === 0) return
    await round.drop(false)
    const places = wanted.map(({ place }) => place)
    const rows = await this.call(round, () => this.store.take(this.environment.group, places))
    await this.confirm(round)
    for (const [i, { marks, place, progress }] of wanted.entries()) {
      await this.check(place, progress, rows[i] as StoredRow)
      marks.add(progress, rows[i] as StoredRow)
    }
  }

  /**
   * Rows are taken by whoever comes last, which may be a member that is out of the group and does not know it yet: it would take what it
   * then writes for the newest. Asked after they are taken, the next owner of its tasks can only take them later.
   */
  private async confirm(round: ExternalRound<Tx>): Promise<void> {
    try {
      await this.call(round, () => this.environment.confirm())
    } catch (error) {
      if (!(error instanceof MillraceError) || !('reaction' in error)) throw error
      if (error.reaction === 'retry') throw new SilentError(error.message)
      // The round is dropped for it; no record is to blame.
      await round.ended
      throw ROUND_OVER
    }
  }

  /** Positions that are not of this log, or not of all of it. @throws MillraceError SINK_MISMATCH */
  private async check(place: PlaceToTake, { committed, stored }: TopicProgress, { position }: StoredRow): Promise<void> {
    const { group, ends, logger } = this.environment
    const where = `${place.topic}/${place.partition} of group '${group}', sink '${place.sink}'`
    if (stored && position < committed) {
      const text = `${this.store.name} has ${where} up to ${position}, and the log has committed ${committed}: what lies between is not in it. It lost its data (was emptied, or started again without), was restored from a backup, or failed over to a replica that had not all of it; or the pipeline ran without this sink for a while, or the offsets of the group were set forward`
      if (this.settings.onBehind === 'continue') return logger.warn({ ...place, position, committed }, text)
      throw new MillraceError(
        'SINK_MISMATCH',
        `${text}. Set the offset of the group back to ${position} to have the rest written (other outputs are made again then), or go on without it: onBehind: 'continue'`,
      )
    }
    if (position <= committed) return
    // No record is to blame where the log does not answer: it is asked again.
    const [end] = await ends([place]).catch((error: unknown) => Promise.reject(new SilentError(errorMessage(error))))
    if (end === undefined || position <= end) return
    throw new MillraceError(
      'SINK_MISMATCH',
      `${this.store.name} has ${where} up to ${position}, and the log ends at ${end}: the topic was made anew, or lost its end. Records from before ${position} would be taken for those already written. Delete the positions of the topic, if what is written of it may stay`,
    )
  }

  /** A call to the system: what hangs, or is no longer wanted, is left alone. */
  private async call<T>(round: ExternalRound<Tx>, call: () => Promise<T>): Promise<T> {
    if (round.over) throw ROUND_OVER
    const { clock } = this.environment
    const { withinMs } = this.settings
    let cancel = (): void => {}
    const late = new Promise<never>((_, reject) => {
      cancel = clock.after(withinMs, () => reject(new SilentError(`${this.store.name} has not answered for ${withinMs} ms`)))
    })
    const over = round.ended.then(() => Promise.reject(ROUND_OVER))
    round.busy++
    const called = call().finally(() => round.busy--)
    for (const promise of [called, late, over]) promise.catch(() => {})
    try {
      return await Promise.race([called, late, over])
    } finally {
      cancel()
    }
  }

  /** Again and again, at growing pauses, while the system is away or others hold what is wanted; each time with all that the transaction had. */
  private async untilDone<T>(
    round: ExternalRound<Tx>,
    waiting: Waiting | undefined,
    action: () => Promise<T>,
    demand: EffectsCommit['demand'] = () => 'none',
  ): Promise<T> {
    const { clock, logger } = this.environment
    const unwanted = new AbortController()
    const began = clock.monotonic()
    let report: WaitReport | undefined
    let cancel = (): void => {}
    const look = (): void => {
      const wanted = demand()
      if (wanted === 'drop' || (wanted === 'drain' && clock.monotonic() - began > HANGS_AFTER_MS)) unwanted.abort()
      else cancel = clock.after(LOOK_MS, look)
    }
    if (waiting === undefined) look()
    const given = new Promise<never>((_, reject) => unwanted.signal.addEventListener('abort', () => reject(ROUND_OVER), { once: true }))
    given.catch(() => {})
    try {
      for (let pause = FIRST_PAUSE_MS; ; pause *= 2) {
        try {
          return await Promise.race([action(), given])
        } catch (error) {
          if (!this.comesRight(error)) throw error
          const contended = this.store.blame(error) === 'again'
          await round.drop(!contended)
          if (demand() !== 'none') throw error
          pause = Math.min(pause, contended ? MAX_CONTENDED_PAUSE_MS : MAX_PAUSE_MS)
          const fields = { store: this.store.name }
          if (contended) {
            report ??= new WaitReport(clock, logger, fields, `for what others hold in ${this.store.name}`)
            report.because(error)
          } else {
            waiting?.hangs(errorMessage(error))
            logger.warn({ ...fields, error: errorMessage(error) }, `what was to be written to ${this.store.name} is written again`)
          }
          await Promise.race([sleep(clock, pause), round.ended, given])
        }
      }
    } finally {
      report?.end()
      cancel()
    }
  }

  /** What a slice fails with. */
  private told(error: unknown): unknown {
    if (this.store.blame(error) !== 'program') return error
    return new MillraceError(
      'SINK_REFUSED',
      `${this.store.name} refuses what is written, whatever the record: ${errorMessage(error)}. Look at what is written, where to, and the rights to do so`,
      { cause: error },
    )
  }

  /** Whether the system could not be reached, so that what became of a commit is not known. */
  private isAway(error: unknown): boolean {
    return error === ROUND_OVER || error instanceof SilentError || this.store.blame(error) === 'away'
  }

  /** Whether doing the same again can go well. */
  private comesRight(error: unknown): boolean {
    return error instanceof SilentError || this.store.blame(error) === 'away' || this.store.blame(error) === 'again'
  }

  private givenUp(error: unknown): LogError {
    this.marks.clear()
    const why = error === ROUND_OVER ? 'it was no longer wanted' : errorMessage(error)
    return logError('SINK_UNREACHABLE', 'abort', `the transaction in ${this.store.name} was given up: ${why}`, { cause: error })
  }

  private asLogError(error: unknown): unknown {
    if (error instanceof MillraceError && 'reaction' in error) return error
    if (error === ROUND_OVER || this.comesRight(error)) return this.givenUp(error)
    if (error instanceof MillraceError) return logError(error.code, error.retryable ? 'abort' : 'fatal', error.message, { cause: error })
    if (this.store.blame(error) === 'record')
      return logError('RECORD_REFUSED', 'abort', `${this.store.name} refuses the transaction: ${errorMessage(error)}`, {
        retryable: false,
        cause: error,
      })
    return logError('SINK_REFUSED', 'fatal', `${this.store.name} cannot commit: ${errorMessage(error)}`, { cause: error })
  }
}

/** Nobody wants any more what was to be done. */
const ROUND_OVER = new Error('the transaction was given up')

class SilentError extends Error {}

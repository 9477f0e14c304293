import { always } from './agenda.js'
import { sleep } from '../record/clock.js'
import { MillraceError, errorMessage } from '../record/error.js'
import { FailedRecord } from '../record/failed-record.js'
import { originText } from '../record/origin.js'
import { LogRecord } from '../record/record.js'
import { Mark, mark } from './accounting.js'
import { isNobodys } from './blame.js'
import { recordsOf, type Committer } from './committer.js'
import { isLetterTooLarge, writeDeadLetter } from './dead-letter.js'
import { Round, type RoundEnd } from './round.js'
import type { RunContext } from './run-context.js'
import type { Task } from './task.js'
import type { Trouble, Troubles } from './troubles.js'

/** Only what is kept of a failed transaction, and as long as it takes. */
const REPLAYED = { everyMs: Number.POSITIVE_INFINITY, maxBytes: Number.POSITIVE_INFINITY, live: false } as const

/** Finds the record that makes a slice fail, in transactions of the one task, and does with it what `onError` says. */
export class Investigator {
  constructor(
    private readonly run: RunContext,
    private readonly committer: Committer,
    private readonly troubles: Troubles,
  ) {}

  /** A slice failed in a round with others, which has been given up. */
  async suspect({ task, error, records, hint }: RoundEnd & { readonly kind: 'failed' }): Promise<void> {
    if (isNobodys(error)) throw error
    if (records === 0) {
      // What an alarm set off: no record to blame and nothing to leave out.
      const { spec, clock, logger, stopping } = this.run.parts
      const { retries, retryDelay } = spec.transaction
      if (++this.troubles.failedAlarms > retries) throw error
      logger.warn({ partition: task.partition, error: errorMessage(error) }, 'what was due in a task failed; it is run again')
      await sleep(clock, retryDelay * 2 ** (this.troubles.failedAlarms - 1), stopping)
      return
    }
    const waiting = isWaiting(error)
    const trouble = this.troubles.add(task, error, waiting ? undefined : hint, records)
    if (waiting) this.troubles.postpone(trouble)
  }

  /** One step of the search for the record that fails, in a transaction of its own. */
  async investigate(task: Task): Promise<void> {
    const trouble = this.troubles.of(task) as Trouble
    const { suspicion } = trouble
    const count = suspicion.next()
    const round = new Round(always([task]), { ...REPLAYED, maxRecords: count }, this.run.roundEnvironment())
    this.run.round = round
    const end = await round.run()
    if (end.kind === 'failed') {
      await this.committer.giveUp(round)
      if (isNobodys(end.error)) throw end.error
      if (isWaiting(end.error)) return this.troubles.postpone(trouble)
      trouble.cause = end.error
      suspicion.failed(count, end.hint)
      trouble.notBefore = suspicion.searching ? 0 : this.run.parts.clock.monotonic() + (trouble.delayMs *= 2)
    } else if (end.kind === 'done' || end.kind === 'idle') {
      if (await this.committer.commit(round)) suspicion.passed(Math.max(count, round.records))
      else if (this.troubles.of(task) !== trouble) {
        // The broker refused it for its size: that is a failure of this part.
        this.troubles.set(task, trouble)
        suspicion.failed(count)
      }
    } else {
      await this.committer.recover(end, round, recordsOf([task]))
      return
    }
    if (suspicion.verdict === 'cleared') this.troubles.end(task)
    if (suspicion.verdict === 'found') {
      this.troubles.end(task)
      await this.applyPolicy(task, trouble)
    }
  }

  /** The one failing record stands first in the task's replay. */
  private async applyPolicy(task: Task, { cause, suspicion }: Trouble): Promise<void> {
    const { spec, outputs, logger } = this.run.parts
    const { onError } = spec.transaction
    const record = task.takeOne()
    if (!(record instanceof LogRecord)) return
    const described = `record ${originText(record.origin)} fails: ${errorMessage(cause)}`
    if (onError === 'skip' && isLetterTooLarge(cause)) {
      task.rollback()
      throw new MillraceError(
        'RECORD_FAILED',
        `${described}. It is a dead letter, so it is not skipped: it would be nowhere. Raise max.message.bytes of the dead-letter topic, or set onError to { deadLetter: topic } with one that takes it`,
        { origin: record.origin, cause },
      )
    }
    if (onError === 'stop') {
      task.rollback()
      throw new MillraceError(
        'RECORD_FAILED',
        `${described}. All records before it are committed. To go on without it, set onError to 'skip' or { deadLetter: topic }`,
        { origin: record.origin, cause },
      )
    }
    mark(record, Mark.failed)
    const round = new Round(always([task]), { ...REPLAYED, maxRecords: 0 }, this.run.roundEnvironment())
    // Nothing worked on it this time, but its way ends here, or goes on in a dead letter.
    round.traces?.begin(record)?.failed(cause, 'project')
    if (typeof onError === 'object') {
      const output = outputs.topic(onError.deadLetter)
      if (output !== undefined) writeDeadLetter(output, new FailedRecord(record, cause, 'project', suspicion.runs))
    }
    logger.error(
      { origin: record.origin, error: errorMessage(cause), runs: suspicion.runs, policy: onError },
      'a record failed for good and was taken out',
    )
    if (this.run.parts.plan.gated) {
      round.leaveOut(task, record)
      const end = await round.run()
      // The record stands first in the replay again, and its failure is found once more.
      if (end.kind === 'failed') return this.committer.giveUp(round)
      if (end.kind !== 'done') return this.committer.recover(end, round, recordsOf([task]))
    }
    await this.committer.commit(round)
  }
}

function isWaiting(error: unknown): boolean {
  return error instanceof MillraceError && error.code === 'CLAIM_PENDING'
}

import { recordsOf, type Committer } from './committer.js'
import type { Investigator } from './investigator.js'
import { RecordLimit } from './record-limit.js'
import { Round, type RoundLimits } from './round.js'
import type { RunContext } from './run-context.js'
import type { StateRestore } from './state-restore.js'
import type { Troubles } from './troubles.js'

/** One transaction after the other, over the tasks of an assignment. */
export class Transactions {
  private readonly limit: RecordLimit

  constructor(
    private readonly run: RunContext,
    private readonly committer: Committer,
    private readonly investigator: Investigator,
    private readonly troubles: Troubles,
    private readonly restoring: StateRestore,
  ) {
    this.limit = new RecordLimit(run.parts.spec.transaction.every, run.parts.limits)
  }

  /** Until the assignment is to be given back, its state is to be read again, or the number of tasks has changed. */
  async runAll(): Promise<void> {
    const { run, committer, troubles } = this
    const { wakeup, plan, watch, chronicle, tuner, spec } = run.parts
    const { time } = chronicle

    tuner?.begin()
    while (run.demand() === 'none' && !run.stale && !watch.news) {
      watch.lookIfDue()
      tuner?.lookIfDue()
      await this.checkMemory()
      if (committer.fate === undefined) {
        if (this.restoring.failed) await this.restoring.recover()
        if (!(await committer.readyProducer())) break
        const failing = troubles.due()
        if (failing !== undefined) {
          await this.investigator.investigate(failing)
          run.agenda.wake(failing)
          continue
        }
      }
      const healthy = run.agenda.without((task) => troubles.has(task) || run.isPaused(task))
      const round = new Round(healthy, this.limits(), run.roundEnvironment(committer.fate))
      run.round = round
      const end = await round.run()
      const before = await committer.settle()
      if (before === 'failed') {
        round.traces?.settle('aborted')
        continue
      }
      if (end.kind === 'idle') {
        // What had to wait for that commit has its turn first.
        if (before === 'committed') continue
        time.enter(run.restoring > 0 ? 'restoring' : 'waiting')
        await wakeup.wait(this.untilLook())
      } else if (end.kind === 'done') {
        this.limit.adapt(round, run.callsAtOnce * round.width)
        tuner?.done(round, spec.transaction.every)
        if (plan.overlaps && troubles.isEmpty && !this.restoring.failed) committer.start(round)
        else await committer.commit(round)
      } else if (end.kind === 'failed') {
        await committer.giveUp(round)
        await this.investigator.suspect(end)
      } else {
        await committer.recover(end, round, recordsOf(round.touched()))
      }
    }
    await committer.settle()
    run.round = undefined
    // Positions of what is kept are compared with the committed offsets when the next assignment comes.
    for (const task of run.tasks) task.rollback()
    watch.raise()
  }

  /** @throws MillraceError STATE_TOO_LARGE, when the commit under way is decided */
  private async checkMemory(): Promise<void> {
    try {
      this.run.checkMemory()
    } catch (error) {
      await this.committer.settle()
      throw error
    }
  }

  private limits(): RoundLimits {
    const { spec, limits } = this.run.parts
    return { everyMs: spec.transaction.every, maxRecords: this.limit.records, maxBytes: limits.maxBytes, live: true }
  }

  private untilLook(): number {
    return Math.max(0, Math.min(this.run.parts.watch.waitMs, this.troubles.untilDue(), this.run.agenda.untilDue()))
  }
}

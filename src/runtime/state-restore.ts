import { reactionTo } from '../log/error.js'
import { sleep } from '../record/clock.js'
import { errorMessage } from '../record/error.js'
import { inArea } from '../record/logger.js'
import { restore } from '../state/restore.js'
import { RETRY_MS } from './persist.js'
import type { RunContext } from './run-context.js'

/** Alarm of a task whose state has just been restored. */
const RESTORED = 'restored'

/** Fills the stores of new tasks from their changelogs and tables, while the other tasks go on. */
export class StateRestore {
  private failure: { readonly error: unknown } | undefined

  constructor(private readonly run: RunContext) {}

  get failed(): boolean {
    return this.failure !== undefined
  }

  /** The tasks take part once that is done. Never rejects. */
  async restore(cancelled: () => boolean): Promise<void> {
    const waiting = this.run.tasks.filter((task) => !task.ready)
    if (waiting.length === 0) return
    const parts = waiting.map((task) => [task, task.state.restoring] as const)
    const { log, clock, plan, wakeup } = this.run.parts
    const logger = inArea(this.run.parts.logger, 'state')
    try {
      const all = parts.flatMap(([, part]) => part)
      if (!(await restore(all, { log, clock, logger, cancelled, onTurn: () => this.run.checkMemory() }))) return
      for (const [task, part] of parts) {
        for (const { spec, store, topic, reached = 0, reachedEpoch } of part)
          if (spec.source !== undefined) task.follow(topic, store, reached, reachedEpoch)
        // An empty slice, in which operators see what was restored and set their alarms.
        if (plan.alarms) task.alarms.setIn(RESTORED, 0)
        // Nothing to undo: it is there whatever becomes of the transactions of others.
        task.alarms.commit()
        this.run.restored(task)
      }
      if (plan.stores.some(({ spec }) => spec.source !== undefined)) this.run.assignReader()
    } catch (error) {
      this.failure = { error }
      this.run.parts.chronicle.failed('restore', error)
    } finally {
      wakeup.wake()
    }
  }

  /** After a failure: the log's trouble passes, anything else needs somebody to act. */
  async recover(): Promise<void> {
    const { error } = this.failure as NonNullable<typeof this.failure>
    const { clock, logger, stopping } = this.run.parts
    this.failure = undefined
    if (reactionTo(error) === 'fatal') throw error
    logger.warn({ error: errorMessage(error) }, 'restoring state failed and begins again')
    await sleep(clock, RETRY_MS, stopping)
    this.run.tasks = this.run.tasks.filter((task) => task.ready)
    this.run.stale = true
  }
}

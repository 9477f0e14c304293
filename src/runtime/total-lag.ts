import type { Task } from './task.js'

/** How old the lag of a task may be that nothing was read of. */
const RECOUNT_MS = 1_000

/**
 * Records that all tasks are behind. A commit looks at the tasks that took part in it; at the others once a second, since there may be
 * thousands.
 */
export class TotalLag {
  private lags = new Map<Task, number>()
  private tasks: readonly Task[] | undefined
  private sum = 0
  private countedAt = Number.NEGATIVE_INFINITY

  /** `touched`: those whose lag is to be looked at now; `now` by the monotonic clock. */
  count(tasks: readonly Task[], touched: readonly Task[], now: number): number {
    if (tasks !== this.tasks || now - this.countedAt >= RECOUNT_MS) {
      this.tasks = tasks
      this.countedAt = now
      this.lags = new Map(tasks.map((task) => [task, task.lag()]))
      this.sum = 0
      for (const lag of this.lags.values()) this.sum += lag
      return this.sum
    }
    for (const task of touched) {
      const lag = task.lag()
      this.sum += lag - (this.lags.get(task) ?? 0)
      this.lags.set(task, lag)
    }
    return this.sum
  }
}

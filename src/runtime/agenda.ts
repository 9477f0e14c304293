import type { Clock } from '../record/clock.js'
import { Due, NEVER, type DueItem } from '../state/due.js'
import type { TimeKind } from './alarms.js'
import type { Task } from './task.js'

/** The tasks of a round, as they have something to do. */
export interface TaskTurns {
  /** Those that may have, each in its turn. */
  take(): readonly Task[]
  /** A task is about to be looked at: what is told of it from here on is news. */
  begin(task: Task): void
  /** It was looked at; `found`: there was something, and there may be more. */
  end(task: Task, found: boolean): void
  /** How long until one has something to do of which nothing is told, in milliseconds. */
  untilDue(): number
}

/** So often all are looked at whatever was told: should word of one have been lost, it waits no longer. Milliseconds. */
const SWEEP_MS = 5_000

/** When a task is due by one of the times. */
class TaskDue implements DueItem {
  dueAt = NEVER

  constructor(readonly task: Task) {}
}

/**
 * Which tasks have something to do. A member may have thousands of which one has: those that nothing is told of, and that nothing is due
 * in, cost nothing.
 */
export class Agenda {
  private tasks: readonly Task[] = []
  private readonly byPartition = new Map<number, Task>()
  /** In the order of their turns. */
  private readonly active = new Set<Task>()
  private readonly dues = new Map<Task, Readonly<Record<TimeKind, TaskDue>>>()
  private readonly byDate = new Due<TaskDue>({ dueOf: ({ task }) => task.nextDue('date') })
  private readonly bySpan = new Due<TaskDue>({ dueOf: ({ task }) => task.nextDue('span') })
  private sweptAt = Number.NEGATIVE_INFINITY

  constructor(private readonly clock: Clock) {}

  /** Other tasks. All of them are looked at once, those that are not ready as soon as they are woken. */
  reset(tasks: readonly Task[]): void {
    for (const task of this.tasks) task.onDue = () => {}
    this.tasks = tasks
    this.byPartition.clear()
    this.active.clear()
    this.dues.clear()
    this.byDate.clear()
    this.bySpan.clear()
    for (const task of tasks) {
      this.byPartition.set(task.partition, task)
      this.dues.set(task, { date: new TaskDue(task), span: new TaskDue(task) })
      task.onDue = () => this.index(task)
    }
    this.wakeAll()
  }

  has(task: Task): boolean {
    return this.dues.has(task)
  }

  wake(task: Task): void {
    if (task.ready && this.has(task)) this.active.add(task)
  }

  /** There is news of a partition of the task's topics. */
  wakePartition(partition: number): void {
    const task = this.byPartition.get(partition)
    if (task !== undefined) this.wake(task)
  }

  wakeAll(): void {
    this.sweptAt = this.clock.monotonic()
    for (const task of this.tasks) this.wake(task)
  }

  /** Without some, which keep their place until they are let in again. */
  without(isLeftOut: (task: Task) => boolean): TaskTurns {
    return {
      take: () => this.take().filter((task) => !isLeftOut(task)),
      begin: (task) => void this.active.delete(task),
      end: (task, found) => {
        if (found) this.wake(task)
        else this.index(task)
      },
      untilDue: () => this.untilDue(),
    }
  }

  /** How long until a task has something to do of which nothing is told, in milliseconds. */
  untilDue(): number {
    // No look at the time where there is nothing to compare with it.
    const { next: date } = this.byDate
    const { next: span } = this.bySpan
    return Math.min(date === NEVER ? NEVER : date - this.clock.now(), span === NEVER ? NEVER : span - this.clock.monotonic())
  }

  private take(): readonly Task[] {
    if (this.clock.monotonic() - this.sweptAt >= SWEEP_MS) this.wakeAll()
    if (this.byDate.notBefore < NEVER) this.wakeDue(this.byDate, this.clock.now())
    if (this.bySpan.notBefore < NEVER) this.wakeDue(this.bySpan, this.clock.monotonic())
    return [...this.active]
  }

  private wakeDue(due: Due<TaskDue>, now: number): void {
    for (let item = due.take(now); item !== undefined; item = due.take(now)) this.wake(item.task)
    due.commit(this.tasks.length)
  }

  private index(task: Task): void {
    const due = this.dues.get(task)
    if (due === undefined) return
    this.byDate.push(due.date, task.nextDue('date'))
    this.bySpan.push(due.span, task.nextDue('span'))
  }
}

/** Tasks that are looked at each time. */
export function always(tasks: readonly Task[]): TaskTurns {
  return { take: () => tasks, begin: () => {}, end: () => {}, untilDue: () => NEVER }
}

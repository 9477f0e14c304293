import { errorMessage } from '../record/error.js'
import type { RunContext } from './run-context.js'
import { Suspicion } from './suspicion.js'
import type { Task } from './task.js'

/** A task whose slice failed: runs alone until the record to blame is known, while the others go on. */
export interface Trouble {
  readonly suspicion: Suspicion
  cause: unknown
  /** When it came up, in milliseconds since the epoch. */
  readonly at: number
  notBefore: number
  delayMs: number
}

/** The tasks whose slices failed, and when each is run again. */
export class Troubles {
  /** Alarms that failed, since anything was committed. */
  failedAlarms = 0
  private readonly byTask = new Map<Task, Trouble>()

  constructor(private readonly run: RunContext) {}

  get isEmpty(): boolean {
    return this.byTask.size === 0
  }

  has(task: Task): boolean {
    return this.byTask.has(task)
  }

  of(task: Task): Trouble | undefined {
    return this.byTask.get(task)
  }

  /** A slice of `records` failed; `hint`: how many stood before the one that was being pushed. */
  add(task: Task, cause: unknown, hint: number | undefined, records: number): Trouble {
    const { spec, clock, logger } = this.run.parts
    const { retries, retryDelay } = spec.transaction
    const notBefore = retries > 0 ? clock.monotonic() + retryDelay : 0
    logger.warn({ partition: task.partition, records, error: errorMessage(cause) }, 'a slice failed; it is run again by itself')
    this.run.parts.chronicle.failed('slice', cause)
    const suspicion = new Suspicion(records, retries, hint)
    const trouble = { suspicion, cause, at: clock.now(), notBefore, delayMs: retryDelay }
    this.byTask.set(task, trouble)
    return trouble
  }

  set(task: Task, trouble: Trouble): void {
    this.byTask.set(task, trouble)
  }

  /**
   * A slice that waits for others comes again until they are done: nothing in it is to blame. Not all members at the same moment: they may
   * wait for each other.
   */
  postpone(trouble: Trouble): void {
    const { spec, clock } = this.run.parts
    trouble.notBefore = clock.monotonic() + Math.round(spec.transaction.retryDelay * (0.5 + Math.random()))
  }

  end(task: Task): void {
    this.byTask.delete(task)
  }

  clear(): void {
    this.byTask.clear()
  }

  /** One that is to be run now. */
  due(): Task | undefined {
    const now = this.run.parts.clock.monotonic()
    for (const [task, trouble] of this.byTask) if (trouble.notBefore <= now && !this.run.isPaused(task)) return task
    return undefined
  }

  /** How long until the next of them is due, in milliseconds; infinity where there is none. */
  untilDue(): number {
    let next = Number.POSITIVE_INFINITY
    for (const [task, { notBefore }] of this.byTask) if (!this.run.isPaused(task)) next = Math.min(next, notBefore)
    return next - this.run.parts.clock.monotonic()
  }
}

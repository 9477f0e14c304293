import type { Clock } from '../record/clock.js'
import type { Slice } from './slice.js'
import type { Task } from './task.js'

/** So many slices are looked at whenever anything happens; more of them each time so long has passed, in milliseconds. */
const FEW = 16
const LOOK_MS = 50

/** How slices that have not ended are getting on. */
interface Look {
  /** One that waits for nothing that is known, where nothing has come out of any for this long. */
  readonly silent: { readonly task: Task; readonly slice: Slice; readonly ms: number } | undefined
  /** Whether one waits for something outside, which may take any time. */
  readonly outside: boolean
  /** Whether one waits for what it called. */
  readonly called: boolean
}

/** The slices of a round that nothing more goes into. Many may end one after the other: each is looked at when it does. */
export class OpenSlices {
  private readonly open: Map<Task, Slice>
  private aliveAt: number
  private alive = ''
  private lookedAt = Number.NEGATIVE_INFINITY

  constructor(
    slices: ReadonlyMap<Task, Slice>,
    private readonly clock: Clock,
  ) {
    this.open = new Map(slices)
    this.aliveAt = clock.monotonic()
  }

  get size(): number {
    return this.open.size
  }

  /** Where only one is left. */
  get last(): Task | undefined {
    if (this.open.size !== 1) return undefined
    for (const task of this.open.keys()) return task
    return undefined
  }

  /** Some may have ended. Returns one that failed. */
  settle(tasks: Iterable<Task>): readonly [Task, Slice] | undefined {
    for (const task of tasks) {
      const slice = this.open.get(task)
      if (slice?.failure !== undefined) return [task, slice]
      if (slice?.ended === true) this.open.delete(task)
    }
    return undefined
  }

  /** Undefined where it is too early for another look. */
  look(): Look | undefined {
    const now = this.clock.monotonic()
    if (this.open.size > FEW && now - this.lookedAt < LOOK_MS) return undefined
    this.lookedAt = now
    let signs = 0
    let silent: readonly [Task, Slice] | undefined
    let [outside, called] = [false, false]
    for (const [task, slice] of this.open) {
      const { waits, signsOfLife } = slice
      signs += signsOfLife
      if (waits.bounded + waits.outside === 0) silent ??= [task, slice]
      if (waits.outside > 0) outside = true
      if (waits.bounded + waits.outside + waits.calls > 0) called = true
    }
    const alive = `${this.open.size}/${signs}`
    if (alive !== this.alive || silent === undefined) {
      this.alive = alive
      this.aliveAt = now
      return { silent: undefined, outside, called }
    }
    const [task, slice] = silent
    return { silent: { task, slice, ms: now - this.aliveAt }, outside, called }
  }
}

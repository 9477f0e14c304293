import { MillraceError } from '../record/error.js'
import type { TopicOutput } from './outputs.js'

/** What an operator asks of the slice it was subscribed in. In planning it registers; in a run it gets the real thing. */
export interface SliceContext {
  readonly mode: 'plan' | 'run'
  /** Set once the slice was committed or given up: what still comes out of user code then belongs to no transaction. */
  readonly closed: boolean
  /**
   * Declares that `operator` writes to these topics and returns how to.
   * @throws MillraceError NOT_PLANNED if the dry subscription did not see the topic
   */
  outputs(operator: string, topics: readonly string[]): ReadonlyMap<string, TopicOutput>
  /** A counter of the transaction, by name. */
  meter(name: string): Meter
  /** Tells the watchdog that the slice is alive. */
  progress(): void
}

export interface Meter {
  count: number
}

let active: SliceContext | undefined

/**
 * The slice being subscribed or fed right now. Both are synchronous, so a module variable is enough, as with hooks.
 *
 * @throws MillraceError OUTSIDE_SLICE
 */
export function activeSlice(operator: string): SliceContext {
  if (active === undefined) {
    throw new MillraceError(
      'OUTSIDE_SLICE',
      `${operator} was subscribed outside a slice. It works inside the function given to withTransaction, subscribed synchronously: not after an await, a timer or on an observable that other code subscribes to`,
    )
  }
  return active
}

export function runInSlice<T>(context: SliceContext, fn: () => T): T {
  const before = active
  active = context
  try {
    return fn()
  } finally {
    active = before
  }
}

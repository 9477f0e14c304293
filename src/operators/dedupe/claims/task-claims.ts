import type { ClaimTable } from './claim-table.js'
import type { ProcessedId } from './processed.js'

/** Looks into the ids that the tasks of this process keep: from `taskClaims`, given to `dedupe` as its store. */
export class TaskClaims {
  // Weak: a task that went to another process takes its ids along.
  private readonly tables = new Map<string, WeakRef<ClaimTable>>()

  /** What the last commit knows of an id; undefined for one that no task of this process keeps. */
  find(id: string): ProcessedId | undefined {
    let latest: ProcessedId | undefined
    for (const table of this.held()) {
      const found = table.find(id)
      if (found !== undefined && (latest === undefined || found.at > latest.at)) latest = found
    }
    return latest
  }

  /** Number of ids kept by the tasks of this process. */
  get size(): number {
    let size = 0
    for (const table of this.held()) size += table.size
    return size
  }

  /** @internal */
  attach(task: string, table: ClaimTable): void {
    if (this.tables.get(task)?.deref() !== table) this.tables.set(task, new WeakRef(table))
  }

  private *held(): Generator<ClaimTable> {
    for (const [task, reference] of this.tables) {
      const table = reference.deref()
      if (table === undefined) this.tables.delete(task)
      else yield table
    }
  }
}

/**
 * A handle on the ids that the tasks keep themselves, for asking what happened to one.
 *
 * @example
 * const seen = taskClaims()
 * records.pipe(dedupe({ by: recordKey(), within: '10m', store: seen }), toTopic({ topic: 'out' }))
 * seen.find('order-17') // { state: 'passed', origin, at, until, duplicates, result }
 */
export function taskClaims(): TaskClaims {
  return new TaskClaims()
}

import type { TopicPartition } from '../log/port.js'
import { MillraceError } from '../record/error.js'
import type { Clock } from '../record/clock.js'
import type { Logger } from '../record/logger.js'

/** Where a task stands in one of its topics. */
export interface TopicProgress {
  readonly topic: string
  /** What the log has, as far as this member knows. */
  readonly committed: number
  /** Whether the group has it as a committed offset: else it is where the task was told to start. */
  readonly stored: boolean
  /** What the log has beside that offset of the effects that committed before it did: `hadEffects`. */
  readonly effects?: string | undefined
  /** The next offset to read: what the open transaction would commit. */
  readonly position: number
}

export interface TaskProgress {
  readonly partition: number
  readonly topics: readonly TopicProgress[]
}

const NOTE = 'effects='

/** Whether effects of this name went before a commit that this was noted with: then what they left with it has to be there. */
export function hadEffects(note: string | undefined, name: string): boolean {
  return note?.startsWith(NOTE) === true && note.slice(NOTE.length).split(',').includes(name)
}

/** What the commit of effects goes by. */
export interface EffectsCommit {
  /** The tasks that a transaction concerns, their intake ended. */
  readonly tasks: readonly TaskProgress[]
  readonly generation: number
  /** What the group, or a stop, asks meanwhile: what hangs is given up then. */
  readonly demand: () => 'none' | 'drain' | 'drop'
}

/**
 * Something outside the log whose changes commit with positions of their own, before the transaction of the log does. It tells by those
 * positions what it already has, should that transaction fail.
 */
export interface Effects {
  /** User code is done. @throws LogError: then the transaction of the log is aborted, and its records come again */
  commit(commit: EffectsCommit): Promise<void>
  /** The transaction is given up: what was written and not committed is undone, in the background where that takes its time. */
  rollback(): void
  close(): Promise<void>
}

/** What effects have for the life of a pipeline. */
export interface EffectsEnvironment {
  readonly group: string
  readonly clock: Clock
  readonly logger: Logger
  /** Where partitions end in the log. */
  ends(partitions: readonly TopicPartition[]): Promise<readonly number[]>
  /** Resolves once the coordinator has answered that this is still a member. @throws LogError 'retry' where it does not answer */
  confirm(): Promise<unknown>
}

/** Makes them, for all of these names. */
export type EffectsOf<E extends Effects> = (environment: EffectsEnvironment, names: readonly string[]) => E

export interface PlannedEffects {
  readonly create: EffectsOf<Effects>
  /** What writes to it, by name. */
  readonly names: ReadonlyMap<string, string>
}

/** All effects of a pipeline; they are there from the start, so that their positions move with every commit. */
export class PipelineEffects {
  private readonly all: ReadonlyMap<object, Effects>
  /**
   * Committed with every offset, so that the log knows of what is outside it: who finds nothing there can tell whether something was lost.
   * Undefined where there are none.
   */
  readonly note: string | undefined

  constructor(planned: ReadonlyMap<object, PlannedEffects>, environment: EffectsEnvironment) {
    this.note = planned.size === 0 ? undefined : NOTE + [...planned.values()].flatMap(({ names }) => [...names.keys()]).join(',')
    this.all = new Map([...planned].map(([key, { create, names }]) => [key, create(environment, [...names.keys()])]))
  }

  /** @throws MillraceError NOT_PLANNED */
  get(operator: string, key: object): Effects {
    const effects = this.all.get(key)
    if (effects !== undefined) return effects
    throw new MillraceError(
      'NOT_PLANNED',
      `${operator} writes to something outside that planning did not see: it is subscribed in a branch that an empty slice does not take, or what it writes to is made anew inside the project function. Make it outside, and move the sink out of mergeMap, defer or groupBy`,
    )
  }

  get none(): boolean {
    return this.all.size === 0
  }

  /** One after the other, in the order of the plan. @throws LogError */
  async commit(commit: EffectsCommit): Promise<void> {
    for (const effects of this.all.values()) await effects.commit(commit)
  }

  rollback(): void {
    for (const effects of this.all.values()) effects.rollback()
  }

  async close(): Promise<void> {
    await Promise.all([...this.all.values()].map((effects) => effects.close()))
  }
}

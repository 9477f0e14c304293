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
  /** It goes on beside the transactions, and leaves nothing with them: their commits do not concern it. */
  readonly isBeside?: true
  /** The pipeline runs: called once, before its first transaction. What is made to plan it is never started. */
  start?(): void
  /** User code is done. @throws LogError: then the transaction of the log is aborted, and its records come again */
  commit(commit: EffectsCommit): Promise<void>
  /** The transaction is given up: what was written and not committed is undone, in the background where that takes its time. */
  rollback(): void
  close(): Promise<void>
}

/** What effects have for the life of a pipeline. */
export interface EffectsEnvironment {
  readonly group: string
  /** The topics of the source. */
  readonly inputs: readonly string[]
  /** Topics of the pipeline's own that it reads as soon as they are written: not those of retries, which wait for a time. */
  readonly innerTopics: readonly string[]
  /** How many partitions each of them has. */
  readonly partitions: () => number
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
  private readonly committing: readonly Effects[]
  /**
   * Committed with every offset, so that the log knows of what is outside it: who finds nothing there can tell whether something was lost.
   * Undefined where there are none.
   */
  readonly note: string | undefined

  constructor(planned: ReadonlyMap<object, PlannedEffects>, environment: EffectsEnvironment) {
    this.all = new Map([...planned].map(([key, { create, names }]) => [key, create(environment, [...names.keys()])]))
    const committing = [...planned].filter(([key]) => this.all.get(key)?.isBeside !== true)
    this.committing = committing.map(([key]) => this.all.get(key) as Effects)
    this.note = committing.length === 0 ? undefined : NOTE + committing.flatMap(([, { names }]) => [...names.keys()]).join(',')
    for (const effects of this.all.values()) effects.start?.()
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
    return this.committing.length === 0
  }

  /** One after the other, in the order of the plan. @throws LogError */
  async commit(commit: EffectsCommit): Promise<void> {
    for (const effects of this.committing) await effects.commit(commit)
  }

  rollback(): void {
    for (const effects of this.committing) effects.rollback()
  }

  async close(): Promise<void> {
    await Promise.all([...this.all.values()].map((effects) => effects.close()))
  }
}

import type { TopicPartition } from '../log/port.js'
import { copiesHint } from '../record/copies.js'
import { MillraceError } from '../record/error.js'
import type { LogRecord, RawRecord } from '../record/record.js'
import type { StoreSpec, TaskStore } from '../state/store.js'
import type { Clock } from '../record/clock.js'
import type { Logger } from '../record/logger.js'
import type { Effects, EffectsOf, TaskProgress, TopicProgress } from './effects.js'
import type { TopicOutput } from './outputs.js'
import type { Stages } from './stages.js'
import type { RoundTraces } from './tracing/traces.js'

/** What an operator asks of the slice it was subscribed in. In planning it registers; in a run it gets the real thing. */
export interface SliceContext {
  readonly mode: 'plan' | 'run'
  /** Set once the slice was committed or given up: what still comes out of user code then belongs to no transaction. */
  readonly closed: boolean
  /** The steps of its pipes, each of which has to run to its end. */
  readonly stages: Stages
  /**
   * Declares that `operator` writes to these topics and returns how to.
   * @throws MillraceError NOT_PLANNED if the dry subscription did not see the topic
   */
  outputs(operator: string, topics: readonly string[]): ReadonlyMap<string, TopicOutput>
  /** The consumer group, which the topics a pipeline makes for itself are named by. */
  readonly group: string
  /** The topics of the source. */
  readonly inputs: readonly string[]
  /** The partition of the task; -1 in planning. */
  readonly partition: number
  /** Number of tasks: the partitions of each input. */
  readonly tasks: number
  /**
   * The task's store of this name.
   * @throws MillraceError NOT_PLANNED; in planning PLAN_FAILED where two operators use one name
   */
  store<S extends TaskStore>(operator: string, spec: StoreSpec<S>): S
  /**
   * Reads a topic of the pipeline's own as part of the task, its offsets committed with the others: `push` gets its records. It has as many
   * partitions as the inputs, and starts at its beginning.
   */
  inlet(operator: string, spec: InletSpec, push: (record: RawRecord) => void): void
  /** Sends a record through the whole project function again, as if it had been read now. */
  reenter(record: RawRecord): void
  /** Runs `subscribe`, which subscribes what stands before a retry topic: all that a retried record goes through again. */
  beforeRetry<T>(retry: RetryScope, subscribe: () => T): T
  /** While what stands before a retry topic is subscribed that keeps keys in order: what keeps them so. */
  readonly gate: Gate | undefined
  /** Which of its records are followed, where tracing is on. */
  readonly traces: RoundTraces | undefined
  /** In planning, what is told of the pieces of pipes that have a name. */
  readonly pieces: Pieces | undefined
  /** In planning, tells users of something that works but is likely not what they want. */
  warn(text: string): void
  /**
   * An alarm of the task, by a name unique in the pipeline: `ring` is called in this slice if it comes due. The time is kept over slices.
   */
  alarm(name: string, ring: () => void): Alarm
  /** True if records are known to wait for the task, or nothing is known yet: that none came does not mean that there are none. */
  readonly behind: boolean
  /** A counter of the transaction, by name. */
  meter(name: string): Meter
  /** Has the pipeline look at its alarms now; may be called at any time. */
  wake(): void
  /** Tells the watchdog that the slice is alive. */
  progress(): void
  readonly clock: Clock
  readonly logger: Logger
  /** Has something outside the log learn how the transaction of this slice ends. More than once is once. */
  join(participant: Participant): void
  /**
   * Something outside that commits with every transaction of the pipeline, by what it is: one for all that write to it, each under a name
   * of its own, made when the pipeline starts.
   * @throws MillraceError NOT_PLANNED
   */
  effects<E extends Effects>(operator: string, key: object, name: string, create: EffectsOf<E>): E
  /** Where the task stands in each of its topics. */
  progressOfTask(): readonly TopicProgress[]
  readonly standing: Standing
  /** What the slice waits for on purpose: operators count themselves in and out. */
  readonly waits: Waits
  /** What an operator keeps for the life of the pipeline, by a name of its own; made when first asked for. */
  shared<T>(name: string, create: () => T): T
}

/** Pieces of pipes made by `compose`. */
export interface Pieces {
  add(name: string, operators: readonly string[]): void
  /** Runs `subscribe`, which subscribes what stands in the piece; undefined: out of the innermost one again. */
  within<T>(name: string | undefined, subscribe: () => T): T
}

/** Something outside the log that goes by how a transaction ends: a store shared with others. */
export interface Participant {
  /** User code is done and the commit is about to be sent. @throws LogError where it must not be */
  prepare(): void
  committed(): void
  /**
   * It did not commit; or, where `certain` is false, that is not known, or the tasks belong to others by now, who decide.
   * Resolves when those who need to know have been told: the next transaction waits for it.
   */
  aborted(certain: boolean): Promise<void>
}

/** Where a member stands in its group, and what the group has committed. */
export interface Standing {
  readonly generation: number
  /** Id of the producer that writes what the slice puts out. */
  readonly producerId: bigint
  /** The partitions whose tasks this member has. */
  readonly held: readonly number[]
  /** Where those tasks stand. */
  progress(): readonly TaskProgress[]
  /** Committed offsets of any group, waiting out transactions that are about to move them; undefined where none is committed. */
  committedOffsets(group: string, partitions: readonly TopicPartition[]): Promise<readonly (number | undefined)[]>
}

/** How many waits are under way. */
export interface Waits {
  /** Those that end by themselves: a back-off, a call with a time limit. The watchdog does not take the slice for stuck meanwhile. */
  bounded: number
  /**
   * Those for something outside that may take any time, while nothing else goes on. In a stop or a rebalance the slice is given up at once,
   * not waited for.
   */
  outside: number
  /** Calls of the user's functions, whether they are known to end or not: only for whoever asks where the time goes. */
  calls: number
}

/** A topic that a pipeline writes to and reads from itself. */
export interface InletSpec {
  readonly topic: string
  /** How it is created where provisioning is on. */
  readonly config: Readonly<Record<string, string>>
  /** By so many bytes its records may be larger than those of the inputs. Default: its limit is the broker's. */
  readonly roomBytes?: number
  /** When a record may be taken, in milliseconds since the epoch; those behind it in its partition wait with it. */
  readonly due?: (record: RawRecord) => number
  /**
   * What a record of the topic stands for, which is what is pushed and what errors name; it shares marks and `seq` with it. Default:
   * itself.
   */
  readonly original?: (record: RawRecord) => RawRecord
}

/** A retry topic, for what is subscribed before it. */
export interface RetryScope {
  readonly operator: string
  /** All delays of a record together. */
  readonly delayMs: number
  /** Asked about each record at the front of the slice, and by steps before the retry topic that take their time. */
  readonly gate: Gate | undefined
}

/** Keeps records back that have to wait for one before them. */
export interface Gate {
  /** Whether a record may go in. One that may not has been put aside. */
  admits(record: RawRecord): boolean
  /** A step failed on a record, which has not come to the retry topic yet. */
  failing(record: LogRecord<unknown, unknown>): void
  /** Whether a record that went in has to wait after all: it is to be passed on as failed, with nothing done. */
  holds(record: LogRecord<unknown, unknown>): boolean
  /** A record that had gone in was taken out by the error policy, and never comes to the retry topic: nothing waits behind it. */
  leftOut(record: RawRecord): void
}

export interface Alarm {
  /** When it rings; undefined if it is not set, or is ringing. */
  readonly at: number | undefined
  /** Milliseconds since the epoch, or undefined to take it back. */
  set(at: number | undefined): void
  /** In so many milliseconds, whatever is done to the system's time meanwhile. */
  setIn(ms: number): void
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
      `${operator} was subscribed outside a slice. It works inside the function given to withTransaction, subscribed synchronously: not after an await, a timer or on an observable that other code subscribes to${copiesHint()}`,
    )
  }
  return active
}

/** The same where an operator works outside of slices as well. */
export function optionalSlice(): SliceContext | undefined {
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

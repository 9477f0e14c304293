import type { PartitionOffset } from '../log/port.js'
import type { StoreUsage } from '../state/store.js'
import type { UnreadPartition } from '../log/unread.js'
import type { RecordCounts } from './accounting.js'

/** What one committed transaction did to one task. */
export interface TaskCommit extends RecordCounts {
  readonly partition: number
  /** Records between the commit and the end of the task's partitions, as of the last fetch. */
  readonly lag: number
}

/**
 * One committed transaction. `records` = processed + filtered + duplicate + late + failed, here and in each task.
 */
export interface Commit extends RecordCounts {
  /** Records written, over all topics. */
  readonly outputs: number
  /** Records still to read, over all tasks of this member, as of the last fetch. */
  readonly lag: number
  /** Tasks of this member that wait for their state to be restored. */
  readonly restoring: number
  /**
   * Partitions of this member's tasks that cannot be read right now (damaged, unknown codec, no leader): they are tried again, the others
   * go on.
   */
  readonly unread: readonly UnreadPartition[]
  readonly tasks: readonly TaskCommit[]
  /** The offsets committed: the next ones to read. */
  readonly offsets: readonly PartitionOffset[]
  /**
   * What the stores of this member hold: keys, and the bytes that these and their values take as they are stored. In memory it is some 150
   * bytes a key more; of more than 32 tasks, as of the last second.
   */
  readonly stores: readonly StoreUsage[]
  /** What the `meter` operators counted, by name. */
  readonly meters: Readonly<Record<string, number>>
  /** From the first record to the commit, in milliseconds. */
  readonly durationMs: number
  /** The part of it spent on the commit itself. */
  readonly commitMs: number
  /** The group's generation it was committed in. */
  readonly generation: number
}

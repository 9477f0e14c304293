import { BatchReader, batchSource } from '../../log/batch/read.js'
import type { Task } from '../task.js'
import type { FreshEnds } from './fresh-ends.js'
import type { PartitionStatus } from './status.js'

/** Where a task stands in each of its topics. */
export function placesOf(task: Task, ends: FreshEnds, now: number): PartitionStatus[] {
  const { partition, inputs } = task
  return task.standing().map(({ topic, offset: position }): PartitionStatus => {
    const { offset: committed } = task.committedOf(topic)
    const fetched = inputs.end(topic) ?? inputs.held.endOf(topic)
    const asked = ends.of(topic, partition)
    const end = asked === undefined ? fetched : Math.max(asked, fetched ?? asked)
    const lag = end === undefined ? undefined : Math.max(0, end - committed)
    const held = inputs.held.isWaiting(topic)
    const next = lag === 0 ? now : timeOfNext(task, topic)
    return { topic, partition, position, committed, end, lag, lagMs: next === undefined ? undefined : Math.max(0, now - next), held }
  })
}

/** The time of the first record that is not committed, as far as it is here. */
function timeOfNext(task: Task, topic: string): number | undefined {
  const piece = task.firstUncommitted(topic)
  if (piece?.batch === undefined) return task.inputs.nextTime(topic)
  try {
    // Looked up when asked, in the batch that is here anyway.
    return new BatchReader(piece.batch, batchSource(topic, task.partition, piece.batch), piece.fromOffset).next(0)?.timestamp ?? piece.time
  } catch {
    // One that cannot be read is told of elsewhere; its header can.
    return piece.time
  }
}

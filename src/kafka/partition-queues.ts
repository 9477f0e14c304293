import { PartitionMap } from '../log/partition-map.js'
import { PartitionQueue, type QueuedBatch } from './partition-queue.js'

/** The queues of all partitions that were ever written to; what a transaction has to do with those it writes to costs no more for the others. */
export class PartitionQueues {
  private readonly queues = new PartitionMap<PartitionQueue>()
  /** Those that the open transaction has. */
  private readonly taken = new Set<PartitionQueue>()
  /** Those whose sequence has begun. */
  private readonly counted = new Set<PartitionQueue>()

  of(topic: string, partition: number): PartitionQueue {
    let queue = this.queues.get(topic, partition)
    if (queue === undefined) this.queues.set(topic, partition, (queue = new PartitionQueue(topic, partition)))
    return queue
  }

  /** The open transaction has the partition, as far as its coordinator goes. */
  added(queue: PartitionQueue): void {
    queue.added = true
    this.taken.add(queue)
  }

  /** The first batch is in the log. */
  acknowledged(queue: PartitionQueue): QueuedBatch {
    this.taken.add(queue)
    this.counted.add(queue)
    return queue.acknowledged()
  }

  /** Another producer id or epoch. */
  restart(): void {
    for (const queue of this.counted) queue.sequence = 0
    this.counted.clear()
  }

  /** Another transaction. */
  reopen(): void {
    for (const queue of this.taken) queue.added = queue.begun = false
    this.taken.clear()
  }

  /** Gives up all that is not on its way. */
  *discard(): Generator<QueuedBatch> {
    for (const queue of this.queues.values()) yield* queue.discard()
  }
}

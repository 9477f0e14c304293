import type { FetchQueue } from './fetch-queue.js'
import { PartitionMap } from './partition-map.js'
import type { Position } from './port.js'

/** What is fetched of each partition of an assignment. */
export class Assigned<F extends FetchQueue> {
  private partitions = new PartitionMap<F>()
  all: readonly F[] = []

  of(topic: string, partition: number): F | undefined {
    return this.partitions.get(topic, partition)
  }

  /** Replaces the set of partitions: what is at its position is kept. Returns those that are no longer in it. */
  replace(positions: readonly Position[], make: (position: Position) => F): readonly F[] {
    const before = this.all
    const next = new PartitionMap<F>()
    for (const position of positions) {
      const { topic, partition } = position
      const current = this.of(topic, partition)
      next.set(topic, partition, current?.isAt(position) === true ? current : make(position))
    }
    this.partitions = next
    this.all = [...next.values()]
    return before.filter((old) => this.of(old.topic, old.partition) !== old)
  }

  drop(): void {
    for (const fetched of this.all) fetched.drop()
    this.partitions = new PartitionMap()
    this.all = []
  }
}

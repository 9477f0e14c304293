import type { FetchQueue } from './fetch-queue.js'
import type { Position } from './port.js'

/** What is fetched of each partition of an assignment. */
export class Assigned<F extends FetchQueue> {
  private partitions = new Map<string, Map<number, F>>()
  all: readonly F[] = []

  of(topic: string, partition: number): F | undefined {
    return this.partitions.get(topic)?.get(partition)
  }

  /** Replaces the set of partitions: what is at its position is kept. Returns those that are no longer in it. */
  replace(positions: readonly Position[], make: (position: Position) => F): readonly F[] {
    const before = this.all
    const next = new Map<string, Map<number, F>>()
    for (const position of positions) {
      const { topic, partition } = position
      const current = this.of(topic, partition)
      const fetched = current?.isAt(position) === true ? current : make(position)
      const of = next.get(topic)
      if (of === undefined) next.set(topic, new Map([[partition, fetched]]))
      else of.set(partition, fetched)
    }
    this.partitions = next
    this.all = [...next.values()].flatMap((of) => [...of.values()])
    return before.filter((old) => this.of(old.topic, old.partition) !== old)
  }

  drop(): void {
    for (const fetched of this.all) fetched.drop()
    this.partitions = new Map()
    this.all = []
  }
}

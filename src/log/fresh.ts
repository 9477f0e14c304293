import { PartitionMap } from './partition-map.js'
import type { TopicPartition } from './port.js'

/**
 * Of what is read of many partitions, that of which the reader has told news (`ReaderOptions.onNews`), in turns: of all others there is
 * nothing to take, and nobody looks.
 */
export class Fresh<T extends TopicPartition> {
  private readonly known = new PartitionMap<T>()
  private fresh = new Set<T>()

  constructor(all: Iterable<T> = []) {
    this.reset(all)
  }

  /** Others are read, from now on. All of them are looked at once. */
  reset(all: Iterable<T>): void {
    this.known.clear()
    this.fresh.clear()
    for (const one of all) {
      this.known.set(one.topic, one.partition, one)
      this.fresh.add(one)
    }
  }

  /** The reader has news of a partition. */
  readonly tell = (topic: string, partition: number): void => {
    const one = this.known.get(topic, partition)
    if (one !== undefined) this.fresh.add(one)
  }

  /** Those to look at now; what is told while they are looked at is news again. */
  take(): Iterable<T> {
    const { fresh } = this
    this.fresh = new Set()
    return fresh
  }

  /** There was something to take, and there may be more. */
  keep(one: T): void {
    if (this.known.get(one.topic, one.partition) === one) this.fresh.add(one)
  }
}

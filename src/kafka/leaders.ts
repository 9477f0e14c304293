import type { TopicPartition } from '../log/port.js'
import { ERROR } from './errors.js'
import type { TopicMetadata } from './protocol/metadata.js'

/** Who leads a partition, and since which election: brokers count those. (KIP-320) */
export interface Leader {
  readonly node: number
  /** -1 where the broker does not say. */
  readonly epoch: number
}

interface Known {
  leader: Leader | undefined
  /** The latest election heard of. */
  epoch: number
  /** When brokers began to tell of an earlier one. */
  behindSince: number | undefined
}

/**
 * For so long a broker may not have heard of the latest election. After that, the topic was deleted and created anew: elections are counted
 * from the beginning again.
 */
const BEHIND_MS = 10_000

/**
 * The leaders of partitions as last heard. What a broker says of an election before the latest that was heard of is not believed: the
 * leader of then was deposed, and what it says of the end of its log leaves out what was written since.
 */
export class Leaders {
  private readonly topics = new Map<string, Known[]>()

  constructor(private readonly now: () => number = () => performance.now()) {}

  accept({ topic, error, partitions }: TopicMetadata): void {
    if (error === ERROR.unknownTopicOrPartition) {
      this.topics.delete(topic)
      return
    }
    const before = this.topics.get(topic)
    const known: Known[] = []
    for (const { partition, leader: node, leaderEpoch } of partitions) {
      const earlier = before?.[partition]
      const leader = node < 0 ? undefined : { node, epoch: leaderEpoch }
      if (earlier !== undefined && leaderEpoch >= 0 && leaderEpoch < earlier.epoch && this.isBehind(earlier)) known[partition] = earlier
      else
        known[partition] = { leader, epoch: leaderEpoch < 0 && earlier !== undefined ? earlier.epoch : leaderEpoch, behindSince: undefined }
    }
    this.topics.set(topic, known)
  }

  /** Undefined where it was not asked for yet, or there is none. */
  of(topic: string, partition: number): Leader | undefined {
    return this.topics.get(topic)?.[partition]?.leader
  }

  /** It is to be looked up before it is asked again. */
  forget({ topic, partition }: TopicPartition): void {
    const known = this.topics.get(topic)?.[partition]
    if (known !== undefined) known.leader = undefined
  }

  private isBehind(known: Known): boolean {
    const now = this.now()
    known.behindSince ??= now
    return now - known.behindSince < BEHIND_MS
  }
}

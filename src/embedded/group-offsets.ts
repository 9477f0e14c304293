import { UNKNOWN_EPOCH } from '../log/leader-epochs.js'
import type { PartitionOffset, Position, TopicPartition } from '../log/port.js'

/** The committed offsets of one group, and those that open transactions are about to move. */
export class GroupOffsets {
  private readonly stored = new Map<string, Position>()
  private readonly pending = new Map<bigint, Position[]>()
  private waiting: (() => void)[] = []

  store(positions: readonly Position[]): void {
    for (const { topic, partition, offset, leaderEpoch = UNKNOWN_EPOCH, metadata = '' } of positions)
      this.stored.set(nameOf({ topic, partition }), {
        topic,
        partition,
        offset,
        ...(leaderEpoch < 0 ? {} : { leaderEpoch }),
        ...(metadata === '' ? {} : { metadata }),
      })
  }

  addPending(producerId: bigint, offsets: readonly Position[]): void {
    this.pending.set(producerId, [...(this.pending.get(producerId) ?? []), ...offsets])
  }

  end(producerId: bigint, commit: boolean): void {
    const offsets = this.pending.get(producerId)
    if (offsets === undefined) return
    this.pending.delete(producerId)
    if (commit) this.store(offsets)
    const { waiting } = this
    this.waiting = []
    for (const resolve of waiting) resolve()
  }

  /** Waits until no transaction is about to move one of them. */
  async stable(partitions: readonly TopicPartition[]): Promise<(Position | undefined)[]> {
    const names = new Set(partitions.map(nameOf))
    while (this.isPending(names)) await new Promise<void>((resolve) => this.waiting.push(resolve))
    return partitions.map((at) => this.stored.get(nameOf(at)))
  }

  /** What is stored now, whatever is pending. */
  all(): PartitionOffset[] {
    const offsets = [...this.stored.values()].map(({ topic, partition, offset }) => ({ topic, partition, offset }))
    return offsets.sort((a, b) => (a.topic < b.topic ? -1 : a.topic > b.topic ? 1 : a.partition - b.partition))
  }

  /** A topic that was made anew begins without committed offsets. */
  forget(topic: string): void {
    for (const [name, at] of this.stored) if (at.topic === topic) this.stored.delete(name)
  }

  private isPending(names: ReadonlySet<string>): boolean {
    for (const offsets of this.pending.values()) if (offsets.some((at) => names.has(nameOf(at)))) return true
    return false
  }
}

function nameOf({ topic, partition }: TopicPartition): string {
  return `${topic}/${partition}`
}

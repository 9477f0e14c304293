import type { GroupMember, PartitionOffset, TopicPartition } from '../log/port.js'
import type { Clock } from '../record/clock.js'
import { Group } from './group.js'

/** All groups of the broker: members and committed offsets. */
export class Groups {
  private readonly groups = new Map<string, Group>()
  private readonly offsets = new Map<string, Map<string, number>>()
  private readonly pending = new Map<string, Map<bigint, Set<string>>>()
  private waiting: (() => void)[] = []

  constructor(private readonly clock: Clock) {}

  group(name: string): Group {
    let group = this.groups.get(name)
    if (group === undefined) this.groups.set(name, (group = new Group(name, this.clock)))
    return group
  }

  /** A group without members takes commits of anybody, as Kafka's does. */
  checkMember(member: GroupMember): void {
    this.groups.get(member.group)?.checkCommit(member)
  }

  store(group: string, offsets: readonly PartitionOffset[]): void {
    const stored = this.offsets.get(group) ?? new Map<string, number>()
    for (const at of offsets) stored.set(nameOf(at), at.offset)
    this.offsets.set(group, stored)
  }

  setPending(group: string, producerId: bigint, offsets: readonly PartitionOffset[]): void {
    const pending = this.pending.get(group) ?? new Map<bigint, Set<string>>()
    this.pending.set(group, pending)
    const names = pending.get(producerId) ?? new Set<string>()
    pending.set(producerId, names)
    for (const at of offsets) names.add(nameOf(at))
  }

  endPending(group: string, producerId: bigint, committed: readonly PartitionOffset[]): void {
    this.store(group, committed)
    this.pending.get(group)?.delete(producerId)
    const waiting = this.waiting
    this.waiting = []
    for (const resolve of waiting) resolve()
  }

  /** Waits until no transaction is about to move one of them. */
  async committed(group: string, partitions: readonly TopicPartition[]): Promise<(number | undefined)[]> {
    const unstable = (): boolean => [...(this.pending.get(group)?.values() ?? [])].some((names) => partitions.some((at) => names.has(nameOf(at))))
    while (unstable()) await new Promise<void>((resolve) => this.waiting.push(resolve))
    const stored = this.offsets.get(group)
    return partitions.map((at) => stored?.get(nameOf(at)))
  }
}

function nameOf({ topic, partition }: TopicPartition): string {
  return `${topic}/${partition}`
}


import { logError } from '../log/error.js'
import type { GroupMember, PartitionOffset, TopicPartition } from '../log/port.js'
import type { Groups } from './groups.js'
import type { Topics } from './topics.js'

interface Producer {
  readonly id: bigint
  epoch: number
  readonly timeoutMs: number
  readonly partitions: Map<string, TopicPartition>
  readonly offsets: Map<string, PartitionOffset[]>
  cancelTimeout: (() => void) | undefined
}

/** Who holds an id and epoch; what a producer passes with each call. */
export interface Identity {
  readonly transactionalId: string | undefined
  readonly producerId: bigint
  readonly epoch: number
}

/** The transaction coordinator: one producer per transactional id, fenced by epochs. */
export class Transactions {
  private readonly producers = new Map<string, Producer>()
  private nextId = 1n

  constructor(
    private readonly topics: Topics,
    private readonly groups: Groups,
  ) {}

  init(transactionalId: string | undefined, timeoutMs: number): Identity {
    if (transactionalId === undefined) return { transactionalId, producerId: this.nextId++, epoch: 0 }
    const earlier = this.producers.get(transactionalId)
    if (earlier !== undefined) this.end(transactionalId, earlier, false)
    const producer: Producer = { id: earlier?.id ?? this.nextId++, epoch: (earlier?.epoch ?? -1) + 1, timeoutMs, partitions: new Map(), offsets: new Map(), cancelTimeout: undefined }
    this.producers.set(transactionalId, producer)
    return { transactionalId, producerId: producer.id, epoch: producer.epoch }
  }

  write(identity: Identity, at: TopicPartition, bytes: Buffer): void {
    if (identity.transactionalId !== undefined) {
      const producer = this.open(identity)
      this.topics.append(at, bytes)
      producer.partitions.set(`${at.topic}/${at.partition}`, at)
    } else this.topics.append(at, bytes)
  }

  addOffsets(identity: Identity, member: GroupMember, offsets: readonly PartitionOffset[]): void {
    this.groups.checkMember(member)
    const producer = this.open(identity)
    producer.offsets.set(member.group, [...(producer.offsets.get(member.group) ?? []), ...offsets])
    this.groups.setPending(member.group, producer.id, offsets)
  }

  commit(identity: Identity): void {
    this.end(identity.transactionalId as string, this.current(identity), true)
  }

  abort(identity: Identity): void {
    this.end(identity.transactionalId as string, this.current(identity), false)
  }

  private open(identity: Identity): Producer {
    const producer = this.current(identity)
    if (producer.cancelTimeout === undefined) {
      const { epoch } = producer
      producer.cancelTimeout = this.topics.clock.after(producer.timeoutMs, () => {
        // As a broker does: aborted, and the epoch moves on so that the slow producer learns of it.
        if (producer.epoch !== epoch) return
        this.end(identity.transactionalId as string, producer, false)
        producer.epoch++
      })
    }
    return producer
  }

  private current(identity: Identity): Producer {
    const producer = this.producers.get(identity.transactionalId as string)
    if (producer === undefined || producer.id !== identity.producerId || producer.epoch !== identity.epoch) {
      throw logError('PRODUCER_FENCED', 'reinit', `the producer of '${identity.transactionalId}' was replaced by a newer one, or its transaction took longer than its timeout`)
    }
    return producer
  }

  private end(_transactionalId: string, producer: Producer, commit: boolean): void {
    producer.cancelTimeout?.()
    producer.cancelTimeout = undefined
    for (const at of producer.partitions.values()) this.topics.partition(at).mark(producer.id, producer.epoch, commit, this.topics.clock.now())
    for (const [group, offsets] of producer.offsets) this.groups.endPending(group, producer.id, commit ? offsets : [])
    producer.partitions.clear()
    producer.offsets.clear()
    this.topics.changed()
  }
}

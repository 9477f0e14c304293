import { logError } from '../log/error.js'
import type { GroupMember, Position, TopicPartition } from '../log/port.js'
import type { Clock } from '../record/clock.js'
import type { Groups } from './groups.js'
import type { Topics } from './topics.js'

/** transaction.max.timeout.ms, as brokers have it unless told. */
const MAX_TIMEOUT_MS = 15 * 60_000
const LAST_EPOCH = 32_766

/** Who writes: what a producer passes with each call. */
export interface Identity {
  readonly transactionalId: string | undefined
  readonly producerId: bigint
  readonly epoch: number
}

/** A transaction that has begun and not ended. */
export interface OpenTransaction {
  readonly transactionalId: string
  readonly partitions: readonly TopicPartition[]
  /** Groups whose offsets it is about to move. */
  readonly groups: readonly string[]
}

interface Producer {
  readonly transactionalId: string
  id: bigint
  epoch: number
  timeoutMs: number
  readonly partitions: Map<string, TopicPartition>
  readonly groups: Set<string>
  /** Set while a transaction is open. */
  cancelTimeout: (() => void) | undefined
}

/**
 * The transaction coordinator: one producer per transactional id, fenced by epochs. As with KIP-890, every transaction has an
 * epoch of its own, so that nothing late can hit the next one.
 */
export class Transactions {
  private readonly producers = new Map<string, Producer>()
  private nextId = 1n

  constructor(
    private readonly topics: Topics,
    private readonly groups: Groups,
    private readonly clock: Clock,
  ) {}

  /** Fences earlier producers of the id and aborts what they left open. @throws LogError INVALID_OPTIONS */
  init(transactionalId: string | undefined, timeoutMs: number): Identity {
    if (transactionalId === undefined) return { transactionalId, producerId: this.nextId++, epoch: 0 }
    if (timeoutMs <= 0 || timeoutMs > MAX_TIMEOUT_MS) {
      throw logError(
        'INVALID_OPTIONS',
        'fatal',
        `the transaction timeout of '${transactionalId}' is ${timeoutMs} ms; brokers take 1 to ${MAX_TIMEOUT_MS} ms`,
      )
    }
    let producer = this.producers.get(transactionalId)
    if (producer === undefined) {
      producer = {
        transactionalId,
        id: this.nextId++,
        epoch: -1,
        timeoutMs,
        partitions: new Map(),
        groups: new Set(),
        cancelTimeout: undefined,
      }
      this.producers.set(transactionalId, producer)
    }
    if (producer.cancelTimeout !== undefined) this.finish(producer, false)
    this.bump(producer)
    producer.timeoutMs = timeoutMs
    return identityOf(producer)
  }

  /** Returns the offset of the first record, -1 where the batch was there already. @throws LogError 'reinit', 'abort' */
  write(identity: Identity, at: TopicPartition, stamped: Buffer): number {
    if (identity.transactionalId !== undefined) {
      const producer = this.begin(identity)
      const log = this.topics.partition(at, 'abort')
      producer.partitions.set(`${at.topic}/${at.partition}`, at)
      return log.append(stamped)
    }
    return this.topics.partition(at, 'abort').append(stamped)
  }

  /** @throws LogError 'reinit', 'lost', 'rejoin' */
  addOffsets(identity: Identity, member: GroupMember, offsets: readonly Position[]): void {
    const producer = this.begin(identity)
    producer.groups.add(member.group)
    this.groups.checkCommit(member, true)
    this.groups.offsets(member.group).addPending(producer.id, offsets)
  }

  /** Returns what the next transaction is to be written as. @throws LogError 'reinit' */
  end(identity: Identity, commit: boolean): Identity {
    const producer = this.current(identity)
    this.finish(producer, commit)
    return identityOf(producer)
  }

  open(): OpenTransaction[] {
    return [...this.producers.values()]
      .filter(({ cancelTimeout }) => cancelTimeout !== undefined)
      .map(({ transactionalId, partitions, groups }) => ({ transactionalId, partitions: [...partitions.values()], groups: [...groups] }))
  }

  private begin(identity: Identity): Producer {
    const producer = this.current(identity)
    // As a broker does: aborted, and the epoch moves on, by which the slow producer learns of it.
    producer.cancelTimeout ??= this.clock.after(producer.timeoutMs, () => this.finish(producer, false))
    return producer
  }

  private current({ transactionalId, producerId, epoch }: Identity): Producer {
    const producer = this.producers.get(transactionalId as string)
    if (producer === undefined || producer.id !== producerId || producer.epoch !== epoch) {
      throw logError(
        'PRODUCER_FENCED',
        'reinit',
        `the producer of '${String(transactionalId)}' is out of date: another producer took this transactional id over, or the transaction was open for longer than its timeout`,
      )
    }
    return producer
  }

  private finish(producer: Producer, commit: boolean): void {
    producer.cancelTimeout?.()
    producer.cancelTimeout = undefined
    const { id, partitions, groups } = producer
    const markerEpoch = producer.epoch + 1
    // Stored offsets first: who sees the outputs must find the inputs they came from done.
    for (const group of groups) this.groups.offsets(group).end(id, commit)
    for (const at of partitions.values()) this.topics.find(at)?.mark(id, markerEpoch, commit, this.clock.now())
    partitions.clear()
    groups.clear()
    this.bump(producer)
  }

  private bump(producer: Producer): void {
    if (producer.epoch < LAST_EPOCH) producer.epoch++
    else {
      producer.id = this.nextId++
      producer.epoch = 0
    }
  }
}

function identityOf({ transactionalId, id, epoch }: Producer): Identity {
  return { transactionalId, producerId: id, epoch }
}

import { logError } from '../log/error.js'
import type {
  GroupMember,
  GroupOptions,
  JoinResult,
  LogCapabilities,
  LogClient,
  LogGroup,
  LogProducer,
  LogReader,
  NewTopic,
  OffsetAt,
  PartitionOffset,
  ProducerOptions,
  ReaderOptions,
  TopicInfo,
  TopicPartition,
} from '../log/port.js'
import { systemClock, type Clock } from '../record/clock.js'
import { Faults } from './faults.js'
import { Groups } from './groups.js'
import { EmbeddedProducer } from './producer.js'
import { EmbeddedReader } from './reader.js'
import { Topics } from './topics.js'
import { Transactions } from './transactions.js'

export interface EmbeddedBrokerOptions {
  /** Default: the system's. Sessions, rebalances and transaction timeouts run by it. */
  readonly clock?: Clock
}

/** A broker in this process: partitions, groups, transactions, and handles for tests. */
export interface EmbeddedBroker {
  /** One set of connections. */
  client(): LogClient
  /** Errors to answer with. */
  readonly faults: Faults
  /** Has all members of a group join again. */
  rebalance(group: string): void
  /** Ends the sessions of a group's members now; of all, unless one is named. */
  expire(group: string, memberId?: string): void
  members(group: string): readonly string[]
  /** Deletes the records before an offset, as retention would. */
  truncate(at: PartitionOffset): void
}

/** Makes a broker that lives as long as this process. */
export function createEmbeddedBroker(options: EmbeddedBrokerOptions = {}): EmbeddedBroker {
  const clock = options.clock ?? systemClock
  const topics = new Topics(clock)
  const groups = new Groups(clock)
  const transactions = new Transactions(topics, groups)
  const faults = new Faults()
  return {
    faults,
    client: () => new EmbeddedClient(topics, groups, transactions, faults),
    rebalance: (group) => groups.group(group).rebalance(),
    expire(group, memberId) {
      for (const id of memberId === undefined ? groups.group(group).memberIds : [memberId]) groups.group(group).expire(id)
    },
    members: (group) => groups.group(group).memberIds,
    truncate: (at) => topics.truncate(at),
  }
}

class EmbeddedClient implements LogClient {
  private closed = false
  private readonly readers = new Set<LogReader>()
  private readonly waiting = new Set<(error: Error) => void>()

  constructor(
    private readonly broker: Topics,
    private readonly groups: Groups,
    private readonly transactions: Transactions,
    private readonly faults: Faults,
  ) {}

  async connect(): Promise<LogCapabilities> {
    this.refuseIfClosed()
    return { kind: 'embedded', transactionProtocol: 2, address: 'in process' }
  }

  async topics(names: readonly string[]): Promise<ReadonlyMap<string, TopicInfo>> {
    this.refuseIfClosed()
    return new Map(names.map((name) => [name, this.broker.info(name)] as const).filter((entry): entry is readonly [string, TopicInfo] => entry[1] !== undefined))
  }

  async createTopics(topics: readonly NewTopic[]): Promise<void> {
    this.refuseIfClosed()
    for (const topic of topics) this.broker.create(topic)
  }

  async deleteTopics(names: readonly string[]): Promise<void> {
    this.refuseIfClosed()
    for (const name of names) this.broker.delete(name)
  }

  async offsets(partitions: readonly TopicPartition[], at: OffsetAt): Promise<readonly number[]> {
    this.refuseIfClosed()
    return partitions.map((partition) => {
      const log = this.broker.partition(partition)
      if (at === 'earliest') return log.start
      if (at === 'latest') return log.end
      return at === 'stable' ? log.stable : log.offsetAt(at.timestamp)
    })
  }

  async committedOffsets(group: string, partitions: readonly TopicPartition[]): Promise<readonly (number | undefined)[]> {
    this.refuseIfClosed()
    await this.faults.pass('committedOffsets', group)
    return this.orClosed(this.groups.committed(group, partitions))
  }

  reader(options: ReaderOptions): LogReader {
    this.refuseIfClosed()
    const reader = new EmbeddedReader(this.broker, options)
    this.readers.add(reader)
    return reader
  }

  producer(options: ProducerOptions): LogProducer {
    this.refuseIfClosed()
    return new EmbeddedProducer(options, this.transactions, this.groups, this.broker, this.faults, () => this.refuseIfClosed())
  }

  group(options: GroupOptions): LogGroup {
    const guard = async <T>(point: 'join' | 'heartbeat' | undefined, action: () => T | Promise<T>): Promise<T> => {
      this.refuseIfClosed()
      if (point !== undefined) await this.faults.pass(point, options.group)
      return this.orClosed(Promise.resolve().then(action))
    }
    const group = this.groups.group(options.group)
    return {
      join: (memberId: string, protocol: string, metadata: Buffer): Promise<JoinResult> => guard('join', () => group.join(options, memberId, protocol, metadata)),
      sync: (member: GroupMember, assignments: ReadonlyMap<string, Buffer> | undefined): Promise<Buffer> => guard(undefined, () => group.sync(member, assignments)),
      heartbeat: (member: GroupMember): Promise<void> => guard('heartbeat', () => group.heartbeat(member)),
      leave: (member: GroupMember): Promise<void> => guard(undefined, () => group.leave(member)),
    }
  }

  async close(): Promise<void> {
    this.closed = true
    for (const reader of this.readers) reader.close()
    for (const reject of this.waiting) reject(closedError())
    this.waiting.clear()
  }

  private async orClosed<T>(promise: Promise<T>): Promise<T> {
    let reject: (error: Error) => void = () => {}
    const closed = new Promise<never>((_, refuse) => this.waiting.add((reject = refuse)))
    try {
      return await Promise.race([promise, closed])
    } finally {
      this.waiting.delete(reject)
    }
  }

  private refuseIfClosed(): void {
    if (this.closed) throw closedError()
  }
}

function closedError(): Error {
  return logError('CLOSED', 'fatal', 'the connection was closed')
}

import type {
  GroupMember,
  GroupOptions,
  GroupProtocol,
  JoinResult,
  LogCapabilities,
  LogClient,
  LogGroup,
  LogProducer,
  LogReader,
  OwnTopic,
  OffsetAt,
  Position,
  ProducerOptions,
  ReaderOptions,
  TopicInfo,
  TopicPartition,
} from '../log/port.js'
import type { Clock } from '../record/clock.js'
import type { Faults } from './faults.js'
import type { Groups } from './groups.js'
import { TOPIC_CONFIGS } from './topic-configs.js'
import { Lifetime } from './lifetime.js'
import { EmbeddedProducer } from './producer.js'
import { EmbeddedReader } from './reader.js'
import { offsetAt } from './stored-records.js'
import type { Topics } from './topics.js'
import type { Transactions } from './transactions.js'

/** What a broker is made of. */
export interface BrokerParts {
  readonly clock: Clock
  readonly topics: Topics
  readonly groups: Groups
  readonly transactions: Transactions
  readonly faults: Faults
}

export class EmbeddedClient implements LogClient {
  private readonly lifetime = new Lifetime()
  private readonly opened = new Set<{ close(): unknown }>()

  constructor(private readonly broker: BrokerParts) {}

  async connect(): Promise<LogCapabilities> {
    this.lifetime.check()
    return { kind: 'embedded', transactionProtocol: 2, address: 'in process' }
  }

  async topics(names: readonly string[]): Promise<ReadonlyMap<string, TopicInfo>> {
    this.lifetime.check()
    const found = new Map<string, TopicInfo>()
    for (const name of names) {
      const info = this.broker.topics.info(name)
      if (info !== undefined) found.set(name, info)
    }
    return found
  }

  async createTopics(topics: readonly OwnTopic[]): Promise<void> {
    this.lifetime.check()
    // Those that can be created are, whatever becomes of the others.
    const errors: unknown[] = []
    for (const topic of topics) {
      try {
        const wished = Object.entries(topic.ifKnown ?? {}).filter(([name]) => TOPIC_CONFIGS.has(name))
        this.broker.topics.create({ ...topic, config: { ...topic.config, ...Object.fromEntries(wished) } })
      } catch (error) {
        errors.push(error)
      }
    }
    if (errors.length > 0) throw errors[0]
  }

  async deleteTopics(names: readonly string[]): Promise<void> {
    this.lifetime.check()
    for (const name of names) {
      this.broker.topics.delete(name)
      this.broker.groups.forgetTopic(name)
    }
  }

  offsets(partitions: readonly TopicPartition[], at: OffsetAt): Promise<readonly number[]> {
    return this.lifetime.during(() => Promise.all(partitions.map((partition) => this.offset(partition, at))))
  }

  async committedOffsets(group: string, partitions: readonly TopicPartition[]): Promise<readonly (number | undefined)[]> {
    return (await this.committedPositions(group, partitions)).map((position) => position?.offset)
  }

  committedPositions(group: string, partitions: readonly TopicPartition[]): Promise<readonly (Position | undefined)[]> {
    const { faults, groups } = this.broker
    return this.lifetime.during(() => faults.run('committedOffsets', [group], () => groups.offsets(group).stable(partitions)))
  }

  reader(options: ReaderOptions): LogReader {
    this.lifetime.check()
    const { topics, faults, clock } = this.broker
    const reader: LogReader = new EmbeddedReader(topics, options, faults, clock, () => this.opened.delete(reader))
    this.opened.add(reader)
    return reader
  }

  producer(options: ProducerOptions): LogProducer {
    this.lifetime.check()
    const { transactions, groups, faults } = this.broker
    const producer: LogProducer = new EmbeddedProducer(options, transactions, groups, faults, () => this.opened.delete(producer))
    this.opened.add(producer)
    return producer
  }

  group(options: GroupOptions): LogGroup {
    this.lifetime.check()
    const { faults, groups } = this.broker
    const names = [options.group, options.instanceId]
    const { lifetime } = this
    return {
      join: (memberId: string, protocols: readonly GroupProtocol[]): Promise<JoinResult> =>
        lifetime.during(() => faults.run('join', names, () => groups.group(options.group).join(options, memberId, protocols))),
      sync: (member: GroupMember, assignments: ReadonlyMap<string, Buffer> | undefined): Promise<Buffer> =>
        lifetime.during(() => faults.run('sync', names, () => groups.group(options.group).sync(member, assignments))),
      heartbeat: (member: GroupMember): Promise<void> =>
        lifetime.during(() => faults.run('heartbeat', names, () => groups.group(options.group).heartbeat(member))),
      leave: (member: GroupMember): Promise<void> => lifetime.during(() => groups.group(options.group).leave(member)),
    }
  }

  async close(): Promise<void> {
    this.lifetime.end()
    for (const open of [...this.opened]) open.close()
    this.opened.clear()
  }

  private async offset(partition: TopicPartition, at: OffsetAt): Promise<number> {
    const log = this.broker.topics.partition(partition)
    if (at === 'earliest') return log.start
    if (at === 'latest') return log.end
    return at === 'stable' ? log.stable : offsetAt(log, partition.topic, partition.partition, at.timestamp)
  }
}

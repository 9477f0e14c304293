import type { ConnectionOptions } from 'node:tls'
import type { SASLOptions } from 'kafkajs'
import type {
  GroupOptions,
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
import type { Logger } from '../record/logger.js'
import { KafkaAdmin } from './admin.js'
import { Cluster } from './cluster.js'
import type { CompressionCodecs } from './codecs.js'
import { KafkaGroup } from './group.js'
import { KafkaProducer } from './producer.js'
import { KafkaReader } from './reader.js'

export interface KafkaLogOptions {
  /** Where to find the cluster: `host:port`, a few of its brokers. */
  readonly brokers: readonly string[]
  /** Shows up in the logs and quotas of the brokers. */
  readonly clientId: string
  readonly ssl?: boolean | ConnectionOptions | undefined
  readonly sasl?: SASLOptions | undefined
  /** How long one broker may take to accept a connection. Default: 3 s. */
  readonly connectionTimeoutMs?: number | undefined
  /** How long a request may take, with all it is tried again. Default: 30 s. */
  readonly requestTimeoutMs?: number | undefined
  readonly codecs?: CompressionCodecs | undefined
  readonly logger: Logger
}

const CONNECTION_TIMEOUT_MS = 3_000
const REQUEST_TIMEOUT_MS = 30_000

/** The log port on Kafka. Nothing connects before the first call. */
export function createKafkaLog(options: KafkaLogOptions): LogClient {
  return new KafkaLog(options)
}

class KafkaLog implements LogClient {
  private readonly cluster: Cluster
  private readonly admin: KafkaAdmin
  private readonly opened = new Set<{ close(): unknown }>()
  /** What was closed and is still said to brokers. */
  private readonly ending = new Set<Promise<unknown>>()

  constructor(private readonly options: KafkaLogOptions) {
    this.cluster = new Cluster({
      brokers: options.brokers,
      clientId: options.clientId,
      ssl: options.ssl,
      sasl: options.sasl,
      connectionTimeoutMs: options.connectionTimeoutMs ?? CONNECTION_TIMEOUT_MS,
      requestTimeoutMs: options.requestTimeoutMs ?? REQUEST_TIMEOUT_MS,
      codecs: options.codecs,
      logger: options.logger,
    })
    this.admin = new KafkaAdmin(this.cluster)
  }

  async connect(): Promise<LogCapabilities> {
    await this.cluster.open()
    return { kind: 'kafka', transactionProtocol: await this.cluster.transactionProtocol(), address: this.options.brokers.join(',') }
  }

  reader(options: ReaderOptions): LogReader {
    const reader: LogReader = new KafkaReader(this.cluster, options, (ended) => {
      this.opened.delete(reader)
      this.ending.add(ended)
      void ended.then(() => this.ending.delete(ended))
    })
    this.opened.add(reader)
    return reader
  }

  producer(options: ProducerOptions): LogProducer {
    const producer: LogProducer = new KafkaProducer(this.cluster, options, () => this.opened.delete(producer))
    this.opened.add(producer)
    return producer
  }

  group(options: GroupOptions): LogGroup {
    const group = new KafkaGroup(this.cluster, options)
    this.opened.add(group)
    return group
  }

  topics(names: readonly string[]): Promise<ReadonlyMap<string, TopicInfo>> {
    return this.admin.topics(names)
  }

  createTopics(topics: readonly OwnTopic[]): Promise<void> {
    return this.admin.createTopics(topics)
  }

  deleteTopics(names: readonly string[]): Promise<void> {
    return this.admin.deleteTopics(names)
  }

  offsets(partitions: readonly TopicPartition[], at: OffsetAt): Promise<readonly number[]> {
    return this.admin.offsets(partitions, at)
  }

  async committedOffsets(group: string, partitions: readonly TopicPartition[]): Promise<readonly (number | undefined)[]> {
    return (await this.committedPositions(group, partitions)).map((position) => position?.offset)
  }

  committedPositions(group: string, partitions: readonly TopicPartition[]): Promise<readonly (Position | undefined)[]> {
    return this.admin.committedPositions(group, partitions)
  }

  async close(): Promise<void> {
    for (const open of [...this.opened]) open.close()
    this.opened.clear()
    await Promise.all(this.ending)
    this.cluster.close()
  }
}

import { z } from 'zod'
import type { LogClient, NewTopic, TopicInfo, TraceEvent } from '../log/port.js'
import type { Clock } from '../record/clock.js'
import type { Logger } from '../record/logger.js'
import type { RawRecord } from '../record/record.js'
import { MillraceError } from '../record/error.js'
import { parseOptions, positiveInteger, topicName } from '../runtime/options.js'
import { sourceSchema, type SourceOptions } from '../runtime/settings.js'
import { PartitionSource } from '../sources/partition-source.js'
import type { PipelineHandle } from '../runtime/host.js'
import { hasEnded, type PipelineStatus } from '../runtime/status/status.js'
import { viewOf, type StatusView } from '../runtime/status/view.js'
import type { Telemetry } from '../runtime/telemetry.js'
import type { Encoded } from '../log/batch/write.js'
import { controlOf, type ClusterControl } from './control.js'
import { produce, type ProduceOptions } from './produce.js'
import { producerSettings, type ProducerOptions } from './producer/options.js'
import type { Producer } from './producer/port.js'
import { LogRecordProducer } from './producer/producer.js'
import { consume, type ConsumeOptions } from './consume.js'
import { read, type ReadOptions } from './read.js'

/** A log to read from and write to: Kafka, or the embedded broker. Same interface, same guarantees. */
export interface Cluster {
  /**
   * The partitions of topics, as a source to pipe into `withTransaction`. Joins the group when subscribed.
   * @throws MillraceError INVALID_OPTIONS
   */
  source(options: SourceOptions): PartitionSource
  /**
   * A producer to keep: writes records from HTTP handlers, scripts and tests, idempotently, in order by key, gathered into batches.
   * Nothing connects before the first record. Closing the cluster closes it.
   *
   * @throws MillraceError INVALID_OPTIONS
   * @example
   * const producer = cluster.producer({ topic: 'orders', value: json<Order>() })
   * const { partition, offset } = await producer.send({ key: order.id, value: order })
   * await producer.close()
   */
  producer<K = Encoded, V = Encoded>(options?: ProducerOptions<K, V>): Producer<K, V>
  /**
   * Writes records, idempotently and without a transaction, for scripts and tests; resolves with their number when all are acknowledged. One that
   * is refused fails the call, and those beside it are written. It is a `producer` for one call; what writes all the time keeps one.
   * @throws MillraceError INVALID_OPTIONS, ENCODE_FAILED, INVALID_TIMESTAMP, MISSING_TOPIC, UNAUTHORIZED, RECORD_TOO_LARGE, TIMEOUT,
   * BROKER_UNREACHABLE
   */
  produce(options: ProduceOptions): Promise<number>
  /**
   * Reads a topic from its beginning to its present end, partitions in turns, committed records only; waits for transactions that are open
   * there to end. For scripts and tests.
   */
  read(options: ReadOptions): AsyncIterable<RawRecord>
  /**
   * Committed records of topics, for scripts: `for await (const record of cluster.consume({ topics: ['orders'] }))`.
   *
   * Order: that of each partition, partitions in turns. In a group, at least once: when the next record is asked for, the position behind the
   * one before counts as done; it is committed in the background, one request at a time, and all that is done is committed before partitions
   * are given away and before the loop ends. The record at which the loop is left (`break`, an error) comes again. Memory: 8 MiB are fetched
   * ahead; more is fetched as records are asked for.
   *
   * @throws MillraceError INVALID_OPTIONS, MISSING_TOPIC, UNAUTHORIZED, OFFSET_OUT_OF_RANGE, GROUP_MISMATCH, BROKER_UNREACHABLE
   */
  consume(options: ConsumeOptions): AsyncIterable<RawRecord>
  /** @throws MillraceError TOPIC_EXISTS, UNAUTHORIZED, BROKER_REFUSED */
  createTopics(topics: readonly NewTopic[]): Promise<void>
  deleteTopics(topics: readonly string[]): Promise<void>
  /** Those of the topics that exist. */
  topics(names: readonly string[]): Promise<ReadonlyMap<string, TopicInfo>>
  /**
   * What its pipelines are doing, those that run and the last that ended: a snapshot, and an observable of changes, which completes when
   * the cluster is closed.
   */
  readonly status: StatusView<ClusterStatus>
  /** What may be done to them from outside: pause and resume a task, stop in order, close a circuit breaker. */
  readonly control: ClusterControl
  /** Waits for pipelines that are stopping, then closes the connections. Pipelines still running are stopped in order. */
  close(): Promise<void>
}

/** What the pipelines of one process are doing. */
export interface ClusterStatus {
  readonly at: number
  readonly pipelines: readonly PipelineStatus[]
}

/** Of those that ended so many are kept: what one failed with is asked for afterwards. */
const MOST_ENDED = 8

/** What makes a cluster the one it is. */
export interface ClusterHost {
  /** With a logger of whoever uses it, which is told in place of the cluster's. */
  readonly openLog: (logger?: Logger) => Promise<LogClient>
  readonly clock: Clock
  readonly logger: Logger
  readonly trace?: ((event: TraceEvent) => void) | undefined
  readonly telemetry?: Telemetry | undefined
}

const newTopics = z.array(
  z.strictObject({
    topic: topicName,
    partitions: positiveInteger.optional(),
    replicationFactor: positiveInteger.optional(),
    config: z.record(z.string(), z.string()).optional(),
  }),
)

export class LogCluster implements Cluster {
  private admin: Promise<LogClient> | undefined
  private readonly running = new Set<Promise<void>>()
  private readonly producers = new Set<{ close(): Promise<void> }>()
  private readonly closing = new AbortController()
  private pipelines: PipelineHandle[] = []
  readonly status: StatusView<ClusterStatus>
  readonly control = controlOf(() => this.pipelines)

  constructor(private readonly host: ClusterHost) {
    const { clock } = host
    const take = (): ClusterStatus => ({ at: clock.now(), pipelines: this.pipelines.map((pipeline) => pipeline.status()) })
    this.status = viewOf(take, () => this.closing.signal.aborted, clock)
  }

  source(options: SourceOptions): PartitionSource {
    this.refuseIfClosed()
    const { openLog, clock, logger, trace, telemetry } = this.host
    const settings = parseOptions(sourceSchema, options, 'source')
    const signals = [this.closing.signal, ...(settings.signal === undefined ? [] : [settings.signal])]
    const onRun = (ended: Promise<void>): void => {
      this.running.add(ended)
      void ended.finally(() => this.running.delete(ended))
    }
    const onPipeline = (pipeline: PipelineHandle): void => {
      const ended = this.pipelines.filter((one) => hasEnded(one.status()))
      const forgotten = new Set(ended.slice(0, Math.max(0, ended.length - MOST_ENDED)))
      this.pipelines = [...this.pipelines.filter((one) => !forgotten.has(one)), pipeline]
    }
    return new PartitionSource(
      { ...settings, signal: AbortSignal.any(signals) },
      { openLog, clock, logger, trace, telemetry, onRun, onPipeline },
    )
  }

  async produce(options: ProduceOptions): Promise<number> {
    this.refuseIfClosed()
    return produce((settings) => this.newProducer(settings, 'produce'), options)
  }

  producer<K = Encoded, V = Encoded>(options: ProducerOptions<K, V> = {}): Producer<K, V> {
    this.refuseIfClosed()
    return this.newProducer<K, V>(options, 'producer')
  }

  private newProducer<K, V>(options: ProducerOptions<K, V>, name: string): LogRecordProducer<K, V> {
    const producer: LogRecordProducer<K, V> = new LogRecordProducer<K, V>(producerSettings(options), {
      log: () => this.client(),
      clock: this.host.clock,
      name,
      onClose: () => this.producers.delete(producer),
      telemetry: this.host.telemetry,
    })
    this.producers.add(producer)
    return producer
  }

  async *read(options: ReadOptions): AsyncGenerator<RawRecord> {
    yield* read(this.host.openLog, options)
  }

  consume(options: ConsumeOptions): AsyncIterable<RawRecord> {
    this.refuseIfClosed()
    const { openLog, clock, logger } = this.host
    return consume({ openLog, clock, logger, signal: this.closing.signal }, options)
  }

  async createTopics(topics: readonly NewTopic[]): Promise<void> {
    parseOptions(newTopics, topics, 'createTopics')
    await (await this.client()).createTopics(topics)
  }

  async deleteTopics(topics: readonly string[]): Promise<void> {
    await (await this.client()).deleteTopics(topics)
  }

  async topics(names: readonly string[]): Promise<ReadonlyMap<string, TopicInfo>> {
    return (await this.client()).topics(names)
  }

  async close(): Promise<void> {
    this.closing.abort()
    await Promise.all([...this.running, ...[...this.producers].map((producer) => producer.close())])
    const admin = this.admin
    this.admin = undefined
    // A client that never came up has nothing to close; whoever asked for it got the error.
    await admin?.then(
      (client) => client.close(),
      () => {},
    )
  }

  /** The connection of scripts, made when first needed; made anew if it failed. */
  private client(): Promise<LogClient> {
    if (this.admin === undefined) this.refuseIfClosed()
    this.admin ??= this.host.openLog().then(async (client) => {
      try {
        await client.connect()
        return client
      } catch (error) {
        this.admin = undefined
        await client.close()
        throw error
      }
    })
    return this.admin
  }

  private refuseIfClosed(): void {
    if (this.closing.signal.aborted)
      throw new MillraceError('CLOSED', 'the cluster was closed: make another one with kafka(...) or embedded()')
  }
}

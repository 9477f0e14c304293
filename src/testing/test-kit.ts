import type { Observable } from 'rxjs'
import { z } from 'zod'
import { embedded } from '../cluster/embedded.js'
import type { Cluster } from '../cluster/cluster.js'
import { createEmbeddedBroker, type EmbeddedBroker } from '../embedded/broker.js'
import type { Encoded } from '../log/batch/write.js'
import type { Duration } from '../record/duration.js'
import { MillraceError } from '../record/error.js'
import { silentLogger, type Logger } from '../record/logger.js'
import type { Commit } from '../runtime/commit.js'
import { duration, objectWith, parseOptions, topicName } from '../runtime/options.js'
import { telemetryOption, type Telemetry } from '../runtime/telemetry.js'
import { useClockInPipelines } from './clock-scheduler.js'
import { memberContext } from './member-context.js'
import { noteRealTimers } from './real-timers.js'
import { PipelineRun, type RunningPipeline } from './running-pipeline.js'
import {
  decoded,
  encoded,
  feedRecord,
  serdesShape,
  testTopics,
  type FeedRecord,
  type TestTopics,
  type TopicKey,
  type TopicSerdes,
  type TopicValue,
  type WrittenRecord,
} from './topic-records.js'
import { VirtualClock } from './virtual-clock.js'

export interface TestKitOptions<Topics extends TestTopics = TestTopics> {
  /** The topics to create, with the serdes their records are fed and read by. Default: none; more can be made by `cluster.createTopics`. */
  readonly topics?: Topics
  /** The time it begins with: milliseconds since the epoch, or a Date. Default 0. */
  readonly start?: number | Date
  /** Default: silent, since errors come out of the kit. */
  readonly logger?: Logger
  /** As of `embedded`: `openTelemetry()`, with the in-memory exporters of its SDK. What is fed is written by others, and not traced. */
  readonly telemetry?: Telemetry
}

export interface KitReadOptions<K, V> extends TopicSerdes<K, V> {
  /** 'last-read' (default): what is new since the last read of the topic; 'earliest': everything. */
  readonly from?: 'last-read' | 'earliest'
}

/** A broker, a cluster on it and a clock, for testing whole pipelines. Every call that is awaited ends when all is quiet. */
export interface TestKit<Topics extends TestTopics = TestTopics> {
  /** Make the pipeline's source from it. */
  readonly cluster: Cluster
  /** Faults, rebalances, expired sessions, pauses, and what the broker holds. */
  readonly broker: EmbeddedBroker
  readonly clock: VirtualClock
  /**
   * Writes records to a topic; resolves with their number when the pipelines have taken what they can without time passing.
   * @throws MillraceError MISSING_TOPIC, ENCODE_FAILED, RECORD_TOO_LARGE; what a pipeline failed with
   */
  feed<Name extends string, K = TopicKey<Topics, Name, Encoded>, V = TopicValue<Topics, Name, Encoded>>(
    topic: Name & (keyof Topics | (string & {})),
    records: FeedRecord<NoInfer<K>, NoInfer<V>> | Iterable<FeedRecord<NoInfer<K>, NoInfer<V>>>,
    serdes?: TopicSerdes<K, V>,
  ): Promise<number>
  /**
   * Subscribes to a pipeline. Called twice with the same one, or with two of one group, there are two members. What it fails with comes out
   * of the next awaited call.
   */
  run(pipeline: Observable<Commit>): RunningPipeline
  /**
   * Moves the time on: commits, heartbeats, sessions, retries, and RxJS's time in the pipelines go by it.
   * @throws MillraceError INVALID_OPTIONS; what a pipeline failed with
   */
  advance(by: Duration): Promise<void>
  /**
   * Committed records of a topic, by partition and offset; what was aborted or stands in an open transaction is not there.
   * @throws MillraceError MISSING_TOPIC, DECODE_FAILED; TIMEOUT if there is nothing and a pipeline waits for a real setTimeout, which no
   * virtual time ends; what a pipeline failed with
   */
  read<Name extends string, K = TopicKey<Topics, Name, string | null>, V = TopicValue<Topics, Name, string | null>>(
    topic: Name & (keyof Topics | (string & {})),
    options?: KitReadOptions<K, V>,
  ): Promise<WrittenRecord<K, V>[]>
  /**
   * Stops all pipelines in order and closes the cluster. To be called at the end of each test, also a failed one.
   * @throws what a pipeline failed with that no call has told yet
   */
  stop(): Promise<void>
}

const schema = z.strictObject({
  topics: testTopics.default({}),
  start: z.union([z.number().int().min(0), z.date().transform((date) => date.getTime())]).default(0),
  logger: objectWith<Logger>(['debug', 'info', 'warn', 'error'], 'a logger with debug, info, warn and error').default(silentLogger),
  telemetry: telemetryOption,
})

const serdesSchema = z.strictObject(serdesShape)
const readSchema = z.strictObject({ ...serdesShape, from: z.enum(['last-read', 'earliest']).default('last-read') })
const feedSchema = z.array(feedRecord)

/** A pipeline that has not ended after so much virtual time will not. */
const STOP_WITHIN_MS = 60 * 60_000

class Kit<Topics extends TestTopics> {
  readonly clock: VirtualClock
  readonly broker: EmbeddedBroker
  readonly cluster: Cluster
  /** Of other programs, of which nobody here knows what they trace. */
  private readonly others: Cluster
  private readonly topics: z.output<typeof testTopics>
  private readonly runs: PipelineRun[] = []
  private readonly positions = new Map<string, number>()
  private readonly release: () => void
  private failures: unknown[] = []
  private last: Promise<unknown> = Promise.resolve()
  private stopped = false

  constructor(options: TestKitOptions<Topics>) {
    const { topics, start, logger, telemetry } = parseOptions(schema, options, 'createTestKit')
    this.topics = topics
    this.clock = new VirtualClock(start)
    this.broker = createEmbeddedBroker({ clock: this.clock })
    const on = { broker: watched(this.broker), clock: this.clock, logger }
    this.cluster = stoppable(embedded({ ...on, ...(telemetry === undefined ? {} : { telemetry }) }))
    this.others = embedded(on)
    const [releaseClock, releaseTimers] = [useClockInPipelines(), noteRealTimers()]
    this.release = () => {
      releaseClock()
      releaseTimers()
    }
  }

  async createTopics(): Promise<void> {
    const topics = Object.entries(this.topics).map(([topic, { partitions, config }]) => ({
      topic,
      partitions,
      ...(config === undefined ? {} : { config }),
    }))
    try {
      await this.cluster.createTopics(topics)
    } catch (error) {
      this.release()
      throw error
    }
  }

  feed(
    topic: string,
    records: FeedRecord<unknown, unknown> | Iterable<FeedRecord<unknown, unknown>>,
    serdes: TopicSerdes = {},
  ): Promise<number> {
    return this.inTurn(async () => {
      const by = { ...this.topics[topic], ...parseOptions(serdesSchema, serdes, `feed '${topic}'`) }
      const given = parseOptions(feedSchema, Symbol.iterator in records ? [...records] : [records], `feed '${topic}'`) as FeedRecord<
        unknown,
        unknown
      >[]
      const count = await this.others.produce({ topic, records: given.map((record) => encoded(topic, by, record)) })
      await this.clock.advance(0)
      return count
    })
  }

  run(pipeline: Observable<Commit>): RunningPipeline {
    this.refuseIfStopped()
    const run = new PipelineRun(this.clock, pipeline, (error) => this.failures.push(error))
    this.runs.push(run)
    return {
      commits: run.commits,
      get ended() {
        return run.ended
      },
      stop: () =>
        this.inTurn(async () => {
          run.askToStop()
          await this.untilEnded([run])
        }),
      crash: () =>
        this.inTurn(async () => {
          await run.crash()
          await this.clock.advance(0)
        }),
    }
  }

  advance(by: Duration): Promise<void> {
    return this.inTurn(() => this.clock.advance(parseOptions(duration, by, 'advance')))
  }

  read(topic: string, options: KitReadOptions<unknown, unknown> = {}): Promise<WrittenRecord<unknown, unknown>[]> {
    return this.inTurn(async () => {
      parseOptions(topicName, topic, 'read')
      const { from, ...serdes } = parseOptions(readSchema, options, `read '${topic}'`)
      const by = { ...this.topics[topic], ...serdes }
      await this.clock.advance(0)
      const found: WrittenRecord<unknown, unknown>[] = []
      for (const stored of await this.broker.records(topic)) {
        const at = `${topic}/${stored.partition}`
        if (from === 'last-read' && stored.offset < (this.positions.get(at) ?? 0)) continue
        found.push(decoded(topic, by, stored))
      }
      if (found.length === 0) this.refuseRealTimers(topic)
      for (const { partition, offset } of found) this.positions.set(`${topic}/${partition}`, offset + 1)
      return found
    })
  }

  async stop(): Promise<void> {
    if (this.stopped) return
    this.stopped = true
    await this.enqueue(async () => {
      try {
        for (const run of this.runs) run.askToStop()
        await this.untilEnded(this.runs)
        await Promise.all([this.cluster.close(), this.others.close()])
      } finally {
        this.release()
      }
    })
  }

  private async untilEnded(runs: readonly PipelineRun[]): Promise<void> {
    const limit = this.clock.now() + STOP_WITHIN_MS
    await this.clock.advance(0)
    while (runs.some((run) => !run.ended)) {
      if (this.clock.now() > limit || !(await this.clock.advanceToNext())) {
        const timer = this.realTimer()
        throw new MillraceError(
          'TIMEOUT',
          timer === undefined
            ? 'a pipeline that was told to stop does not end: it waits for something that is neither the clock nor the broker of the test kit. Make its source from kit.cluster, and have what user code waits for answered before stopping'
            : `a pipeline that was told to stop does not end. ${waiting(timer)}`,
        )
      }
    }
  }

  private realTimer(): string | undefined {
    return this.runs.map((run) => run.waitsForRealTime).find((timer) => timer !== undefined)
  }

  /** An empty answer says nothing where the kit could not have the pipeline go on. */
  private refuseRealTimers(topic: string): void {
    const timer = this.realTimer()
    if (timer !== undefined)
      throw new MillraceError('TIMEOUT', `nothing new in '${topic}', and a pipeline has not gone on since. ${waiting(timer)}`)
  }

  /** One call after the other, also where several are made at once; then what a pipeline has failed with meanwhile. */
  private inTurn<T>(action: () => Promise<T>): Promise<T> {
    this.refuseIfStopped()
    return this.enqueue(action)
  }

  private enqueue<T>(action: () => Promise<T>): Promise<T> {
    const done = this.last.then(action).then(
      (value) => {
        this.raiseFailures()
        return value
      },
      (error: unknown) => {
        this.raiseFailures(error)
        throw error
      },
    )
    this.last = done.catch(() => {})
    return done
  }

  private raiseFailures(...others: unknown[]): void {
    const errors = [...this.failures, ...others]
    this.failures = []
    if (errors.length === 1) throw errors[0]
    if (errors.length > 1) throw new AggregateError(errors, `${errors.length} failures:\n${errors.map(String).join('\n')}`)
  }

  private refuseIfStopped(): void {
    if (this.stopped) throw new MillraceError('CLOSED', 'the test kit was stopped: make a new one for each test')
  }
}

function waiting(timer: string): string {
  return `Its code has set a timer of the system's (setTimeout, node:timers/promises), which the time of the test kit does not move: ${timer}. Wait with RxJS (timer, delay), whose time is virtual in a pipeline, or give the step a function of the test in the place of what waits`
}

/** Sources of the cluster end with the pipeline they are part of, as well as with their own signal. */
function stoppable(cluster: Cluster): Cluster {
  const source = cluster.source.bind(cluster)
  cluster.source = (options) => {
    const made = source(options)
    const own = made.settings.signal
    Object.defineProperty(made.settings, 'signal', {
      enumerable: true,
      get: () => AbortSignal.any([own, memberContext.getStore()?.signal].filter((signal) => signal !== undefined)),
    })
    return made
  }
  return cluster
}

/** Notes which pipeline opens which connections. */
function watched(broker: EmbeddedBroker): EmbeddedBroker {
  return {
    ...broker,
    client() {
      const client = broker.client()
      memberContext.getStore()?.clients.add(client)
      return client
    },
  }
}

/**
 * Everything a test of a pipeline needs: feed records, advance the time, read outputs. No broker, no sleeping, always the same outcome.
 *
 * @throws MillraceError INVALID_OPTIONS
 * @example
 * const kit = await createTestKit({ topics: { orders: { partitions: 4, value: json<Order>() }, invoices: { value: json<Invoice>() } } })
 * kit.run(billing(kit.cluster))
 * await kit.feed('orders', [{ key: 'a', value: { id: 'a', amount: 3 } }])
 * await kit.advance('100ms')
 * expect(await kit.read('invoices')).toMatchObject([{ key: 'a', value: { total: 3 } }])
 * await kit.stop()
 */
export async function createTestKit<const Topics extends TestTopics = Record<never, never>>(
  options: TestKitOptions<Topics> = {},
): Promise<TestKit<Topics>> {
  const kit = new Kit(options)
  await kit.createTopics()
  // The class knows topics by name only; their types are the interface's.
  return kit as unknown as TestKit<Topics>
}

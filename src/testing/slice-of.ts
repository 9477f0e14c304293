import { ReplaySubject, isObservable, lastValueFrom, tap, type Observable, type Subscription } from 'rxjs'
import { z } from 'zod'
import { AT, writeInt64 } from '../log/batch/header.js'
import { BatchReader, batchSource, viewBatch, type BatchView } from '../log/batch/read.js'
import { BatchWriter, stampBatch, type OutputBatch } from '../log/batch/write.js'
import { MillraceError } from '../record/error.js'
import { NO_HEADERS } from '../record/headers.js'
import { silentLogger } from '../record/logger.js'
import { RecordSource } from '../record/record-source.js'
import { LogRecord, type RawRecord, type StreamRecord } from '../record/record.js'
import { string } from '../record/serde.js'
import { Tally, markedSource, newMarks, type RecordCounts } from '../runtime/accounting.js'
import { Alarms } from '../runtime/alarms.js'
import type { Meter } from '../runtime/context.js'
import { parseOptions, topicName } from '../runtime/options.js'
import { PipelineEffects, type TopicProgress } from '../runtime/effects.js'
import { Outputs, TopicOutput } from '../runtime/outputs.js'
import { planOf, type Plan } from '../runtime/plan.js'
import type { RecordStream } from '../runtime/slice-stream.js'
import type { StreamOf } from '../runtime/stream-of.js'
import { Slice, type Project } from '../runtime/slice.js'
import { TaskState } from '../runtime/task-state.js'
import { rxjsClock } from './clock-scheduler.js'
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

/** The records of a slice: at once, or as a marble diagram says. */
export type SliceRecords<R> = Iterable<R> | Observable<R>

/** A slice of records that are decoded already. */
export interface TypedRecordStream<K, V> extends StreamOf<StreamRecord<K, V>> {
  readonly topics: readonly string[]
  readonly partition: number
}

export interface SliceOptions<Topics extends TestTopics = TestTopics> {
  /** Topics written to, where their partitions or serdes matter. Default: every topic has one partition and is text. */
  readonly topics?: Topics
  /** Topic of the records, for those that do not say where they were read. Default 'in'. */
  readonly topic?: string
  /** Their partition. Default 0. */
  readonly partition?: number
  /** The consumer group, which names changelogs and retry topics. Default 'test'. */
  readonly group?: string
  /** As in `withTransaction`: topics written in branches that an empty slice does not take. */
  readonly declare?: { readonly topics: readonly string[] }
}

/** One run of a project function over one slice. */
export interface SliceRun<T, Topics extends TestTopics = TestTopics> {
  /** What has come out so far. */
  readonly emitted: readonly T[]
  /** What comes out, from the first value on whenever it is subscribed: for `expectObservable` of RxJS's TestScheduler. */
  readonly output: Observable<T>
  /** True when the slice is done: everything in it is finished. */
  readonly completed: boolean
  /** What became of the records so far. */
  readonly counts: RecordCounts
  /** What the `meter` operators have counted so far, by name. */
  readonly meters: Readonly<Record<string, number>>
  /**
   * What would be written to a topic, by partition.
   * @throws MillraceError MISSING_TOPIC if the project function does not write to it, DECODE_FAILED; what the slice failed with: then
   * nothing is written
   */
  written<Name extends string, K = TopicKey<Topics, Name, string | null>, V = TopicValue<Topics, Name, string | null>>(
    topic: Name & (keyof Topics | (string & {})),
    serdes?: TopicSerdes<K, V>,
  ): WrittenRecord<K, V>[]
  /** Resolves when the slice is done. @throws what it failed with */
  done(): Promise<void>
}

const schema = z.strictObject({
  topics: testTopics.default({}),
  topic: topicName.default('in'),
  partition: z.number().int().min(0).default(0),
  group: z.string().min(1).default('test'),
  declare: z.strictObject({ topics: z.array(topicName) }).default({ topics: [] }),
})

const serdesSchema = z.strictObject(serdesShape)

type Settings = z.output<typeof schema>

class SliceUnderTest<T> {
  readonly emitted: T[] = []
  readonly output = new ReplaySubject<T>()
  private readonly plan: Plan
  private readonly meterCounts = new Map<string, Meter>()
  private readonly marks: Uint8Array[] = []
  private readonly outputs: Outputs
  private readonly batches: OutputBatch[] = []
  private readonly slice: Slice
  private readonly effects: PipelineEffects
  private input: Subscription | undefined
  private over = false
  private offset = 0

  constructor(
    project: (records: RecordStream) => Observable<T>,
    private readonly settings: Settings,
  ) {
    const { topic, partition, group, declare, topics } = settings
    this.plan = planOf(project, group, [topic], declare)
    const infos = this.writtenTopics.map((name) => ({
      topic: name,
      partitions: topics[name]?.partitions ?? 1,
      maxMessageBytes: limitOf(topics[name]?.config),
      cleanupPolicy: undefined,
    }))
    this.outputs = new Outputs(infos, true)
    this.effects = new PipelineEffects(this.plan.effects, {
      group,
      inputs: [topic],
      innerTopics: [],
      partitions: () => partition + 1,
      clock: rxjsClock,
      logger: silentLogger,
      ends: (partitions) => Promise.resolve(partitions.map(() => this.offset)),
      confirm: () => Promise.resolve(),
    })
    const observed: Project = (records) =>
      project(records).pipe(
        tap((value) => {
          this.emitted.push(value)
          this.output.next(value)
        }),
      )
    this.slice = new Slice([topic], partition, observed, {
      group,
      tasks: partition + 1,
      // Empty at first, and gone with the slice: what stores write to their changelogs is their own affair.
      state: new TaskState(
        partition,
        this.plan.stores.map(({ spec, topic: changelog }) => ({
          spec,
          changelog: new TopicOutput(changelog, partition + 1, undefined, false),
        })),
      ),
      alarms: new Alarms(rxjsClock),
      outputs: this.outputs,
      meters: this.meterCounts,
      shared: new Map(),
      behind: () => false,
      standing: {
        generation: 0,
        producerId: -1n,
        held: [partition],
        progress: () => [{ partition, topics: this.progress() }],
        committedOffsets: (_, partitions) => Promise.resolve(partitions.map(() => undefined)),
      },
      join: () => {},
      effects: this.effects,
      progress: () => this.progress(),
      clock: rxjsClock,
      logger: silentLogger,
      onEnd: () => this.end(),
    })
    this.end()
  }

  get completed(): boolean {
    return this.slice.completed
  }

  get counts(): RecordCounts {
    const tally = new Tally()
    for (const marks of this.marks) tally.add(marks, 0, marks.length)
    return tally.result()
  }

  get meters(): Readonly<Record<string, number>> {
    return Object.fromEntries([...this.meterCounts].map(([name, { count }]) => [name, count]))
  }

  /** @throws what the slice failed with, if it did so at once */
  feed(records: Iterable<FeedRecord | RawRecord>): void {
    this.slice.feed(() => {
      for (const record of records) if (!this.slice.ended) this.slice.push(this.raw(record))
    })
    if (!this.slice.ended) this.slice.endInput()
    if (this.slice.failure !== undefined) throw this.slice.failure.error
  }

  follow(records: Observable<FeedRecord | RawRecord>): void {
    this.input = records.subscribe({
      next: (record) => this.slice.feed(() => this.slice.push(this.raw(record))),
      error: (error: unknown) => this.end({ error }),
      complete: () => this.slice.endInput(),
    })
    if (this.over) this.input.unsubscribe()
  }

  written(topic: string, serdes: TopicSerdes = {}): WrittenRecord<unknown, unknown>[] {
    const given = parseOptions(serdesSchema, serdes, `written '${topic}'`)
    if (!this.writtenTopics.includes(topic)) {
      throw new MillraceError(
        'MISSING_TOPIC',
        `the project function does not write to '${topic}'; it writes to ${this.writtenTopics.map((name) => `'${name}'`).join(', ') || 'no topic'}`,
      )
    }
    if (this.slice.failure !== undefined) throw this.slice.failure.error
    this.batches.push(...this.outputs.take(true))
    const next = new Map<number, number>()
    const records = this.batches
      .filter((batch) => batch.topic === topic)
      .flatMap((batch) => {
        const { partition } = batch
        const from = next.get(partition) ?? 0
        next.set(partition, from + batch.count)
        return [...readAll(batch, from)].map(({ offset, timestamp, key, value, headers }) => ({
          partition,
          offset,
          timestamp,
          key,
          value,
          headers,
        }))
      })
    const by = { ...this.settings.topics[topic], ...given }
    return records.sort((a, b) => a.partition - b.partition || a.offset - b.offset).map((record) => decoded(topic, by, record))
  }

  async done(): Promise<void> {
    await lastValueFrom(this.output, { defaultValue: undefined })
  }

  private progress(): TopicProgress[] {
    return [{ topic: this.settings.topic, committed: 0, stored: false, position: this.offset }]
  }

  private async commitEffects(): Promise<void> {
    try {
      const { partition } = this.settings
      await this.effects.commit({ tasks: [{ partition, topics: this.progress() }], generation: 0, demand: () => 'none' })
      this.output.complete()
    } catch (error) {
      this.output.error(error)
    } finally {
      await this.effects.close()
    }
  }

  private get writtenTopics(): string[] {
    const { outputs, inlets } = this.plan
    return [...new Set([...outputs, ...inlets].map(({ topic }) => topic))]
  }

  /** The record as a task would push it: with an origin, and a place for what becomes of it. */
  private raw(given: FeedRecord | RawRecord): RawRecord {
    const { topic, partition } = this.settings
    if (given instanceof LogRecord) {
      const known = given.offset >= 0
      const marks = newMarks(1)
      const { source: from } = given
      const source = new RecordSource({ ...from, bytes: from.bytes, ...(known ? {} : { topic, partition }), marks })
      this.marks.push(marks)
      const offset = known ? given.offset : this.offset++
      return new LogRecord(
        source,
        offset,
        given.timestamp,
        0,
        given.start,
        given.end,
        given.raw,
        given.key,
        given.value,
        given.headers,
      ) as RawRecord
    }
    const {
      key = null,
      value,
      headers = NO_HEADERS,
      timestamp = 0,
    } = encoded(topic, { key: string(), value: string() }, parseOptions(feedRecord, given, 'sliceOf: records') as FeedRecord)
    const writer = new BatchWriter(topic, partition, Number.POSITIVE_INFINITY)
    writer.append(key, value, headers, timestamp)
    const view = viewed(writer.take(true)[0] as OutputBatch, this.offset++)
    const source = markedSource(topic, partition, view)
    this.marks.push(source.marks)
    return new BatchReader(view, source, 0).next(0) as RawRecord
  }

  private end(failure: { readonly error: unknown } | undefined = this.slice?.failure): void {
    // Also called while the slice is made, where user code fails at once.
    if (this.over || this.slice === undefined || (failure === undefined && !this.slice.completed)) return
    this.over = true
    this.input?.unsubscribe()
    this.slice.close()
    if (failure !== undefined) {
      this.output.error(failure.error)
      void this.effects.close()
    } else if (this.effects.none) this.output.complete()
    else void this.commitEffects()
  }
}

function viewed(batch: OutputBatch, baseOffset: number): BatchView {
  const bytes = stampBatch(batch, { producerId: -1n, producerEpoch: -1, baseSequence: -1, transactional: false, compression: 0 })
  writeInt64(bytes, AT.baseOffset, baseOffset)
  return viewBatch(bytes, 0, batch.topic) as BatchView
}

function* readAll(batch: OutputBatch, baseOffset: number): Generator<LogRecord<Buffer | null, Buffer | null>> {
  const view = viewed(batch, baseOffset)
  const reader = new BatchReader(view, batchSource(batch.topic, batch.partition, view), 0)
  for (let record = reader.next(-1); record !== undefined; record = reader.next(-1)) yield record
}

function limitOf(config: Readonly<Record<string, string>> | undefined): number | undefined {
  const limit = config?.['max.message.bytes']
  return limit === undefined ? undefined : Number(limit)
}

/**
 * Runs a project function, or a part of one, over the given records as one slice, without a broker: in the same turn as far as the
 * function is synchronous.
 *
 * Records made by `record({ ... })` go in as they are, others as bytes, as if they had been read. An observable of records, such as
 * `cold('a-b|', ...)` of RxJS's TestScheduler, is followed; inside `scheduler.run(...)` operators of millrace that need the time go by its
 * frames too. State begins empty; what spans slices is tested with `createTestKit`.
 *
 * @throws MillraceError INVALID_OPTIONS, PLAN_FAILED; what the slice fails with in the same turn, if the records are not an observable.
 * Later failures come out of `output`, `done()` and `written()`.
 * @example
 * const run = sliceOf([{ key: 'a', value: '{"n":1}' }], (records) => records.pipe(decode(Count), dropFailed(), toTopic({ topic: 'out', value: json() })))
 * expect(run.written('out')).toMatchObject([{ key: 'a', value: '{"n":1}' }])
 */
export function sliceOf<K, V, T, const Topics extends TestTopics = Record<never, never>>(
  records: SliceRecords<StreamRecord<K, V>>,
  project: (records: TypedRecordStream<K, V>) => Observable<T>,
  options?: SliceOptions<Topics>,
): SliceRun<T, Topics>
export function sliceOf<T, const Topics extends TestTopics = Record<never, never>>(
  records: SliceRecords<FeedRecord>,
  project: (records: RecordStream) => Observable<T>,
  options?: SliceOptions<Topics>,
): SliceRun<T, Topics>
export function sliceOf(
  records: SliceRecords<FeedRecord | RawRecord>,
  project: (records: RecordStream) => Observable<unknown>,
  options: SliceOptions = {},
): SliceRun<unknown> {
  const run = new SliceUnderTest(project, parseOptions(schema, options, 'sliceOf'))
  if (isObservable(records)) run.follow(records)
  else run.feed(records)
  return run as SliceRun<unknown>
}

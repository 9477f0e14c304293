import { randomUUID } from 'node:crypto'
import type { OutputBatch } from '../../log/batch/write.js'
import { reactionTo } from '../../log/error.js'
import type { LogClient, LogProducer, TopicInfo } from '../../log/port.js'
import { sleep, type Clock } from '../../record/clock.js'
import { timed } from '../../record/durations.js'
import { MillraceError } from '../../record/error.js'
import type { SentTrace } from '../../record/tracing.js'
import type { Telemetry } from '../../runtime/telemetry.js'
import { checkRecord, encodeRecord } from './encode.js'
import type { ProducerRecord, ProducerSettings, WrittenRecord } from './options.js'
import type { Lane, Outcome, PartitionOutput } from './partition-output.js'
import type { Producer, ProducerStats } from './port.js'
import { TopicOutput } from './topic-output.js'
import { Transactions, type ProducerTransaction } from './transaction.js'

/** Brokers that come back from an outage learn in seconds which topics there are, and so do clients of topics just made. */
const TOPIC_PATIENCE_MS = 5_000
const LOOK_AGAIN_MS = 200

export interface ProducerHost {
  /** The log, connected. */
  readonly log: () => Promise<LogClient>
  readonly clock: Clock
  /** Begins the text of errors. */
  readonly name?: string
  readonly onClose?: () => void
  /** Where it tells what it measures, and by what records are followed. */
  readonly telemetry?: Telemetry | undefined
}

export class LogRecordProducer<K, V> implements Producer<K, V>, Lane {
  private readonly lingers: boolean
  readonly halfBytes: number
  private readonly topics = new Map<string, TopicOutput>()
  private readonly blockedOnes = new Set<PartitionOutput>()
  private readonly behindOnes = new Set<object>()
  private begunOnes: PartitionOutput[] = []
  private opened: Promise<LogProducer> | undefined
  private log: LogProducer | undefined
  private transactions: Promise<Transactions> | undefined
  private transactionLog: LogProducer | undefined
  private isClosed = false
  private closing: Promise<void> | undefined
  private cancelTimer: (() => void) | undefined
  private waiters: (() => void)[] = []
  /** How many records sent between two calls of `flush` are not settled. */
  private generation = { left: 0 }
  private generations = [this.generation]
  private flushing = 0
  private readonly counts = { sent: 0, written: 0, failed: 0, batches: 0, bytes: 0, unsettled: 0 }

  constructor(
    private readonly settings: ProducerSettings,
    private readonly host: ProducerHost,
  ) {
    this.lingers = settings.linger > 0
    this.halfBytes = settings.maxInFlightBytes / 2
    const { signal } = settings
    if (signal?.aborted === true) void this.close()
    else signal?.addEventListener('abort', this.onAbort, { once: true })
  }

  send(record: ProducerRecord<K, V>): Promise<WrittenRecord> {
    return new Promise((written, failed) => this.take(record, 'send: the record', { written, failed }))
  }

  async sendBatch(records: Iterable<ProducerRecord<K, V>> | AsyncIterable<ProducerRecord<K, V>>): Promise<readonly WrittenRecord[]> {
    const written: WrittenRecord[] = []
    await this.writeAll('sendBatch', records, (at, number) => (written[number] = at))
    return written
  }

  /** Returns how many there were. `name` begins the text of errors; `onWritten` is told where each stands. */
  async writeAll(
    name: string,
    records: Iterable<ProducerRecord<K, V>> | AsyncIterable<ProducerRecord<K, V>>,
    onWritten?: (at: WrittenRecord, number: number) => void,
  ): Promise<number> {
    let count = 0
    let left = 0
    let failure: { readonly error: unknown } | undefined
    let settled: () => void = () => {}
    const done = (): void => {
      if (--left === 0) settled()
    }
    const take = (record: ProducerRecord<K, V>): void => {
      const number = count++
      left++
      const outcome: Outcome = {
        written(at) {
          onWritten?.(at, number)
          done()
        },
        failed(error) {
          failure ??= { error }
          done()
        },
      }
      this.take(record, `${name}: record ${number}`, outcome)
    }
    // An array is taken whole at once, so that calls that are not awaited keep their order; what is made on the way waits for room.
    if (Array.isArray(records)) for (const record of records as readonly ProducerRecord<K, V>[]) take(record)
    else
      for await (const record of records) {
        take(record)
        if (failure !== undefined) break
        if (this.isPressed) await this.ready()
      }
    if (left > 0) await new Promise<void>((resolve) => (settled = resolve))
    if (failure !== undefined) throw failure.error
    return count
  }

  async ready(): Promise<void> {
    while (!this.isClosed && this.isPressed) await this.change()
  }

  async flush(): Promise<void> {
    // What is sent from here on is waited for by others.
    const sent = this.generations.filter(({ left }) => left > 0)
    this.generations = [...sent, (this.generation = { left: 0 })]
    this.flushing++
    this.flushBegun()
    while (sent.some(({ left }) => left > 0)) await this.change()
    this.flushing--
  }

  async transaction<T>(work: (tx: ProducerTransaction<K, V>) => T | PromiseLike<T>): Promise<T> {
    if (this.isClosed) throw this.closedError('transaction')
    this.transactions ??= this.openTransactions()
    const transactions = this.transactions
    try {
      return await (await transactions).run(work)
    } catch (error) {
      if (this.transactionLog === undefined) this.transactions = undefined
      throw error
    }
  }

  get stats(): ProducerStats {
    const { unsettled, ...counts } = this.counts
    return { ...counts, pending: unsettled }
  }

  close(): Promise<void> {
    this.closing ??= this.end()
    return this.closing
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  // What the partitions need.

  get isFull(): boolean {
    return this.counts.bytes >= this.settings.maxInFlightBytes
  }

  write(batch: OutputBatch): Promise<number> {
    this.counts.batches++
    const { topic, partition } = batch
    return timed(this.host.telemetry?.durations, this.monotonic, 'send', { topic, partition }, (this.log as LogProducer).write(batch))
  }

  took(bytes: number): void {
    this.counts.bytes += bytes
  }

  gave(bytes: number): void {
    this.counts.bytes -= bytes
    for (const partition of this.blockedOnes) {
      if (partition.resume()) this.blockedOnes.delete(partition)
      if (this.isFull) break
    }
    this.changed()
  }

  blocked(partition: PartitionOutput): void {
    this.blockedOnes.add(partition)
  }

  behind(topic: object): void {
    this.behindOnes.add(topic)
  }

  caughtUp(topic: object): void {
    this.behindOnes.delete(topic)
    this.changed()
  }

  begun(partition: PartitionOutput): void {
    if (this.begunOnes.push(partition) > 1) return
    if (!this.lingers || this.flushing > 0) queueMicrotask(() => this.flushBegun())
    else this.cancelTimer ??= this.host.clock.after(this.settings.linger, () => this.flushBegun())
  }

  failed(topic: string): void {
    this.topics.get(topic)?.doubt()
  }

  private get isPressed(): boolean {
    return this.isFull || this.blockedOnes.size > 0 || this.behindOnes.size > 0
  }

  private take(given: ProducerRecord<K, V>, what: string, outcome: Outcome): void {
    const { counts, generation } = this
    let sent: SentTrace | undefined
    try {
      if (this.isClosed) throw this.closedError(what)
      checkRecord(given, what)
      const topic = this.topicOf(given, what)
      sent = this.trace(given, topic)
      const encoded = encodeRecord(this.settings, given, what, sent?.headers)
      counts.sent++
      counts.unsettled++
      generation.left++
      const counted: Outcome = {
        written: (at) => {
          counts.written++
          counts.unsettled--
          generation.left--
          sent?.end(at)
          outcome.written(at)
        },
        failed: (error) => {
          counts.failed++
          counts.unsettled--
          generation.left--
          sent?.end(undefined, error)
          outcome.failed(error)
          this.changed()
        },
      }
      this.output(topic).add({ given, encoded, timestamp: given.timestamp ?? this.host.clock.now(), what, outcome: counted })
    } catch (error) {
      sent?.end(undefined, error)
      outcome.failed(error)
    }
  }

  /** A context that the program wrote itself is left alone. */
  private trace({ headers }: ProducerRecord<unknown, unknown>, topic: string): SentTrace | undefined {
    const tracer = this.host.telemetry?.tracer
    return tracer === undefined || tracer.fields.some((name) => headers?.[name] !== undefined) ? undefined : tracer.send(topic)
  }

  private topicOf(record: ProducerRecord<unknown, unknown>, what: string): string {
    const { topic = this.settings.topic } = record
    if (typeof topic === 'string' && topic !== '') return topic
    throw new MillraceError('INVALID_OPTIONS', `${what} names no topic: give it one, or give the producer a default, producer({ topic })`)
  }

  private output(topic: string): TopicOutput {
    let output = this.topics.get(topic)
    if (output === undefined) {
      const lookUp = async (): Promise<TopicInfo> => {
        await this.open()
        return this.lookUp(topic)
      }
      this.topics.set(topic, (output = new TopicOutput(this.settings, this, lookUp, () => this.host.clock.monotonic())))
    }
    return output
  }

  private open(): Promise<LogProducer> {
    this.opened ??= this.makeLog(undefined).then(
      async (log) => {
        if (this.isClosed && this.counts.unsettled === 0) await log.close()
        return (this.log = log)
      },
      (error: unknown) => {
        this.opened = undefined
        throw error
      },
    )
    return this.opened
  }

  private async makeLog(transactionalId: string | undefined): Promise<LogProducer> {
    const { compression, deliveryTimeout, transactionTimeout } = this.settings
    const client = await this.host.log()
    const log = client.producer({
      transactionalId,
      transactionTimeoutMs: transactionTimeout,
      compression,
      ...(transactionalId === undefined ? { independent: true, deliveryTimeoutMs: deliveryTimeout } : {}),
    })
    if (transactionalId !== undefined) return log
    try {
      await log.init()
      return log
    } catch (error) {
      await log.close()
      throw error
    }
  }

  private async openTransactions(): Promise<Transactions> {
    this.transactionLog = await this.makeLog(this.settings.transactionalId ?? `millrace-${randomUUID()}`)
    const known = new Map<string, Promise<TopicInfo>>()
    const infoOf = (topic: string): Promise<TopicInfo> => {
      let info = known.get(topic)
      if (info === undefined) {
        known.set(topic, (info = this.lookUp(topic)))
        info.catch(() => known.delete(topic))
      }
      return info
    }
    return new Transactions(
      this.transactionLog,
      this.settings,
      (record, what) => {
        checkRecord(record, what)
        return this.topicOf(record, what)
      },
      infoOf,
      () => this.host.clock.now(),
      (record, topic) => this.trace(record, topic),
      { durations: this.host.telemetry?.durations, now: this.monotonic },
    )
  }

  /** @throws MillraceError MISSING_TOPIC, and what the log fails with until the record's time is up */
  private async lookUp(topic: string): Promise<TopicInfo> {
    const { clock, name = 'producer' } = this.host
    const began = clock.monotonic()
    for (;;) {
      const log = await this.host.log()
      let failure: unknown
      try {
        const info = (await log.topics([topic])).get(topic)
        if (info !== undefined) return info
      } catch (error) {
        failure = error
        if (reactionTo(error) !== 'retry') throw error
      }
      const passed = clock.monotonic() - began
      if (failure !== undefined && passed >= this.settings.deliveryTimeout) throw failure
      const patience = // What is in this process knows at once which topics there are.
        (await log.connect()).kind === 'kafka' ? Math.min(TOPIC_PATIENCE_MS, this.settings.deliveryTimeout) : 0
      if (failure === undefined && passed >= patience)
        throw new MillraceError(
          'MISSING_TOPIC',
          `${name}: topic '${topic}' does not exist. Create it first: cluster.createTopics([{ topic: '${topic}' }])`,
        )
      await sleep(clock, LOOK_AGAIN_MS)
    }
  }

  private flushBegun(): void {
    this.cancelTimer?.()
    this.cancelTimer = undefined
    const begun = this.begunOnes
    this.begunOnes = []
    for (const partition of begun) partition.flush()
  }

  private readonly monotonic = (): number => this.host.clock.monotonic()

  private readonly onAbort = (): void => {
    void this.close()
  }

  private async end(): Promise<void> {
    this.isClosed = true
    this.settings.signal?.removeEventListener('abort', this.onAbort)
    await this.flush()
    await (await this.transactions?.catch(() => undefined))?.settled()
    await this.opened?.catch(() => undefined)
    await this.log?.close()
    await this.transactionLog?.close()
    this.host.onClose?.()
    this.changed()
  }

  private closedError(what: string): MillraceError {
    return new MillraceError('CLOSED', `${what} came after the producer was closed`)
  }

  private change(): Promise<void> {
    return new Promise((resolve) => this.waiters.push(resolve))
  }

  private changed(): void {
    const { waiters } = this
    if (waiters.length === 0) return
    this.waiters = []
    for (const resolve of waiters) resolve()
  }
}

import { BatchWriter } from '../../log/batch/write.js'
import { reactionTo } from '../../log/error.js'
import type { LogProducer, TopicInfo } from '../../log/port.js'
import { timed, type Durations } from '../../record/durations.js'
import { MillraceError } from '../../record/error.js'
import type { SentTrace } from '../../record/tracing.js'
import { checkFits, encodeRecord, fitting, partitionFor, sizeOf } from './encode.js'
import type { ProducerRecord, ProducerSettings } from './options.js'

/** What `transaction` hands to its function. */
export interface ProducerTransaction<K, V> {
  /**
   * Adds a record to the transaction. Order: of calls. Resolves when it was taken, which waits where much is gathered; it need not be
   * awaited, the commit waits for all. What it fails with, the transaction fails with.
   */
  send(record: ProducerRecord<K, V>): Promise<void>
}

/** Follows a record into a topic, where tracing is on and it is to be followed. */
export type TraceSend = (record: ProducerRecord<unknown, unknown>, topic: string) => SentTrace | undefined

/** Beyond this, gathered records are sent before the function is done. */
const GATHERED_BYTES = 4 * 1024 * 1024

/** The transactions of one producer, one after the other. */
export class Transactions {
  private tail: Promise<unknown> = Promise.resolve()
  private ready = false

  constructor(
    private readonly log: LogProducer,
    private readonly settings: ProducerSettings,
    private readonly topicOf: (record: ProducerRecord<unknown, unknown>, what: string) => string,
    private readonly infoOf: (topic: string) => Promise<TopicInfo>,
    private readonly now: () => number,
    private readonly trace: TraceSend,
    private readonly measured: { readonly durations: Durations | undefined; readonly now: () => number },
  ) {}

  run<K, V, T>(work: (tx: ProducerTransaction<K, V>) => T | PromiseLike<T>): Promise<T> {
    const done = this.tail.then(() => this.runNext(work))
    this.tail = done.catch(() => {})
    return done
  }

  /** Resolves when those begun have ended. */
  async settled(): Promise<void> {
    await this.tail
  }

  private async runNext<K, V, T>(work: (tx: ProducerTransaction<K, V>) => T | PromiseLike<T>): Promise<T> {
    if (!this.ready) await this.log.init()
    this.ready = false
    const open = new OpenTransaction(this.log, this.settings, this.topicOf, this.infoOf, this.now, this.trace)
    let result: T
    try {
      result = await work({ send: (record) => open.send(record) })
      await open.finish()
    } catch (error) {
      await open.giveUp()
      open.settle(error)
      await this.abort()
      throw error
    }
    try {
      await timed(this.measured.durations, this.measured.now, 'commit', {}, this.log.commit([], undefined))
    } catch (error) {
      open.settle(error)
      // What became of an unanswered commit is asked by taking the id anew; nothing else may be done with it.
      if (reactionTo(error) === 'abort') await this.abort()
      throw error
    }
    open.settle(undefined)
    this.ready = true
    return result
  }

  private async abort(): Promise<void> {
    try {
      await this.log.abort()
      this.ready = true
    } catch {
      // The next transaction begins with `init`, which ends this one: the failure that is told of is the one before.
      this.ready = false
    }
  }
}

class OpenTransaction {
  private readonly writers = new Map<string, BatchWriter>()
  private tail: Promise<void> = Promise.resolve()
  private failure: { readonly error: unknown } | undefined
  private ended = false
  private number = 0
  private turn = 0
  private bytes = 0
  private readonly traces: SentTrace[] = []

  constructor(
    private readonly log: LogProducer,
    private readonly settings: ProducerSettings,
    private readonly topicOf: (record: ProducerRecord<unknown, unknown>, what: string) => string,
    private readonly infoOf: (topic: string) => Promise<TopicInfo>,
    private readonly now: () => number,
    private readonly trace: TraceSend,
  ) {}

  send(given: ProducerRecord<unknown, unknown>): Promise<void> {
    const what = `transaction: record ${this.number++}`
    if (this.ended) return Promise.reject(new MillraceError('CLOSED', `${what} came after the function was done: await what it waits for`))
    const taken = this.take(given, what, this.tail)
    this.tail = taken.catch((error: unknown) => {
      this.failure ??= { error }
    })
    // Told of by the transaction too, so that nobody has to await each.
    taken.catch(() => {})
    return taken
  }

  /** It is known what became of it; `error`: it did not commit, or nobody knows. */
  settle(error: unknown): void {
    for (const sent of this.traces.splice(0)) sent.end(undefined, error)
  }

  async finish(): Promise<void> {
    this.ended = true
    await this.tail
    if (this.failure !== undefined) throw this.failure.error
    await this.flush()
  }

  async giveUp(): Promise<void> {
    this.ended = true
    this.failure ??= { error: new MillraceError('TRANSACTION_ABORTED', 'transaction: its function failed') }
    await this.tail
  }

  private async take(given: ProducerRecord<unknown, unknown>, what: string, before: Promise<void>): Promise<void> {
    // Part of what the program is at now, not of the turn in which it is encoded.
    const begun = this.begin(given, what)
    await before
    if (this.failure !== undefined) throw this.failure.error
    if ('error' in begun) throw begun.error
    const { topic, sent } = begun
    const encoded = await encodeRecord(this.settings, given, what, sent?.headers)
    const info = await this.infoOf(topic)
    const record = fitting(encoded, info)
    const size = sizeOf(record)
    if (this.settings.compression === 'none') checkFits(record, size, info, what)
    const partition = partitionFor(this.settings, given, record.key, info, () => this.turn++, what)
    const name = `${topic}/${partition}`
    let writer = this.writers.get(name)
    if (writer === undefined) {
      const batchBytes = Math.min(this.settings.batchBytes, info.maxMessageBytes ?? Number.POSITIVE_INFINITY)
      this.writers.set(name, (writer = new BatchWriter(topic, partition, batchBytes)))
    }
    writer.append(record.key, record.value, record.headers, given.timestamp ?? this.now())
    this.bytes += size
    if (this.bytes >= GATHERED_BYTES) await this.flush()
  }

  private begin(
    given: ProducerRecord<unknown, unknown>,
    what: string,
  ): { readonly topic: string; readonly sent: SentTrace | undefined } | { readonly error: unknown } {
    try {
      const topic = this.topicOf(given, what)
      const sent = this.trace(given, topic)
      if (sent !== undefined) this.traces.push(sent)
      return { topic, sent }
    } catch (error) {
      return { error }
    }
  }

  private async flush(): Promise<void> {
    this.bytes = 0
    await this.log.send([...this.writers.values()].flatMap((writer) => writer.take(true)))
  }
}

import type { TopicInfo } from '../../log/port.js'
import { MillraceError } from '../../record/error.js'
import { Fifo } from '../../runtime/fifo.js'
import { checkFits, fitting, partitionFor, sizeOf, type EncodedRecord } from './encode.js'
import type { ProducerRecord, ProducerSettings } from './options.js'
import { PartitionOutput, type Lane, type Outcome } from './partition-output.js'

/** A record whose topic, or serde, has yet to answer. */
export interface Taken {
  readonly given: ProducerRecord<unknown, unknown>
  readonly encoded: EncodedRecord | Promise<EncodedRecord>
  readonly timestamp: number
  /** Names the record in errors. */
  readonly what: string
  readonly outcome: Outcome
}

/** Partitions may have been added since. */
const KNOWN_FOR_MS = 5 * 60_000
/** How many records wait for their topic, or for serdes that answer later, before no more are asked for. */
const MOST_WAITING = 1_000

/** The records of one topic, in the order they were sent until each is in its partition. */
export class TopicOutput {
  readonly partitions: PartitionOutput[] = []
  private info: TopicInfo | undefined
  private lookedUpAt = 0
  private looking = false
  private turn = 0
  private readonly waiting = new Fifo<Taken>()
  private waitingBytes = 0
  private pumping = false

  constructor(
    private readonly settings: ProducerSettings,
    private readonly lane: Lane,
    private readonly lookUp: () => Promise<TopicInfo>,
    private readonly now: () => number,
  ) {}

  /** No more should come before some have gone on: nothing of them counts as in flight yet. */
  private get isBehind(): boolean {
    return this.waiting.length >= MOST_WAITING || this.waitingBytes >= this.lane.halfBytes
  }

  add(taken: Taken): void {
    const { info } = this
    if (info !== undefined && this.waiting.length === 0 && !(taken.encoded instanceof Promise)) {
      if (this.now() - this.lookedUpAt > KNOWN_FOR_MS) void this.look()
      return this.give(taken, taken.encoded, info)
    }
    this.waiting.push(taken)
    this.waitingBytes += bytesOf(taken)
    if (this.isBehind) this.lane.behind(this)
    // A serde that fails is told of when it is the record's turn.
    if (taken.encoded instanceof Promise) taken.encoded.catch(() => {})
    if (!this.pumping) void this.pump()
  }

  /** A batch failed: the topic may be another by now. */
  doubt(): void {
    this.lookedUpAt = Number.NEGATIVE_INFINITY
  }

  private async pump(): Promise<void> {
    this.pumping = true
    while (this.waiting.length > 0) {
      if (this.info === undefined) {
        try {
          await this.find()
        } catch (error) {
          while (this.waiting.length > 0) this.leave()?.outcome.failed(error)
          break
        }
      }
      const next = this.waiting.first
      if (next === undefined) break
      let failure: { readonly error: unknown } | undefined
      let encoded: EncodedRecord | undefined
      try {
        encoded = next.encoded instanceof Promise ? await next.encoded : next.encoded
      } catch (error) {
        failure = { error }
      }
      this.leave()
      if (failure !== undefined) next.outcome.failed(failure.error)
      else this.give(next, encoded as EncodedRecord, this.info as TopicInfo)
    }
    this.pumping = false
  }

  private leave(): Taken | undefined {
    const wasBehind = this.isBehind
    const taken = this.waiting.shift()
    if (taken !== undefined) this.waitingBytes -= bytesOf(taken)
    if (wasBehind && !this.isBehind) this.lane.caughtUp(this)
    return taken
  }

  private async find(): Promise<void> {
    this.info = await this.lookUp()
    this.lookedUpAt = this.now()
  }

  /** In the background; what is known is used as long as there is no other answer. */
  private async look(): Promise<void> {
    if (this.looking) return
    this.looking = true
    try {
      await this.find()
    } catch (error) {
      // A topic that is gone is told of to those who send next.
      if (error instanceof MillraceError && error.code === 'MISSING_TOPIC') this.info = undefined
    }
    this.lookedUpAt = this.now()
    this.looking = false
  }

  private give({ given, timestamp, what, outcome }: Taken, encoded: EncodedRecord, info: TopicInfo): void {
    try {
      const record = fitting(encoded, info)
      const size = sizeOf(record)
      if (this.settings.compression === 'none') checkFits(record, size, info, what)
      const partition = partitionFor(this.settings, given, record.key, info, () => this.turn++, what)
      this.partition(info, partition).add({ record, timestamp, size, outcome })
    } catch (error) {
      outcome.failed(error)
    }
  }

  private partition({ topic, maxMessageBytes = Number.POSITIVE_INFINITY }: TopicInfo, partition: number): PartitionOutput {
    return (this.partitions[partition] ??= new PartitionOutput(
      topic,
      partition,
      Math.min(this.settings.batchBytes, maxMessageBytes),
      this.lane,
    ))
  }
}

function bytesOf({ encoded }: Taken): number {
  return encoded instanceof Promise ? 0 : sizeOf(encoded)
}

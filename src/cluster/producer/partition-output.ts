import { BatchWriter, type OutputBatch } from '../../log/batch/write.js'
import { Fifo } from '../../runtime/fifo.js'
import type { EncodedRecord } from './encode.js'
import type { WrittenRecord } from './options.js'

/** Told what becomes of a record. */
export interface Outcome {
  written(at: WrittenRecord): void
  failed(error: unknown): void
}

/** A record on its way into the batches of its partition. */
export interface Outgoing {
  readonly record: EncodedRecord
  readonly timestamp: number
  readonly size: number
  readonly outcome: Outcome
}

/** What a partition needs of its producer. */
export interface Lane {
  readonly halfBytes: number
  readonly isFull: boolean
  write(batch: OutputBatch): Promise<number>
  took(bytes: number): void
  gave(bytes: number): void
  blocked(partition: PartitionOutput): void
  /** As many records wait before a topic as should. */
  behind(topic: object): void
  caughtUp(topic: object): void
  /** A batch has begun: `flush` is to be called at its time. */
  begun(partition: PartitionOutput): void
  failed(topic: string): void
}

/** As many as the log sends at once; what comes meanwhile gathers. */
const BATCHES_AWAY = 2

interface Batch {
  readonly batch: OutputBatch
  readonly items: readonly Outgoing[]
}

/** The records of one partition: those that wait for room, those of the batch that gathers, and the batches on their way. */
export class PartitionOutput {
  private readonly writer: BatchWriter
  private readonly waiting = new Fifo<Outgoing>()
  private gathering: Outgoing[] = []
  private full: Batch[] = []
  private away = 0
  private bytes = 0
  /** The batch that gathers has had its time. */
  private due = false

  constructor(
    private readonly topic: string,
    private readonly partition: number,
    batchBytes: number,
    private readonly lane: Lane,
  ) {
    this.writer = new BatchWriter(topic, partition, batchBytes)
  }

  add(item: Outgoing): void {
    if (this.waiting.length === 0 && this.hasRoom) return this.append(item)
    this.waiting.push(item)
    this.lane.blocked(this)
  }

  /** Takes what waited, as far as there is room. Returns whether all of it was taken. */
  resume(): boolean {
    while (this.waiting.length > 0 && this.hasRoom) this.append(this.waiting.shift() as Outgoing)
    return this.waiting.length === 0
  }

  /** The batch that gathers goes as soon as there is a place for it. */
  flush(): void {
    this.due = true
    this.send()
  }

  private get hasRoom(): boolean {
    return !this.lane.isFull && this.bytes < this.lane.halfBytes
  }

  private append(item: Outgoing): void {
    const { record, timestamp, size } = item
    this.writer.append(record.key, record.value, record.headers, timestamp)
    this.bytes += size
    this.lane.took(size)
    if (this.writer.finishedCount > 0) {
      const [batch] = this.writer.take(false)
      this.full.push({ batch: batch as OutputBatch, items: this.gathering })
      this.gathering = []
      this.due = false
      this.send()
    }
    if (this.gathering.push(item) === 1) this.lane.begun(this)
  }

  private send(): void {
    while (this.away < BATCHES_AWAY) {
      if (this.full.length === 0 && this.due && this.gathering.length > 0) {
        const [batch] = this.writer.take(true)
        this.full.push({ batch: batch as OutputBatch, items: this.gathering })
        this.gathering = []
        this.due = false
      }
      const next = this.full.shift()
      if (next === undefined) return
      void this.write(next)
    }
  }

  private async write({ batch, items }: Batch): Promise<void> {
    this.away++
    let offset = -1
    let failure: { readonly error: unknown } | undefined
    try {
      offset = await this.lane.write(batch)
    } catch (error) {
      failure = { error }
    }
    this.away--
    const { topic, partition } = this
    for (const [i, item] of items.entries()) {
      this.bytes -= item.size
      if (failure === undefined) item.outcome.written({ topic, partition, offset: offset < 0 ? -1 : offset + i })
      else item.outcome.failed(failure.error)
    }
    if (failure !== undefined) this.lane.failed(topic)
    this.lane.gave(items.reduce((sum, { size }) => sum + size, 0))
    this.send()
  }
}

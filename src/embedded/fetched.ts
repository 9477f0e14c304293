import { codecByNumber } from '../log/batch/compression.js'
import { CommittedFilter } from '../log/batch/committed.js'
import { viewBatch, withUncompressed, type BatchView } from '../log/batch/read.js'
import { logError, reactionTo, withOrigin } from '../log/error.js'
import type { Fetched, LogError } from '../log/port.js'
import { MillraceError, errorMessage } from '../record/error.js'
import { embeddedCodecs } from './codecs.js'
import type { FetchAnswer } from './partition.js'

/** How far to uncompress ahead: it can be a thousand times as large afterwards. */
const UNCOMPRESSED_AHEAD = 4

interface Entry {
  batch: BatchView | undefined
  readonly fromOffset: number
  nextOffset: number
  bytes: number
}

/** What is fetched of one partition and not taken yet, in offset order. */
export class FetchedPartition {
  private readonly entries: Entry[] = []
  private head = 0
  private uncompressing = false
  private error: LogError | undefined
  /** Where the reader stands. */
  position: number
  /** The next offset to fetch. */
  fetchOffset: number
  bytes = 0
  end: number | undefined
  /** Held back for a while after an error. */
  waiting = false
  dropped = false

  constructor(
    readonly topic: string,
    readonly partition: number,
    offset: number,
    /** There may be more to take: a batch was uncompressed. */
    private readonly onReady: () => void,
  ) {
    this.position = offset
    this.fetchOffset = offset
  }

  get failed(): boolean {
    return this.error !== undefined
  }

  take(): Fetched | undefined {
    const entry = this.entries[this.head]
    if (entry === undefined) {
      const { error } = this
      this.error = undefined
      if (error !== undefined) throw error
      return undefined
    }
    if (entry.batch !== undefined && entry.batch.compression !== 0) return undefined
    this.head++
    if (this.head === this.entries.length) {
      this.entries.length = 0
      this.head = 0
    }
    this.bytes -= entry.bytes
    this.position = entry.nextOffset
    void this.uncompress()
    return entry
  }

  /** Queues an error behind what was fetched before it. Nothing more is fetched until it was taken. */
  fail(error: LogError): void {
    this.error = withOrigin(error, { topic: this.topic, partition: this.partition, offset: this.fetchOffset })
  }

  /** Takes over what the broker answered. Returns whether `take` may have more. */
  accept(answer: FetchAnswer, readCommitted: boolean): boolean {
    const before = this.fetchOffset
    const where = `${this.topic}/${this.partition}`
    const filter = new CommittedFilter(readCommitted ? answer.aborted : [])
    try {
      for (const bytes of answer.batches) {
        const batch = viewBatch(bytes, 0, where)
        if (batch === undefined) continue
        const visible = filter.isVisible(batch)
        if (batch.lastOffset >= this.fetchOffset) this.push(visible ? batch : undefined, batch.lastOffset + 1)
      }
    } catch (error) {
      this.fail(unreadable(error, where))
    }
    void this.uncompress()
    return this.fetchOffset !== before || this.failed
  }

  drop(): void {
    this.dropped = true
    this.bytes = 0
    this.entries.length = 0
    this.head = 0
  }

  private push(batch: BatchView | undefined, nextOffset: number): void {
    const fromOffset = this.fetchOffset
    this.fetchOffset = nextOffset
    const last = this.entries[this.entries.length - 1]
    if (batch === undefined && last !== undefined) {
      last.nextOffset = nextOffset
      return
    }
    const entry: Entry = { batch, fromOffset, nextOffset, bytes: batch?.bytes.length ?? 0 }
    this.entries.push(entry)
    this.bytes += entry.bytes
  }

  private async uncompress(): Promise<void> {
    if (this.uncompressing) return
    this.uncompressing = true
    while (!this.dropped) {
      const entry = this.entries
        .slice(this.head, this.head + UNCOMPRESSED_AHEAD)
        .find(({ batch }) => batch !== undefined && batch.compression !== 0)
      if (entry === undefined) break
      await this.uncompressOne(entry, entry.batch as BatchView)
      if (!this.dropped) this.onReady()
    }
    this.uncompressing = false
  }

  private async uncompressOne(entry: Entry, batch: BatchView): Promise<void> {
    try {
      const records = await codecByNumber(batch.compression, embeddedCodecs).decompress(batch.bytes.subarray(batch.records))
      entry.batch = withUncompressed(batch, records)
    } catch (error) {
      if (this.dropped) return
      // It and what is behind it is fetched again once the error was taken.
      for (const { bytes } of this.entries.splice(this.entries.indexOf(entry))) this.bytes -= bytes
      this.fetchOffset = entry.fromOffset
      this.fail(unreadable(error, `${this.topic}/${this.partition}`))
    }
  }
}

function unreadable(error: unknown, where: string): LogError {
  if (!(error instanceof MillraceError))
    return logError('CORRUPT_BATCH', 'retry', `${where}: a batch cannot be read: ${errorMessage(error)}`, { cause: error })
  return logError(error.code, error.code === 'CORRUPT_BATCH' ? 'retry' : reactionTo(error), error.message, { cause: error })
}

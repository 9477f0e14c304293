import { codecByNumber, type CodecLookup } from '../log/batch/compression.js'
import { CommittedFilter } from '../log/batch/committed.js'
import { viewBatch, withUncompressed, type BatchView } from '../log/batch/read.js'
import { logError, withOrigin } from '../log/error.js'
import type { Fetched, LogError } from '../log/port.js'
import { MillraceError, errorMessage } from '../record/error.js'
import type { FetchedPartition } from './protocol/fetch.js'

interface Entry {
  batch: BatchView | undefined
  readonly fromOffset: number
  nextOffset: number
  bytes: number
  /** Whether it can be handed out: its records are uncompressed, or there are none. */
  ready: boolean
}

/**
 * What is fetched of one partition and not taken yet, in offset order.
 *
 * Compressed batches wait as they came and are uncompressed a few ahead of the reader, since they can be a thousand times larger afterwards.
 */
export class PartitionFetch {
  private readonly entries: Entry[] = []
  private head = 0
  private inflating = false
  /** Where the reader stands: what it was given ends before this. */
  private takenOffset: number
  /** The next offset to ask a broker for. */
  fetchOffset: number
  /** Bytes held here. */
  bytes = 0
  /** Bytes of them that can be handed out. */
  private readyBytes = 0
  private error: LogError | undefined
  /** Taken out of the assignment: answers that are still on their way are not for it. */
  dropped = false
  inFlight = false
  answeredAt = Number.NEGATIVE_INFINITY
  lastStableOffset: number | undefined
  /** After failures: when to try again, how many there were, and since when. */
  retryAt = 0
  failures = 0
  failingSince = 0

  constructor(
    readonly topic: string,
    readonly partition: number,
    offset: number,
    private readonly codecs: CodecLookup,
    /** How far to uncompress ahead. */
    private readonly inflateBytes: () => number,
    /** The bytes held changed by this much, or there may be more to take. */
    private readonly changed: (bytes: number) => void,
  ) {
    this.takenOffset = offset
    this.fetchOffset = offset
  }

  get position(): number {
    return this.takenOffset
  }

  /** Whether the last fetch gave all there was to read. */
  get caughtUp(): boolean {
    return this.lastStableOffset !== undefined && this.fetchOffset >= this.lastStableOffset
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
    if (!entry.ready) return undefined
    this.head++
    this.forgetTaken()
    this.takenOffset = entry.nextOffset
    this.bytes -= entry.bytes
    this.readyBytes -= entry.bytes
    this.changed(-entry.bytes)
    void this.inflate()
    return entry
  }

  /** Queues the error behind what was fetched before it. Nothing more is fetched until it was taken. */
  fail(error: LogError): void {
    this.error = withOrigin(error, { topic: this.topic, partition: this.partition, offset: this.fetchOffset })
    this.failures = 0
  }

  /** Takes over what a broker answered. Returns whether `take` may have more. */
  accept(response: FetchedPartition, readCommitted: boolean): boolean {
    this.failures = 0
    this.lastStableOffset = response.lastStableOffset >= 0 ? response.lastStableOffset : response.highWatermark
    const filter = new CommittedFilter(readCommitted ? response.aborted : [])
    const { records } = response
    const where = `${this.topic}/${this.partition}`
    const before = this.fetchOffset
    let at = 0
    try {
      for (;;) {
        const batch = viewBatch(records, at, where)
        if (batch === undefined) break
        at += batch.bytes.length
        const visible = filter.isVisible(batch)
        if (batch.lastOffset < this.fetchOffset) continue
        this.push(visible && batch.count > 0 ? batch : undefined, batch.lastOffset + 1)
      }
    } catch (error) {
      this.fail(batchError(error, where))
    }
    void this.inflate()
    return this.fetchOffset !== before || this.failed
  }

  drop(): void {
    this.dropped = true
    this.bytes = 0
    this.entries.length = 0
  }

  /** What was taken must not be held here: under load the queue is never empty. */
  private forgetTaken(): void {
    if (this.head * 2 < this.entries.length) return
    this.entries.splice(0, this.head)
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
    const ready = batch === undefined || batch.compression === 0
    const bytes = batch === undefined ? 0 : batch.bytes.length
    this.entries.push({ batch, fromOffset, nextOffset, bytes, ready })
    this.bytes += bytes
    if (ready) this.readyBytes += bytes
    this.changed(bytes)
  }

  private async inflate(): Promise<void> {
    if (this.inflating) return
    this.inflating = true
    while (!this.dropped && this.readyBytes <= this.inflateBytes()) {
      const entry = this.entries.find(({ ready }, index) => index >= this.head && !ready)
      if (entry === undefined) break
      await this.inflateOne(entry)
    }
    this.inflating = false
  }

  private async inflateOne(entry: Entry): Promise<void> {
    const batch = entry.batch as BatchView
    const where = `${this.topic}/${this.partition}`
    // Not in the turn of whoever takes: a codec that is missing fails at once.
    await Promise.resolve()
    if (this.dropped) return
    try {
      const records = await codecByNumber(batch.compression, this.codecs).decompress(batch.bytes.subarray(batch.records))
      if (this.dropped) return
      const grown = records.length - entry.bytes
      entry.batch = withUncompressed(batch, records)
      entry.bytes = records.length
      entry.ready = true
      this.bytes += grown
      this.readyBytes += entry.bytes
      this.changed(grown)
    } catch (error) {
      if (this.dropped) return
      // It and what is behind it is fetched again once the error was taken.
      let freed = 0
      for (const { bytes, ready } of this.entries.splice(this.entries.indexOf(entry))) {
        freed += bytes
        if (ready) this.readyBytes -= bytes
      }
      this.bytes -= freed
      this.forgetTaken()
      this.fetchOffset = entry.fromOffset
      this.fail(
        error instanceof MillraceError
          ? batchError(error, where)
          : logError(
              'CORRUPT_BATCH',
              'retry',
              `${where}: the batch at offset ${batch.baseOffset} cannot be uncompressed: ${errorMessage(error)}`,
              { cause: error },
            ),
      )
      this.changed(-freed)
    }
  }
}

function batchError(error: unknown, where: string): LogError {
  if (!(error instanceof MillraceError))
    return logError('CORRUPT_BATCH', 'retry', `${where}: a batch cannot be read: ${errorMessage(error)}`, { cause: error })
  return logError(error.code, error.code === 'CORRUPT_BATCH' ? 'retry' : 'fatal', error.message, { cause: error })
}

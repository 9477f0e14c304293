import { MillraceError, errorMessage } from '../record/error.js'
import { codecByNumber, type CodecLookup } from './batch/compression.js'
import { CommittedFilter, type AbortedTransaction } from './batch/committed.js'
import { extentOf, lengthAt, viewBatch, withUncompressed, type BatchView, type Extent } from './batch/read.js'
import { logError, truncated, withOrigin } from './error.js'
import { LeaderEpochs, UNKNOWN_EPOCH, type Divergence } from './leader-epochs.js'
import type { Fetched, LogError, Position, ReaderOptions } from './port.js'

/** Most that one batch may hold uncompressed, unless the reader's options say otherwise. */
export const MAX_BATCH_BYTES = 64 * 1024 * 1024

/**
 * What a batch takes in memory besides its bytes: what is known of it, and its share of the answer that it lies in. Of tiny batches it is most:
 * without it a prefetch of 16 MiB held 180 MiB of them.
 */
const BATCH_OVERHEAD = 512

interface Entry {
  batch: BatchView | undefined
  readonly fromOffset: number
  /** The leader epoch of the batch before it, and of its own last. */
  readonly fromEpoch: number
  nextOffset: number
  nextEpoch: number
  bytes: number
  /** Whether it can be handed out: its records are uncompressed, or there are none. */
  ready: boolean
  /** No longer to be handed out, though it may be on its way through a codec. */
  dropped: boolean
}

/** What a broker answered to a fetch of one partition. */
export interface FetchedBatches {
  /** Whole batches, one behind the other; the last of each buffer may be cut. The first may begin before the offset asked for. */
  readonly batches: readonly Buffer[]
  readonly aborted: readonly AbortedTransaction[]
  /** The last stable offset. */
  readonly end: number
}

export interface QueueSettings extends Pick<ReaderOptions, 'maxBatchBytes' | 'onNews' | 'onSkipped'> {
  readonly codecs: CodecLookup
  /** How far to uncompress ahead. */
  readonly inflateBytes: () => number
  /** The bytes held changed by this much, or there may be more to take. */
  readonly changed: (bytes: number) => void
}

/**
 * What is fetched of one partition and not taken yet, in offset order.
 *
 * Compressed batches wait as they came and are uncompressed a few ahead of the reader, since they can be a thousand times larger
 * afterwards.
 */
export class FetchQueue {
  private readonly entries: Entry[] = []
  private head = 0
  /** The first entry that may not be ready. */
  private firstCompressed = 0
  private inflating = false
  /** Where the reader stands: what it was given ends before this. */
  private takenOffset: number
  private readonly epochs: LeaderEpochs
  /** The next offset to fetch. */
  fetchOffset: number
  /** The leader epoch of the batch before it; -1 where that is not known. (KIP-320) */
  fetchEpoch: number
  /** Bytes held here. */
  bytes = 0
  /** Bytes of them that can be handed out. */
  private readyBytes = 0
  private error: LogError | undefined
  private lastError: LogError | undefined
  private lost = false
  /** How often it failed since anything was handed out, or all there was had been read. */
  setbacks = 0
  /** Taken out of the assignment: answers that are still on their way are not for it. */
  dropped = false
  /** The last stable offset as of the last answer. */
  end: number | undefined
  /** The longest batch of the last answer that had one, as it lies in the log; 0 before. */
  batchBytes = 0

  readonly topic: string
  readonly partition: number

  constructor(
    { topic, partition, offset, leaderEpoch = UNKNOWN_EPOCH }: Position,
    private readonly settings: QueueSettings,
  ) {
    this.topic = topic
    this.partition = partition
    this.takenOffset = this.fetchOffset = offset
    this.epochs = new LeaderEpochs(leaderEpoch)
    this.fetchEpoch = leaderEpoch
  }

  get position(): number {
    return this.takenOffset
  }

  /**
   * Whether that is where what was taken ends. Where it was handed out that what was read up to there is not in the log, it is not: whoever
   * goes on there wants what is there now.
   */
  isAt({ offset, leaderEpoch = UNKNOWN_EPOCH }: Position): boolean {
    if (this.takenOffset !== offset || (this.lost && !this.failed)) return false
    const { current } = this.epochs
    return current === leaderEpoch || current === UNKNOWN_EPOCH || leaderEpoch === UNKNOWN_EPOCH
  }

  /** Whether the last answer gave all there was to read. */
  get caughtUp(): boolean {
    return this.end !== undefined && this.fetchOffset >= this.end
  }

  /** The time that the next batch to be taken begins with, as its header tells; undefined where none is here. */
  get nextTime(): number | undefined {
    for (let at = this.head; at < this.entries.length; at++) {
      const { batch } = this.entries[at] as Entry
      if (batch !== undefined) return batch.logAppendTime ? batch.maxTimestamp : batch.baseTimestamp
    }
    return undefined
  }

  /** What `take` threw last, until it goes on. */
  get trouble(): LogError | undefined {
    return this.lastError !== undefined && this.entries[this.head]?.ready !== true ? this.lastError : undefined
  }

  get failed(): boolean {
    return this.error !== undefined
  }

  take(): Fetched | undefined {
    const entry = this.entries[this.head]
    if (entry === undefined) {
      const { error } = this
      if (error === undefined) return undefined
      this.error = undefined
      this.lastError = error
      this.setbacks++
      throw error
    }
    if (!entry.ready) return undefined
    this.head++
    this.forgetTaken()
    this.takenOffset = entry.nextOffset
    if (entry.nextEpoch !== this.epochs.current) this.epochs.enter(entry.nextEpoch, entry.batch, entry.fromOffset)
    this.passed()
    this.bytes -= entry.bytes
    this.readyBytes -= entry.bytes
    this.settings.changed(-entry.bytes)
    void this.inflate()
    return entry
  }

  /** Queues the error behind what was fetched before it. Nothing more is fetched until it was taken. */
  fail(error: LogError): void {
    this.error = withOrigin(error, { topic: this.topic, partition: this.partition, offset: this.fetchOffset })
    this.tell()
  }

  private passed(): void {
    this.setbacks = 0
    if (this.lastError === undefined) return
    this.lastError = undefined
    this.tell()
  }

  /** Takes over what a broker answered. Returns whether `take` may have more. */
  accept({ batches, aborted, end }: FetchedBatches): boolean {
    this.learnEnd(end)
    const before = this.fetchOffset
    const filter = new CommittedFilter(aborted)
    for (const source of batches) if (!this.acceptAll(source, filter)) break
    if (this.fetchOffset === before && !this.failed && this.caughtUp && this.entries.length === this.head) this.passed()
    if (this.fetchOffset !== before) this.tell()
    void this.inflate()
    return this.fetchOffset !== before || this.failed
  }

  learnEnd(end: number): void {
    if (this.end === end) return
    this.end = end
    this.tell()
  }

  private tell(): void {
    this.settings.onNews?.(this.topic, this.partition)
  }

  /**
   * The log has, of leader epochs up to the latest one fetched, no more than those up to `epoch`, and of that one no more than ends at
   * `endOffset`: what was fetched beyond is gone from it. What was not taken of that is dropped, and read anew; what was taken cannot be,
   * which is an error. Returns whether there is one.
   */
  truncated({ epoch, endOffset }: Divergence, end: number, leaderEpoch: number): boolean {
    this.learnEnd(end)
    let at = this.head
    while (at < this.entries.length && !isBeyond(this.entries[at] as Entry)) at++
    const first = this.entries[at]
    const { takenOffset: nextOffset } = this
    const { current: takenEpoch } = this.epochs
    const lost = first === undefined || isBeyond({ nextOffset, nextEpoch: takenEpoch })
    // What was last fetched stays known where it was lost: the broker is to say so again until reading goes on elsewhere.
    if (!lost) this.fetchEpoch = first.fromEpoch
    const from = lost ? this.head : at
    const freed = from < this.entries.length ? this.dropFrom(from) : 0
    if (lost) {
      this.lost = true
      const { topic, partition } = this
      const origin = { topic, partition, offset: nextOffset }
      const message =
        `${this.where} was read up to offset ${nextOffset}${takenEpoch < 0 ? '' : ` (leader epoch ${takenEpoch})`}, but the log was truncated: ` +
        `it parts from what was read at offset ${endOffset} or before, where its leader epoch ${epoch} ends. ` +
        'Its leader was elected without all that was written (an unclean election), so records that were read no longer exist; or the topic was created anew'
      this.fail(truncated(message, origin, { goesOnAt: this.epochs.sharedUpTo({ epoch, endOffset }, nextOffset, leaderEpoch) }))
    }
    this.settings.changed(-freed)
    return lost

    function isBeyond(batches: Pick<Entry, 'nextOffset' | 'nextEpoch'> & Partial<Entry>): boolean {
      return batches.nextOffset > endOffset || batches.nextEpoch > epoch || (batches.batch?.leaderEpoch ?? UNKNOWN_EPOCH) > epoch
    }
  }

  drop(): void {
    this.dropped = true
    this.bytes = 0
    this.entries.length = 0
    this.head = 0
  }

  /** False if what comes behind is to be fetched again. */
  private acceptAll(source: Buffer, filter: CommittedFilter): boolean {
    let at = 0
    let longest = 0
    try {
      for (;;) {
        const batch = viewBatch(source, at, this.where)
        if (batch === undefined) break
        at += batch.bytes.length
        longest = Math.max(longest, batch.bytes.length)
        const visible = filter.isVisible(batch)
        if (batch.lastOffset < this.fetchOffset) continue
        this.push(visible && batch.count > 0 ? batch : undefined, batch.lastOffset + 1, batch.leaderEpoch)
      }
      // A broker that has something gives at least one batch whole. Asked again, it would answer the same.
      if (at === 0 && source.length > 0) throw cut(this.where, source)
      // One that was cut begins the next answer.
      if (longest > 0) this.batchBytes = Math.max(longest, lengthAt(source, at))
      return true
    } catch (error) {
      this.unreadable(error, extentOf(source, at, this.fetchOffset, this.end as number))
      // It may have been the marker that ends a transaction: from here on, another answer tells what was aborted.
      return false
    }
  }

  private unreadable(error: unknown, extent: Extent | undefined): void {
    const failure = batchError(error, this.where, extent)
    const { onSkipped } = this.settings
    if (onSkipped === undefined || extent === undefined) return this.fail(failure)
    onSkipped(this.skipped(extent, failure))
    this.push(undefined, extent.lastOffset + 1, UNKNOWN_EPOCH)
  }

  private skipped({ firstOffset, lastOffset }: Extent, error: LogError): Parameters<NonNullable<ReaderOptions['onSkipped']>>[0] {
    return { topic: this.topic, partition: this.partition, firstOffset, lastOffset, error }
  }

  private get where(): string {
    return `${this.topic}/${this.partition}`
  }

  /** What was taken must not be held here: under load the queue is never empty. */
  private forgetTaken(): void {
    if (this.head * 2 < this.entries.length) return
    this.entries.splice(0, this.head)
    this.firstCompressed = Math.max(0, this.firstCompressed - this.head)
    this.head = 0
  }

  private push(batch: BatchView | undefined, nextOffset: number, epoch: number): void {
    const { fetchOffset: fromOffset, fetchEpoch: fromEpoch } = this
    this.fetchOffset = nextOffset
    this.fetchEpoch = epoch
    const last = this.entries.length > this.head ? this.entries[this.entries.length - 1] : undefined
    if (batch === undefined && last !== undefined) {
      last.nextOffset = nextOffset
      last.nextEpoch = epoch
      return
    }
    const ready = batch === undefined || batch.compression === 0
    const bytes = heldBy(batch)
    this.entries.push({ batch, fromOffset, fromEpoch, nextOffset, nextEpoch: epoch, bytes, ready, dropped: false })
    this.bytes += bytes
    if (ready) this.readyBytes += bytes
    this.settings.changed(bytes)
  }

  /** This entry and all behind it are to be fetched again. Returns the bytes they held. */
  private dropFrom(at: number): number {
    this.fetchOffset = (this.entries[at] as Entry).fromOffset
    let freed = 0
    for (const entry of this.entries.splice(at)) {
      entry.dropped = true
      freed += entry.bytes
      if (entry.ready) this.readyBytes -= entry.bytes
    }
    this.bytes -= freed
    this.firstCompressed = Math.min(this.firstCompressed, this.entries.length)
    this.forgetTaken()
    return freed
  }

  private async inflate(): Promise<void> {
    if (this.inflating) return
    this.inflating = true
    while (!this.dropped && this.readyBytes <= this.settings.inflateBytes()) {
      this.firstCompressed = Math.max(this.firstCompressed, this.head)
      while (this.entries[this.firstCompressed]?.ready === true) this.firstCompressed++
      const entry = this.entries[this.firstCompressed]
      if (entry === undefined) break
      await this.inflateOne(entry, entry.batch as BatchView)
    }
    this.inflating = false
  }

  private async inflateOne(entry: Entry, batch: BatchView): Promise<void> {
    // Not in the turn of whoever takes: a codec that is missing fails at once.
    await Promise.resolve()
    if (this.dropped || entry.dropped) return
    const { codecs, maxBatchBytes = MAX_BATCH_BYTES, changed, onSkipped } = this.settings
    try {
      const codec = codecByNumber(batch.compression, codecs)
      const records = await codec.decompress(batch.bytes.subarray(batch.records), maxBatchBytes)
      if (this.dropped || entry.dropped) return
      this.uncompressed(entry, withUncompressed(batch, records, this.where))
    } catch (error) {
      if (this.dropped || entry.dropped) return
      const extent = { firstOffset: Math.max(batch.baseOffset, entry.fromOffset), lastOffset: batch.lastOffset }
      const failure = batchError(error, this.where, extent)
      if (onSkipped !== undefined) {
        onSkipped(this.skipped(extent, failure))
        return this.uncompressed(entry, undefined)
      }
      // It and what is behind it is fetched again once the error was taken.
      this.fetchEpoch = entry.fromEpoch
      const freed = this.dropFrom(this.entries.indexOf(entry))
      this.fail(failure)
      changed(-freed)
    }
  }

  private uncompressed(entry: Entry, batch: BatchView | undefined): void {
    const bytes = heldBy(batch)
    const grown = bytes - entry.bytes
    entry.batch = batch
    entry.bytes = bytes
    entry.ready = true
    this.bytes += grown
    this.readyBytes += bytes
    this.tell()
    this.settings.changed(grown)
  }
}

function cut(where: string, source: Buffer): MillraceError {
  return new MillraceError(
    'CORRUPT_BATCH',
    `${where}: an answer of ${source.length} bytes ends within its first batch: the length in the header was damaged on disk or on the way`,
    { retryable: true },
  )
}

/** All may be well when it is fetched again, or when a codec was installed. */
function batchError(error: unknown, where: string, extent: Extent | undefined): LogError {
  const offsets = extent === undefined ? '' : ` It holds the offsets ${extent.firstOffset} to ${extent.lastOffset}.`
  const known = error instanceof MillraceError
  const message = `${known ? error.message : `${where}: a batch cannot be read: ${errorMessage(error)}`}.${offsets}`
  return logError(known ? error.code : 'CORRUPT_BATCH', 'retry', message, { cause: error })
}

function heldBy(batch: BatchView | undefined): number {
  return batch === undefined ? 0 : batch.bytes.length + BATCH_OVERHEAD
}

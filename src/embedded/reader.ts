import { logError } from '../log/error.js'
import { Assigned } from '../log/assigned.js'
import type { QueueSettings } from '../log/fetch-queue.js'
import type { Fetched, LogError, LogReader, Position, ReaderOptions } from '../log/port.js'
import { sleep, type Clock } from '../record/clock.js'
import { embeddedCodecs } from './codecs.js'
import { faultError, type Faults } from './faults.js'
import { FetchedPartition } from './fetched.js'
import { missing, type Topics } from './topics.js'

/** At most so much of one partition at a time. */
const PARTITION_BYTES = 1024 * 1024
/** After an error, so that a reader that only tries again does not do so in a tight loop. */
const RETRY_MS = 50
/** Where the growing row of such pauses ends. */
const LONGEST_PAUSE_MS = 10_000

/** Fetches ahead up to its bound, in turns of its own. */
export class EmbeddedReader implements LogReader {
  private readonly assigned = new Assigned<FetchedPartition>()
  private unwatch: (() => void)[] = []
  private readonly forget: () => void
  private readonly queueSettings: QueueSettings
  /** Changes that are reported by whoever caused them. */
  private quiet = false
  /** Held over all partitions. */
  private bytes = 0
  /** Of which there may be something to fetch: the others cost nothing. In the order of their turns. */
  private readonly due = new Set<FetchedPartition>()
  /** For which there was no room. */
  private readonly short = new Set<FetchedPartition>()
  /** Fetches that a fault has slowed down, and that are now carried out, by when they began. */
  private readonly delayed = new WeakMap<FetchedPartition, number>()
  private scheduled = false
  private closed = false

  constructor(
    private readonly topics: Topics,
    private readonly options: ReaderOptions,
    private readonly faults: Faults,
    private readonly clock: Clock,
    private readonly onClose: () => void,
  ) {
    this.forget = topics.onChange(() => this.watch())
    this.queueSettings = {
      codecs: embeddedCodecs,
      inflateBytes: () => this.share,
      changed: (bytes) => {
        this.bytes += bytes
        this.tell()
      },
      maxBatchBytes: options.maxBatchBytes,
      onNews: options.onNews,
      onSkipped: options.onSkipped,
    }
  }

  assign(positions: readonly Position[]): void {
    if (this.closed) return
    for (const old of this.assigned.replace(positions, (position) => new FetchedPartition(position, this.queueSettings))) {
      this.bytes -= old.bytes
      old.drop()
    }
    this.watch()
  }

  take(topic: string, partition: number): Fetched | undefined {
    const fetched = this.assigned.of(topic, partition)
    if (fetched === undefined || this.topics.isPaused(topic)) return undefined
    const had = fetched.bytes > 0 || fetched.failed
    this.quiet = true
    try {
      return fetched.take()
    } catch (error) {
      this.hold(fetched, Math.min(LONGEST_PAUSE_MS, RETRY_MS * 2 ** (fetched.setbacks - 1)))
      throw error
    } finally {
      this.quiet = false
      if (had) this.schedule(fetched)
    }
  }

  end(topic: string, partition: number): number | undefined {
    return this.assigned.of(topic, partition)?.end
  }

  nextTime(topic: string, partition: number): number | undefined {
    return this.assigned.of(topic, partition)?.nextTime
  }

  trouble(topic: string, partition: number): LogError | undefined {
    return this.assigned.of(topic, partition)?.trouble
  }

  close(): void {
    if (this.closed) return
    this.closed = true
    this.forget()
    for (const stop of this.unwatch) stop()
    this.assigned.drop()
    this.onClose()
  }

  /** Topics may have come or gone: looks at all partitions anew. */
  private watch(): void {
    for (const stop of this.unwatch) stop()
    this.unwatch = this.assigned.all.flatMap((at) => this.topics.find(at)?.watch(() => this.schedule(at)) ?? [])
    // What was fetched of a topic that was paused can be taken now.
    for (const { topic, partition, bytes, failed } of this.assigned.all) if (bytes > 0 || failed) this.options.onNews?.(topic, partition)
    this.due.clear()
    this.short.clear()
    for (const fetched of this.assigned.all) this.schedule(fetched)
  }

  /** At most so much of each partition is held. */
  private get share(): number {
    return this.options.prefetchBytes / Math.max(1, this.assigned.all.length)
  }

  /** In a turn of its own: whoever calls the reader is not called back meanwhile. */
  private schedule(fetched: FetchedPartition): void {
    this.due.add(fetched)
    if (this.scheduled || this.closed) return
    this.scheduled = true
    queueMicrotask(() => {
      this.scheduled = false
      if (!this.closed && this.fetchAll()) this.options.onData()
    })
  }

  private tell(): void {
    if (!this.closed && !this.quiet) this.options.onData()
  }

  /** Returns whether there may be more to take. */
  private fetchAll(): boolean {
    const due = [...this.due]
    this.due.clear()
    let arrived = false
    for (const fetched of due) if (this.fetchIf(fetched)) arrived = true
    // The one that is first gets the last of the room: they take turns.
    for (const fetched of this.short) {
      if (this.bytes >= this.options.prefetchBytes) break
      this.short.delete(fetched)
      if (this.fetchIf(fetched)) arrived = true
    }
    return arrived
  }

  private fetchIf(fetched: FetchedPartition): boolean {
    if (fetched.dropped || fetched.failed || fetched.waiting || this.topics.isPaused(fetched.topic)) return false
    const free = this.options.prefetchBytes - this.bytes
    // One whose own share is used up has its turn when it was taken from.
    if (free <= 0 && fetched.bytes < this.share) this.short.add(fetched)
    return this.fetch(fetched, Math.min(free, this.share - fetched.bytes))
  }

  private fetch(fetched: FetchedPartition, room: number): boolean {
    const { topic, partition, fetchOffset: offset } = fetched
    const log = this.topics.find(fetched)
    if (log === undefined) return fail(fetched, missing(fetched, 'retry'))
    const readCommitted = this.options.isolation === 'read_committed'
    const known = fetched.end
    fetched.learnEnd(log.stable)
    if (room <= 0) return known === undefined
    const divergence = log.divergence(offset, fetched.fetchEpoch)
    if (divergence === 'unknown') return fail(fetched, outOfRange(fetched, log.start, log.end))
    if (divergence !== undefined && offset >= log.start)
      return fetched.truncated(divergence, log.stable, log.leaderEpoch) || known === undefined
    if (offset < log.start || offset > log.end) return fail(fetched, outOfRange(fetched, log.start, log.end))
    const limit = readCommitted ? log.stable : log.end
    if (offset >= limit) return known === undefined
    const began = this.delayed.get(fetched)
    this.delayed.delete(fetched)
    const fault = began === undefined ? this.faults.due('fetch', [topic, `${topic}/${partition}`]) : undefined
    if (fault !== undefined) {
      const error = fault.reaction === undefined ? undefined : faultError(fault)
      if (error !== undefined) this.options.onFetched?.({ ms: fault.delayMs ?? 0, error, topic, partition })
      if (fault.delayMs !== undefined) {
        if (error === undefined) this.delayed.set(fetched, this.clock.monotonic())
        this.hold(fetched, fault.delayMs, error)
      } else if (error !== undefined) return fail(fetched, error)
      return known === undefined
    }
    this.options.onFetched?.({ ms: began === undefined ? 0 : this.clock.monotonic() - began, topic, partition })
    const { batches, aborted } = log.fetch(offset, limit, Math.min(room, PARTITION_BYTES))
    this.quiet = true
    const arrived = fetched.accept({ batches, aborted: readCommitted ? aborted : [], end: log.stable })
    this.quiet = false
    // Aborted batches and markers take no room: there may be more to fetch at once.
    if (arrived) this.schedule(fetched)
    return arrived || known === undefined
  }

  /** Fetches nothing for a while, and then at most an error. */
  private hold(fetched: FetchedPartition, ms: number, error?: LogError): void {
    fetched.waiting = true
    void sleep(this.clock, ms).then(() => {
      fetched.waiting = false
      if (error !== undefined) fetched.fail(error)
      this.schedule(fetched)
      if (error !== undefined) this.tell()
    })
  }
}

function fail(fetched: FetchedPartition, error: LogError): boolean {
  fetched.fail(error)
  return true
}

function outOfRange({ topic, partition, fetchOffset: offset }: FetchedPartition, start: number, end: number): LogError {
  return logError(
    'OFFSET_OUT_OF_RANGE',
    'fatal',
    `${topic}/${partition} at offset ${offset}: the log holds ${start} to ${end}. The records were deleted by retention, or the topic was created anew`,
  )
}

import { codecByNumber, builtInCodecs } from '../log/batch/compression.js'
import { withUncompressed, type BatchView } from '../log/batch/read.js'
import { logError } from '../log/error.js'
import type { Fetched, LogReader, PartitionOffset, ReaderOptions } from '../log/port.js'
import type { Topics } from './topics.js'

interface Position {
  readonly topic: string
  readonly partition: number
  offset: number
  end: number | undefined
  /** A compressed batch being opened: take waits for it. */
  opening: boolean
  opened: Fetched | undefined
}

/** Hands out batches where they lie: what is in memory already needs no fetching ahead. */
export class EmbeddedReader implements LogReader {
  private readonly positions = new Map<string, Position>()
  private readonly forget: () => void
  private told = false
  private closed = false

  constructor(
    private readonly topics: Topics,
    private readonly options: ReaderOptions,
  ) {
    this.forget = topics.onChange(() => this.tell())
  }

  assign(positions: readonly PartitionOffset[]): void {
    const kept = new Map(this.positions)
    this.positions.clear()
    for (const { topic, partition, offset } of positions) {
      const name = `${topic}/${partition}`
      const earlier = kept.get(name)
      this.positions.set(name, earlier?.offset === offset ? earlier : { topic, partition, offset, end: undefined, opening: false, opened: undefined })
    }
    this.tell()
  }

  take(topic: string, partition: number): Fetched | undefined {
    const at = this.positions.get(`${topic}/${partition}`)
    if (at === undefined || at.opening || this.closed) return undefined
    if (at.opened !== undefined) {
      const { opened } = at
      at.opened = undefined
      at.offset = opened.nextOffset
      return opened
    }
    const log = this.topics.partition(at)
    const committedOnly = this.options.isolation === 'read_committed'
    const end = committedOnly ? log.stable : log.end
    at.end = end
    if (at.offset < log.start || at.offset > log.end) {
      throw logError('OFFSET_OUT_OF_RANGE', 'fatal', `offset ${at.offset} of ${topic}/${partition} does not exist: the log holds ${log.start} to ${log.end}. It was deleted by retention, or the topic was made anew`, {
        origin: { topic, partition, offset: at.offset },
      })
    }
    const filter = committedOnly ? log.filterFrom(at.offset) : undefined
    const fromOffset = at.offset
    for (let i = log.indexOf(fromOffset); i < log.batches.length; i++) {
      const batch = log.batches[i] as BatchView
      if (batch.baseOffset >= end) break
      const visible = filter === undefined ? !batch.control : filter.isVisible(batch)
      at.offset = batch.lastOffset + 1
      if (!visible) continue
      const piece: Fetched = { batch, fromOffset, nextOffset: at.offset }
      if (batch.compression === 0) return piece
      void this.open(at, piece)
      return undefined
    }
    return at.offset > fromOffset ? { batch: undefined, fromOffset, nextOffset: at.offset } : undefined
  }

  end(topic: string, partition: number): number | undefined {
    return this.positions.get(`${topic}/${partition}`)?.end
  }

  close(): void {
    this.closed = true
    this.forget()
  }

  private async open(at: Position, piece: Fetched): Promise<void> {
    const batch = piece.batch as BatchView
    at.opening = true
    const records = await codecByNumber(batch.compression, builtInCodecs).decompress(batch.bytes.subarray(batch.records))
    at.opening = false
    at.opened = { ...piece, batch: withUncompressed(batch, records) }
    this.tell()
  }

  private tell(): void {
    if (this.told || this.closed) return
    this.told = true
    queueMicrotask(() => {
      this.told = false
      if (!this.closed) this.options.onData()
    })
  }
}

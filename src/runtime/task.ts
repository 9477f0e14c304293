import { BatchReader, type BatchView } from '../log/batch/read.js'
import type { LogReader, PartitionOffset } from '../log/port.js'
import type { Clock } from '../record/clock.js'
import type { LogRecord, RawRecord } from '../record/record.js'
import { loadBatch } from '../state/restore.js'
import type { TaskStore } from '../state/store.js'
import { Tally, markedSource } from './accounting.js'
import { Alarms } from './alarms.js'
import type { InletSpec } from './context.js'
import { InputOrder } from './input-order.js'
import type { Slice } from './slice.js'
import type { TaskState } from './task-state.js'

/** A stretch of one partition: a fetched batch or part of one, or only a position stepped over. Kept until its transaction committed. */
interface Piece {
  readonly topic: string
  /** Set where the topic is one of the pipeline's own. */
  readonly inlet: InletSpec | undefined
  readonly batch: BatchView | undefined
  readonly fromOffset: number
  readonly nextOffset: number
  /** All of it was given out before, when it was due: it comes again as it came. */
  readonly taken?: boolean
  /** Event time it begins with. */
  readonly time?: number
  /** What is reading it, where something came between: reading goes on there instead of at the front of the batch. */
  readonly cursor?: Current
  /** Known once it was read: the marks, the first of its own, and how many records it held. */
  marks?: Uint8Array
  from?: number
  records?: number
}

/** A topic of the task whose next record is not due yet. */
interface Waiting {
  /** From that record on, as far as kept. Where nothing is, it is fetched again. */
  readonly pieces: readonly Piece[]
  readonly due: number
}

/** The batch being read, and how far. */
interface Current {
  piece: Piece
  readonly reader: BatchReader
  readonly marks: Uint8Array
  /** Read and not given out yet. */
  ahead: LogRecord<Buffer | null, Buffer | null> | undefined
  /** Given out, and how many of them before this stretch of the batch. */
  count: number
  from: number
  lastOffset: number
}

/** What is to wait longer is given back, and fetched again when it is about to come due. */
const KEEP_MS = 2_000
/** So much earlier: what a fetch takes, and more. */
const AHEAD_MS = 500
/** A record may come so late before the batch being read is put aside for it. */
const LATE_MS = 20
/** Kept of a topic that waits, beyond the batch that its next record is in. */
const KEEP_BYTES = 256 * 1024

/** What a commit that is under way takes with it. */
interface Sealed {
  readonly pieces: readonly Piece[]
  readonly positions: ReadonlyMap<string, number>
  readonly unstored: readonly string[]
}

export interface TaskStart {
  readonly topic: string
  readonly offset: number
  /** Whether the group has it as a committed offset. */
  readonly stored: boolean
}

/**
 * Partition p of every topic of the source: positions, and the records read since the last commit, so that a failed
 * transaction can be fed again without fetching again.
 */
export class Task {
  private readonly committed = new Map<string, number>()
  private readonly positions = new Map<string, number>()
  private readonly fetchedTo = new Map<string, number>()
  private readonly unstoredTopics = new Set<string>()
  /** Read in the open transaction, in order. */
  private used: Piece[] = []
  /** Set while a commit is under way; what is read meanwhile belongs to the next. */
  private sealed: Sealed | undefined
  /** To be read again before anything new. */
  private replay: Piece[] = []
  private current: Current | undefined
  /** The batches that count in `bytes`: one that is read in parts counts once. */
  private readonly counted = new Set<BatchView>()
  private turn = 0
  private readonly order: InputOrder<Piece>
  /** Who takes turns in being read: the inputs as one, and each topic of the pipeline's own. */
  private readonly turns: readonly (string | undefined)[]
  /** By topic: what was read and may not be taken yet. Only the topic waits, the others of the task go on. */
  private readonly waiting = new Map<string, Waiting>()
  /** Topics that are not fetched: what is kept of them comes first. With the end of the partition, as it was then known. */
  private readonly paused = new Map<string, number | undefined>()
  private readonly views = new Map<string, TaskStore>()
  readonly alarms = new Alarms()
  /** False until the stores are restored. */
  ready = false
  /** Records and bytes given out since the last commit. */
  records = 0
  bytes = 0

  constructor(
    readonly partition: number,
    readonly topics: readonly string[],
    start: readonly TaskStart[],
    private readonly reader: LogReader,
    private readonly clock: Clock,
    readonly state: TaskState,
    private readonly inlets: ReadonlyMap<string, InletSpec>,
    /** Called when `fetchPositions` changed by itself: what is fetched ahead of a topic that waits would only take up room. */
    private readonly onPositions: () => void,
  ) {
    const inputs = topics.filter((topic) => !inlets.has(topic))
    this.order = new InputOrder(
      inputs,
      {
        take: (topic) => this.take(topic),
        hasMore: (topic) => (reader.end(topic, partition) ?? Number.POSITIVE_INFINITY) > (this.fetchedTo.get(topic) as number),
      },
      clock,
    )
    this.turns = [undefined, ...inlets.keys()]
    for (const { topic, offset, stored } of start) {
      this.committed.set(topic, offset)
      this.positions.set(topic, offset)
      this.fetchedTo.set(topic, offset)
      // Where it starts is decided once: unless it is stored, a restart before the first record would decide anew.
      if (!stored) this.unstoredTopics.add(topic)
    }
  }

  /** Feeds up to `max` records to the slice; `live` also takes what was newly fetched. Returns how many went in. */
  feed(slice: Slice, max: number, live: boolean): number {
    let fed = 0
    if (live) this.makeWay()
    slice.feed(() => {
      while (fed < max) {
        const current = this.current?.ahead === undefined ? this.peek(live) : this.current
        if (current === undefined) return
        const record = current.ahead as NonNullable<Current['ahead']>
        current.ahead = undefined
        current.count++
        fed++
        current.lastOffset = record.offset
        const { topic, inlet } = current.piece
        if (inlet === undefined) slice.push(record)
        else slice.pushInto(topic, inlet.original?.(record) ?? record)
        if (slice.ended) return
      }
    })
    this.records += fed
    return fed
  }

  /** Whether there is a record to take. Positions without records are stepped over. */
  prepare(live: boolean): boolean {
    return this.peek(live) !== undefined
  }

  /** When the task has something to do though nothing is read: an alarm rings, or a waiting record is due. */
  get nextDue(): number {
    let next = Math.min(this.alarms.next, this.order.nextLook)
    for (const { pieces, due } of this.waiting.values()) next = Math.min(next, pieces.length === 0 ? due - AHEAD_MS : due)
    return next
  }

  /** True if records of its topics wait to be read, as far as is known; not those that are to wait. */
  get behind(): boolean {
    return this.topics.some((topic) => {
      if (this.paused.has(topic) || this.waiting.has(topic)) return false
      const end = this.reader.end(topic, this.partition)
      return end === undefined || (this.positions.get(topic) as number) < end
    })
  }

  /** True if a commit would change something. */
  get dirty(): boolean {
    return (
      this.state.dirty ||
      this.unstoredTopics.size > 0 ||
      this.used.length > 0 ||
      (this.current !== undefined && this.current.count > this.current.from)
    )
  }

  /** A store that shows a topic: follows it from where the restore ended. */
  follow(topic: string, store: TaskStore, offset: number): void {
    this.views.set(topic, store)
    this.fetchedTo.set(topic, offset)
  }

  /** Brings the views up to date. They hold what others committed, so no transaction of ours undoes it. */
  lookAtViews(): void {
    for (const [topic, store] of this.views) {
      for (
        let fetched = this.reader.take(topic, this.partition);
        fetched !== undefined;
        fetched = this.reader.take(topic, this.partition)
      ) {
        if (fetched.batch !== undefined) loadBatch(store, topic, this.partition, fetched.batch, fetched.fromOffset)
        this.fetchedTo.set(topic, fetched.nextOffset)
      }
    }
  }

  /** Where the reader stands: behind everything it has handed out. */
  fetchPositions(): PartitionOffset[] {
    const topics = this.topics.filter((topic) => !this.paused.has(topic))
    return [...topics, ...this.views.keys()].map((topic) => ({
      topic,
      partition: this.partition,
      offset: this.fetchedTo.get(topic) as number,
    }))
  }

  /** Goes on elsewhere: what the position pointed to is no longer there. */
  relocate(topic: string, offset: number): void {
    this.fetchedTo.set(topic, offset)
    if (this.views.has(topic)) return
    this.replay = this.replay.filter((piece) => piece.topic !== topic)
    this.order.forget(topic)
    this.waiting.delete(topic)
    this.paused.delete(topic)
    this.committed.set(topic, offset)
    this.positions.set(topic, offset)
    this.unstoredTopics.add(topic)
  }

  committedOffset(topic: string): number | undefined {
    return this.committed.get(topic)
  }

  /** Where each topic stands, for the commit; only those that moved. */
  moved(): PartitionOffset[] {
    this.splitCurrent()
    const moved: PartitionOffset[] = []
    const before = this.sealed?.positions ?? this.committed
    for (const [topic, offset] of this.positions) {
      if (offset !== before.get(topic) || this.unstoredTopics.has(topic)) moved.push({ topic, partition: this.partition, offset })
    }
    return moved
  }

  /** What became of the records of the open transaction. */
  tally(): Tally {
    const tally = new Tally()
    for (const piece of this.used)
      if (piece.marks !== undefined) tally.add(piece.marks, piece.from ?? 0, (piece.from ?? 0) + (piece.records ?? 0))
    return tally
  }

  /** The transaction goes to the log: what is read from here on belongs to the next. */
  seal(): void {
    this.splitCurrent()
    this.sealed = { pieces: this.used, positions: new Map(this.positions), unstored: [...this.unstoredTopics] }
    this.unstoredTopics.clear()
    this.used = []
    this.forgetCounts()
  }

  /** The sealed transaction is in the log: its records are not needed again. */
  commit(): void {
    for (const [topic, offset] of (this.sealed as Sealed).positions) this.committed.set(topic, offset)
    this.sealed = undefined
    this.state.commit()
    this.alarms.commit()
  }

  /** What is not in the log is not going to be: everything since the last commit comes again. */
  rollback(): void {
    this.splitCurrent()
    const { sealed } = this
    this.replay = [...[...(sealed?.pieces ?? []), ...this.used].map((piece) => ({ ...piece, taken: true })), ...this.replay]
    for (const topic of sealed?.unstored ?? []) this.unstoredTopics.add(topic)
    this.sealed = undefined
    this.used = []
    for (const [topic, offset] of this.committed) this.positions.set(topic, offset)
    this.state.rollback()
    this.alarms.rollback()
    this.forgetCounts()
  }

  /** Records behind the end of the partitions, as far as the last fetch knew. */
  lag(): number {
    let lag = 0
    for (const [topic, position] of this.committed) {
      lag += Math.max(0, (this.reader.end(topic, this.partition) ?? this.paused.get(topic) ?? position) - position)
    }
    return lag
  }

  /** Takes one record, the first to come, without feeding it to a slice: the error policy has given it up. */
  takeOne(): RawRecord | undefined {
    const current = this.peek(false)
    if (current === undefined) return undefined
    const record = current.ahead as NonNullable<Current['ahead']>
    current.ahead = undefined
    current.count++
    current.lastOffset = record.offset
    this.records++
    return current.piece.inlet?.original?.(record) ?? record
  }

  /** A long batch of one topic does not keep what is due from its time. */
  private makeWay(): void {
    if (this.waiting.size === 0 || this.current === undefined || this.current.piece.taken === true) return
    const now = this.clock.now()
    for (const { pieces, due } of this.waiting.values()) {
      if (pieces.length === 0 || due + LATE_MS > now) continue
      this.splitCurrent()
      return
    }
  }

  private forgetCounts(): void {
    this.records = 0
    this.bytes = 0
    this.counted.clear()
  }

  /** The next record that may be taken, where it lies; what may not be taken yet is set aside. */
  private peek(live: boolean): Current | undefined {
    for (;;) {
      const current = this.current ?? this.open(live)
      if (current?.ahead !== undefined) return current
      if (current === undefined) return undefined
      const { piece } = current
      const record = current.reader.next(current.count)
      if (record === undefined || record.offset >= piece.nextOffset) {
        this.finishCurrent()
        continue
      }
      const due = piece.taken === true ? undefined : piece.inlet?.due?.(record)
      current.ahead = record
      if (due !== undefined && due > this.clock.now()) {
        this.hold(record.offset, due)
        continue
      }
      if (live && record.timestamp > this.order.earliest && piece.inlet === undefined && piece.taken !== true) {
        this.putAside(current, record.timestamp)
        continue
      }
      return current
    }
  }

  private open(live: boolean): Current | undefined {
    for (;;) {
      const again = this.replay[0]?.taken === true || !live ? this.replay.shift() : undefined
      const piece = again ?? (live ? (this.due() ?? this.replay.shift() ?? this.fetched()) : undefined)
      if (piece === undefined) return undefined
      if (piece.batch === undefined) {
        this.used.push(piece)
        this.positions.set(piece.topic, piece.nextOffset)
        continue
      }
      if (!this.counted.has(piece.batch)) {
        this.counted.add(piece.batch)
        this.bytes += piece.batch.bytes.length
      }
      if (piece.cursor !== undefined) return (this.current = piece.cursor)
      const source = markedSource(piece.topic, this.partition, piece.batch.bytes, piece.batch.count)
      const reader = new BatchReader(piece.batch, source, piece.fromOffset)
      return (this.current = { piece, reader, marks: source.marks, ahead: undefined, count: 0, from: 0, lastOffset: piece.fromOffset - 1 })
    }
  }

  /** Taken in turns, so that nobody starves the others. */
  private fetched(): Piece | undefined {
    for (let i = 0; i < this.turns.length; i++) {
      const topic = this.turns[(this.turn + i) % this.turns.length]
      if (topic !== undefined && this.paused.has(topic)) {
        if (!this.waiting.has(topic)) {
          // What was kept of it has been read.
          this.paused.delete(topic)
          this.onPositions()
        }
        continue
      }
      const piece = topic === undefined ? this.order.next() : this.take(topic)
      if (piece !== undefined) {
        this.turn = (this.turn + i + 1) % this.turns.length
        return piece
      }
    }
    return undefined
  }

  private take(topic: string): Piece | undefined {
    const fetched = this.reader.take(topic, this.partition)
    if (fetched === undefined) return undefined
    const { batch, fromOffset, nextOffset } = fetched
    this.fetchedTo.set(topic, nextOffset)
    return {
      topic,
      inlet: this.inlets.get(topic),
      batch,
      fromOffset,
      nextOffset,
      ...(batch === undefined ? {} : { time: batch.baseTimestamp }),
    }
  }

  private due(): Piece | undefined {
    if (this.waiting.size === 0) return undefined
    const now = this.clock.now()
    for (const [topic, { pieces, due }] of this.waiting) {
      if ((pieces.length === 0 ? due - AHEAD_MS : due) > now) continue
      this.waiting.delete(topic)
      if (pieces.length === 0) continue
      this.replay.unshift(...pieces)
      return this.replay.shift()
    }
    return undefined
  }

  /** Sets the topic being read aside, from the record at `offset` on, until `due`. */
  private hold(offset: number, due: number): void {
    const { topic } = (this.current as Current).piece
    this.splitCurrent()
    // What was split off stands first again.
    const pieces = this.replay.filter((piece) => piece.topic === topic)
    this.replay = this.replay.filter((piece) => piece.topic !== topic)
    const kept = [...pieces, ...(this.waiting.get(topic)?.pieces ?? [])]
    const first = kept[0] as Piece
    kept[0] = { ...first, fromOffset: Math.max(offset, first.fromOffset) }
    const fetching = !this.paused.has(topic)
    if (fetching) this.paused.set(topic, this.reader.end(topic, this.partition))
    this.waiting.set(topic, { pieces: kept, due })
    if (fetching) this.onPositions()
    if (due - this.clock.now() > KEEP_MS) {
      kept.length = 0
      this.fetchedTo.set(topic, offset)
    } else if (fetching) {
      for (let bytes = 0; bytes < KEEP_BYTES;) {
        const piece = this.take(topic)
        if (piece === undefined) break
        kept.push(piece)
        bytes += piece.batch?.bytes.length ?? 0
      }
    }
  }

  private finishCurrent(): void {
    const { piece, marks, count, from } = this.current as Current
    this.current = undefined
    piece.marks = marks
    piece.from = from
    piece.records = count - from
    this.used.push(piece)
    this.positions.set(piece.topic, piece.nextOffset)
  }

  /** Cuts the batch being read where reading stands: what was read belongs to this transaction, the rest to the next. */
  private splitCurrent(): void {
    if (this.current !== undefined) this.replay.unshift(this.restOf(this.current))
  }

  /** Another input is behind in event time and comes first: this batch is read on when it is its turn again. */
  private putAside(current: Current, time: number): void {
    this.order.putBack({ ...this.restOf(current), time })
  }

  /** What is left of the batch being read, to be read on where reading stands: what was given out belongs to this transaction. */
  private restOf(current: Current): Piece {
    this.current = undefined
    if (this.cut(current)) {
      current.piece = { ...current.piece, fromOffset: current.lastOffset + 1 }
      current.from = current.count
    }
    return { ...current.piece, cursor: current }
  }

  /** What was given out of a batch belongs to this transaction; false where that is nothing. */
  private cut({ piece, marks, count, from, lastOffset }: Current): boolean {
    if (count === from) return false
    this.used.push({ ...piece, nextOffset: lastOffset + 1, marks, from, records: count - from })
    this.positions.set(piece.topic, lastOffset + 1)
    return true
  }
}

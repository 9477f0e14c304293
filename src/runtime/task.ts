import { BatchReader, type BatchView } from '../log/batch/read.js'
import { UNKNOWN_EPOCH } from '../log/leader-epochs.js'
import type { LogReader, Position } from '../log/port.js'
import type { UnreadPartitions } from '../log/unread.js'
import { logError } from '../log/error.js'
import type { Clock } from '../record/clock.js'
import { errorMessage } from '../record/error.js'
import type { RawRecord } from '../record/record.js'
import type { TaskStore } from '../state/store.js'
import { Tally, markedSource } from './accounting.js'
import { Alarms, type TimeKind } from './alarms.js'
import type { InletSpec } from './context.js'
import type { Committing, Piece, Reading, TaskStart } from './piece.js'
import type { Slice } from './slice.js'
import { TaskInputs } from './task-inputs.js'
import type { TaskState } from './task-state.js'

/**
 * Partition p of every topic of the source: positions, and the records read since the last commit, so that a failed
 * transaction can be fed again without fetching again.
 */
export class Task {
  private readonly committed = new Map<string, Position>()
  private readonly positions = new Map<string, Position>()
  private readonly unstoredTopics = new Set<string>()
  /** By topic, what was committed with its offset. */
  readonly metadata = new Map<string, string>()
  /** Read in the open transaction, in order. */
  private used: Piece[] = []
  /** Set while a commit is under way; what is read meanwhile belongs to the next. */
  private committing: Committing | undefined
  /** To be read again before anything new. */
  private replay: Piece[] = []
  private current: Reading | undefined
  /** The batches that count in `bytes`: one that is read in parts counts once. */
  private readonly counted = new Set<BatchView>()
  readonly inputs: TaskInputs
  readonly alarms: Alarms
  /** When it was opened, by the monotonic clock. */
  readonly openedAt: number
  /** Called where `nextDue` may be another, but by a look at the task. */
  onDue: () => void = () => {}
  /** False until the stores are restored. */
  ready = false
  /** Records and bytes given out since the last commit. */
  records = 0
  bytes = 0

  constructor(
    readonly partition: number,
    readonly topics: readonly string[],
    start: readonly TaskStart[],
    reader: LogReader,
    private readonly clock: Clock,
    readonly state: TaskState,
    inlets: ReadonlyMap<string, InletSpec>,
    private readonly unread: UnreadPartitions,
    /** What to do with records that cannot be read. */
    private readonly onUnreadable: 'stop' | 'skip',
    /** Called when `fetchPositions` changed by itself. */
    onPositions: () => void,
  ) {
    this.alarms = new Alarms(clock, () => this.onDue())
    this.openedAt = clock.monotonic()
    this.inputs = new TaskInputs(partition, topics, inlets, reader, clock, unread, onPositions)
    for (const { topic, offset, leaderEpoch = UNKNOWN_EPOCH, stored, metadata } of start) {
      if (metadata !== undefined) this.metadata.set(topic, metadata)
      this.moveTo(topic, offset, leaderEpoch)
      this.committed.set(topic, this.positions.get(topic) as Position)
      this.inputs.start(topic, offset, leaderEpoch)
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
        const record = current.ahead as NonNullable<Reading['ahead']>
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

  /** Steps over positions without records; false where no record may be taken. */
  advance(live: boolean): boolean {
    return this.peek(live) !== undefined
  }

  /** When the task has something to do though nothing is read: an alarm rings, or a waiting record is due. Infinity for never. */
  nextDue(by: TimeKind): number {
    return Math.min(this.alarms.next[by], this.inputs.nextDue(by))
  }

  /** True if records of its topics wait to be read, as far as is known; not those that are to wait. */
  get behind(): boolean {
    const { held } = this.inputs
    if (this.inputs.isStuck) return true
    return this.topics.some((topic) => {
      if (held.isPaused(topic) || held.isWaiting(topic)) return false
      const end = this.inputs.end(topic)
      return end === undefined || (this.positions.get(topic) as Position).offset < end
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
  follow(topic: string, store: TaskStore, offset: number, leaderEpoch = UNKNOWN_EPOCH): void {
    this.inputs.follow(topic, store, offset, leaderEpoch)
  }

  /** Where the reader stands: behind everything it has handed out. */
  fetchPositions(): Position[] {
    return this.inputs.positions()
  }

  /**
   * Goes on elsewhere: where the reader stands is nothing any more. What was fetched before that, and may be gone from the log, comes
   * first.
   */
  relocate(topic: string, offset: number, leaderEpoch = UNKNOWN_EPOCH): void {
    const gap = this.inputs.relocate(topic, offset, leaderEpoch)
    if (gap !== undefined) this.replay.push(gap)
  }

  /** Whether that is where the last commit left the topic. */
  isCommittedAt({ topic, offset, leaderEpoch = UNKNOWN_EPOCH }: TaskStart): boolean {
    const committed = this.committed.get(topic)
    return committed?.offset === offset && committed.leaderEpoch === leaderEpoch
  }

  /** What was given out up to here is the transaction: a batch read in part is cut, its rest belongs to the next. */
  endIntake(): void {
    this.splitCurrent()
  }

  /** Where each topic stands at the end of intake, for the commit; only those that moved. */
  moved(): Position[] {
    const moved: Position[] = []
    const before = this.committing?.positions ?? this.committed
    for (const [topic, position] of this.positions) {
      const { offset, leaderEpoch } = before.get(topic) as Position
      if (position.offset !== offset || position.leaderEpoch !== leaderEpoch || this.unstoredTopics.has(topic)) moved.push(position)
    }
    return moved
  }

  /** Where each topic stands, moved or not. */
  standing(): Position[] {
    return [...this.positions.values()]
  }

  /** What the log has of a topic; not `stored` where it is what it was told to start at. */
  committedOf(topic: string): { readonly offset: number; readonly stored: boolean } {
    return { offset: (this.committed.get(topic) as Position).offset, stored: !this.unstoredTopics.has(topic) }
  }

  /** The first stretch with records of a topic that was read, or is at hand, and is not committed. */
  firstUncommitted(topic: string): Piece | undefined {
    const has = (piece: Piece | undefined): boolean => piece?.topic === topic && piece.batch !== undefined
    const { committing, used, current, replay, inputs } = this
    const read = committing?.pieces.find(has) ?? used.find(has)
    return read ?? (has(current?.piece) ? current?.piece : (replay.find(has) ?? inputs.order.head(topic)))
  }

  /** What became of the records of the open transaction. */
  tally(): Tally {
    const tally = new Tally()
    for (const piece of this.used) if (piece.marks !== undefined) tally.add(piece.marks, piece.from, piece.from + piece.records)
    return tally
  }

  /** The transaction, its intake ended, goes to the log: what is read from here on belongs to the next. */
  beginCommit(): void {
    this.committing = { pieces: this.used, positions: new Map(this.positions), unstored: [...this.unstoredTopics] }
    this.unstoredTopics.clear()
    this.used = []
    this.state.seal()
    this.alarms.seal()
    this.forgetCounts()
  }

  /** The transaction that went to the log is in it: its records are not needed again, nor what undoes its changes. */
  commit(): void {
    for (const [topic, position] of (this.committing as Committing).positions) this.committed.set(topic, position)
    this.committing = undefined
    this.state.commit()
    this.alarms.commit()
  }

  /** What is not in the log is not going to be: everything since the last commit comes again. */
  rollback(): void {
    this.splitCurrent()
    const { committing } = this
    this.replay = [...[...(committing?.pieces ?? []), ...this.used].map((piece) => piece.again()), ...this.replay]
    for (const topic of committing?.unstored ?? []) this.unstoredTopics.add(topic)
    this.committing = undefined
    this.used = []
    for (const [topic, position] of this.committed) this.positions.set(topic, position)
    this.state.rollback()
    this.alarms.rollback()
    this.forgetCounts()
  }

  /** Records behind the end of the partitions, as far as the last fetch knew. */
  lag(): number {
    let lag = 0
    for (const [topic, { offset }] of this.committed) {
      lag += Math.max(0, (this.inputs.end(topic) ?? this.inputs.held.endOf(topic) ?? offset) - offset)
    }
    return lag
  }

  /** Takes one record, the first to come, without feeding it to a slice: the error policy has given it up. */
  takeOne(): RawRecord | undefined {
    const current = this.peek(false)
    if (current === undefined) return undefined
    const record = current.ahead as NonNullable<Reading['ahead']>
    current.ahead = undefined
    current.count++
    current.lastOffset = record.offset
    this.records++
    return current.piece.inlet?.original?.(record) ?? record
  }

  /** A long batch of one topic does not keep what is due from its time. */
  private makeWay(): void {
    if (this.current !== undefined && !this.current.piece.taken && this.inputs.held.isLate) this.splitCurrent()
  }

  private forgetCounts(): void {
    this.records = 0
    this.bytes = 0
    this.counted.clear()
  }

  /** The next record that may be taken, where it lies; what may not be taken yet is set aside. */
  private peek(live: boolean): Reading | undefined {
    for (;;) {
      if (this.current === undefined && live && this.inputs.isDamaged) return undefined
      const current = this.current ?? this.open(live)
      if (current?.ahead !== undefined) return current
      if (current === undefined) return undefined
      const { piece } = current
      let record: ReturnType<BatchReader['next']>
      try {
        record = current.reader.next(current.count)
      } catch (error) {
        if (this.skips(current, error)) continue
        return undefined
      }
      if (record === undefined || record.offset >= piece.nextOffset) {
        this.finishCurrent()
        continue
      }
      const due = piece.taken ? undefined : piece.inlet?.due?.(record)
      current.ahead = record
      if (due !== undefined && due > this.clock.now()) {
        this.hold(piece.topic, record.offset, due)
        continue
      }
      if (live && record.timestamp > this.inputs.order.earliest && piece.inlet === undefined && !piece.taken) {
        this.putAside(current, record.timestamp)
        continue
      }
      return current
    }
  }

  /** The rest of a batch cannot be read, though it is as it was written: steps over it where told so, else it stays. */
  private skips(current: Reading, error: unknown): boolean {
    const { piece, lastOffset } = current
    const [firstOffset, last] = [lastOffset + 1, piece.nextOffset - 1]
    const origin = { topic: piece.topic, partition: this.partition, offset: firstOffset }
    const failure = logError(
      'CORRUPT_BATCH',
      'retry',
      `${errorMessage(error)}. What cannot be read are the offsets ${firstOffset} to ${last}`,
      { origin, cause: error },
    )
    if (this.onUnreadable === 'skip') {
      this.unread.skipped({ topic: piece.topic, partition: this.partition, firstOffset, lastOffset: last, error: failure })
      this.finishCurrent()
      return true
    }
    this.inputs.damaged(piece.topic, failure)
    const rest = this.restOf(current)
    rest.cursor = undefined
    this.replay.unshift(rest)
    return false
  }

  private open(live: boolean): Reading | undefined {
    for (;;) {
      const piece = this.nextPiece(live)
      if (piece === undefined) return undefined
      if (piece.batch === undefined) {
        this.used.push(piece)
        this.moveTo(piece.topic, piece.nextOffset, piece.nextEpoch)
        continue
      }
      if (!this.counted.has(piece.batch)) {
        this.counted.add(piece.batch)
        this.bytes += piece.batch.bytes.length
      }
      if (piece.cursor !== undefined) return (this.current = piece.resume(piece.cursor))
      const source = markedSource(piece.topic, this.partition, piece.batch)
      const reader = new BatchReader(piece.batch, source, piece.fromOffset)
      return (this.current = { piece, reader, marks: source.marks, ahead: undefined, count: 0, from: 0, lastOffset: piece.fromOffset - 1 })
    }
  }

  /** What comes again first, then what has come due, then what else was put aside, then what is new. */
  private nextPiece(live: boolean): Piece | undefined {
    if (!live) return this.replay.shift()
    if (this.replay[0]?.taken !== true) this.replay.unshift(...this.inputs.held.takeDue())
    return this.replay.shift() ?? this.inputs.next()
  }

  /** Sets the topic being read aside, from the record at `offset` on, until `due`. */
  private hold(topic: string, offset: number, due: number): void {
    this.splitCurrent()
    // What was split off stands first again.
    const pieces = this.replay.filter((piece) => piece.topic === topic)
    this.replay = this.replay.filter((piece) => piece.topic !== topic)
    this.inputs.held.hold(topic, pieces, offset, due)
  }

  private finishCurrent(): void {
    const { piece, marks, count, from } = this.current as Reading
    this.current = undefined
    piece.marks = marks
    piece.from = from
    piece.records = count - from
    this.used.push(piece)
    this.moveTo(piece.topic, piece.nextOffset, piece.nextEpoch)
  }

  private moveTo(topic: string, offset: number, leaderEpoch: number): void {
    this.positions.set(topic, { topic, partition: this.partition, offset, leaderEpoch })
  }

  /** Cuts the batch being read where reading stands: what was read belongs to this transaction, the rest to the next. */
  private splitCurrent(): void {
    if (this.current !== undefined) this.replay.unshift(this.restOf(this.current))
  }

  /** Another input is behind in event time and comes first: this batch is read on when it is its turn again. */
  private putAside(current: Reading, time: number): void {
    const rest = this.restOf(current)
    rest.time = time
    this.inputs.order.putBack(rest)
  }

  /** What is left of the batch being read, to be read on where reading stands: what was given out belongs to this transaction. */
  private restOf(current: Reading): Piece {
    this.current = undefined
    if (this.cut(current)) {
      current.piece = current.piece.since(current.lastOffset + 1)
      current.from = current.count
    }
    current.piece.cursor = current
    return current.piece
  }

  /** What was given out of a batch belongs to this transaction; false where that is nothing. */
  private cut({ piece, marks, count, from, lastOffset }: Reading): boolean {
    if (count === from) return false
    const read = piece.upTo(lastOffset + 1)
    read.marks = marks
    read.from = from
    read.records = count - from
    this.used.push(read)
    this.moveTo(piece.topic, read.nextOffset, read.nextEpoch)
    return true
  }
}

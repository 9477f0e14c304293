import type { Fetched, LogReader, Position } from '../log/port.js'
import { UNKNOWN_EPOCH } from '../log/leader-epochs.js'
import { canWait, type UnreadPartitions } from '../log/unread.js'
import type { Clock } from '../record/clock.js'
import { loadBatch } from '../state/restore.js'
import type { TaskStore } from '../state/store.js'
import type { TimeKind } from './alarms.js'
import type { InletSpec } from './context.js'
import { HeldTopics, type HeldFrom } from './held-topics.js'
import { InputOrder } from './input-order.js'
import { Piece } from './piece.js'

/** Records that cannot be read are looked at again after so long, though only another program could mend them. */
const DAMAGED_MS = 10_000

/** What is fetched of the topics of a task, and in which order it is read. */
export class TaskInputs implements HeldFrom {
  readonly order: InputOrder<Piece>
  readonly held: HeldTopics
  /** Behind everything the reader has handed out. */
  private readonly fetchedTo = new Map<string, Position>()
  private readonly views = new Map<string, TaskStore>()
  /** Who takes turns in being read: the inputs as one, and each topic of the pipeline's own. */
  private readonly turns: readonly (string | undefined)[]
  private turn = 0
  /** Topics whose reading failed. */
  private readonly stuck = new Set<string>()
  private damagedUntil = Number.NEGATIVE_INFINITY

  constructor(
    private readonly partition: number,
    private readonly topics: readonly string[],
    private readonly inlets: ReadonlyMap<string, InletSpec>,
    private readonly reader: LogReader,
    private readonly clock: Clock,
    readonly unread: UnreadPartitions,
    readonly onPositions: () => void,
  ) {
    this.held = new HeldTopics(this, clock)
    this.order = new InputOrder(
      topics.filter((topic) => !inlets.has(topic)),
      {
        take: (topic) => this.take(topic),
        hasMore: (topic) => (this.end(topic) ?? Number.POSITIVE_INFINITY) > (this.fetchedTo.get(topic) as Position).offset,
      },
      clock,
    )
    this.turns = [undefined, ...inlets.keys()]
  }

  start(topic: string, offset: number, leaderEpoch: number): void {
    this.fetchedTo.set(topic, { topic, partition: this.partition, offset, leaderEpoch })
  }

  /** Where the reader stands: behind everything it has handed out. */
  positions(): Position[] {
    const topics = this.topics.filter((topic) => !this.held.isPaused(topic))
    return [...topics, ...this.views.keys()].map((topic) => this.fetchedTo.get(topic) as Position)
  }

  /** The next piece to read of what was fetched. Taken in turns, so that nobody starves the others. */
  next(): Piece | undefined {
    const { held } = this
    if (!this.goesOn()) return undefined
    for (let i = 0; i < this.turns.length; i++) {
      const topic = this.turns[(this.turn + i) % this.turns.length]
      if (topic !== undefined && held.isPaused(topic)) {
        if (!held.isWaiting(topic)) held.resume(topic)
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

  /**
   * Whether a topic of the task could not be read when it was last tried. The others wait for it: what belongs together would be torn
   * apart.
   */
  get isStuck(): boolean {
    return this.stuck.size > 0 || this.isDamaged
  }

  get isDamaged(): boolean {
    return this.damagedUntil > this.clock.monotonic()
  }

  /** When there may be something to read of which nothing is told; infinity for never. */
  nextDue(by: TimeKind): number {
    // Of a task that is stuck nothing is read, whatever is due: that it can be again is told.
    if (this.isStuck) return by === 'span' && this.isDamaged ? this.damagedUntil : Number.POSITIVE_INFINITY
    return by === 'date' ? this.held.nextDue : this.order.nextLook
  }

  /** Tries again what could not be read; false while there still is such a topic. */
  private goesOn(): boolean {
    for (const topic of this.stuck) {
      // An error that was not taken keeps the reader from trying again.
      if (this.reader.trouble(topic, this.partition) !== undefined && this.fetched(topic) === undefined) continue
      this.stuck.delete(topic)
      this.unread.passed({ topic, partition: this.partition })
    }
    return !this.isStuck
  }

  /** Records that were fetched cannot be read: nothing of the task is, until it is tried again. */
  damaged(topic: string, error: unknown): void {
    this.unread.failed({ topic, partition: this.partition }, error)
    this.damagedUntil = this.clock.monotonic() + DAMAGED_MS
  }

  /** What was fetched of a topic; undefined also where it cannot be read and may be later. @throws LogError for everything else */
  private fetched(topic: string): Fetched | undefined {
    try {
      return this.reader.take(topic, this.partition)
    } catch (error) {
      if (!canWait(error)) throw error
      this.stuck.add(topic)
      this.unread.failed({ topic, partition: this.partition }, error)
      return undefined
    }
  }

  take(topic: string): Piece | undefined {
    const fetched = this.fetched(topic)
    if (fetched === undefined) return undefined
    const { batch, fromOffset, fromEpoch, nextOffset, nextEpoch } = fetched
    this.start(topic, nextOffset, nextEpoch)
    const piece = new Piece(topic, this.inlets.get(topic), batch, fromOffset, nextOffset, fromEpoch, nextEpoch)
    if (batch !== undefined) piece.time = batch.logAppendTime ? batch.maxTimestamp : batch.baseTimestamp
    return piece
  }

  end(topic: string): number | undefined {
    return this.reader.end(topic, this.partition)
  }

  /** The time of what is fetched next of a topic and not taken yet. */
  nextTime(topic: string): number | undefined {
    return this.reader.nextTime(topic, this.partition)
  }

  giveBack(topic: string, offset: number, leaderEpoch: number): void {
    this.start(topic, offset, leaderEpoch)
  }

  /**
   * Goes on elsewhere. What is stepped over comes behind everything that was fetched: behind what is held of the topic, or as the piece
   * returned.
   */
  relocate(topic: string, nextOffset: number, nextEpoch: number): Piece | undefined {
    const { offset: fromOffset, leaderEpoch: fromEpoch = UNKNOWN_EPOCH } = this.fetchedTo.get(topic) as Position
    this.start(topic, nextOffset, nextEpoch)
    const gap = new Piece(topic, this.inlets.get(topic), undefined, fromOffset, nextOffset, fromEpoch, nextEpoch)
    return this.held.append(topic, gap) ? undefined : gap
  }

  /** A store that shows a topic: follows it from where the restore ended. */
  follow(topic: string, store: TaskStore, offset: number, leaderEpoch: number): void {
    this.views.set(topic, store)
    this.start(topic, offset, leaderEpoch)
  }

  isView(topic: string): boolean {
    return this.views.has(topic)
  }

  /** Brings the views up to date. They hold what others committed, so no transaction of ours undoes it. */
  updateViews(): void {
    for (const [topic, store] of this.views) {
      for (let fetched = this.fetched(topic); fetched !== undefined; fetched = this.fetched(topic)) {
        if (fetched.batch !== undefined) loadBatch(store, topic, this.partition, fetched.batch, fetched.fromOffset)
        this.start(topic, fetched.nextOffset, fetched.nextEpoch)
      }
    }
  }
}

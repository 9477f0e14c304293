import type { Clock } from '../record/clock.js'
import { epochAt, type Piece } from './piece.js'

/** A topic of the task whose next record is not due yet. */
interface Waiting {
  /** From that record on, as far as kept. Where nothing is, it is fetched again. */
  readonly pieces: readonly Piece[]
  readonly due: number
}

/** What a held topic is fetched from. */
export interface HeldFrom {
  take(topic: string): Piece | undefined
  /** The end of the partition, as far as it is known. */
  end(topic: string): number | undefined
  /** What was fetched from `offset` on is given back, and is to be fetched again. */
  giveBack(topic: string, offset: number, leaderEpoch: number): void
  /** What is fetched has changed: what is fetched ahead of a topic that waits would only take up room. */
  onPositions(): void
}

/** What is to wait longer is given back, and fetched again when it is about to come due. */
const KEEP_MS = 2_000
/** So much earlier: what a fetch takes, and more. */
const AHEAD_MS = 500
/** A record may come so late before the batch being read is put aside for it. */
const LATE_MS = 20
/** Kept of a topic that waits, beyond the batch that its next record is in. */
const KEEP_BYTES = 256 * 1024

/** Topics of a task whose next record may not be taken yet. Only the topic waits, the others of the task go on. */
export class HeldTopics {
  private readonly waiting = new Map<string, Waiting>()
  /** Topics that are not fetched: what is kept of them comes first. With the end of the partition, as it was then known. */
  private readonly paused = new Map<string, number | undefined>()

  constructor(
    private readonly from: HeldFrom,
    private readonly clock: Clock,
  ) {}

  /** The date when the first of them is due, or is to be fetched again; infinity where none waits. */
  get nextDue(): number {
    let next = Number.POSITIVE_INFINITY
    for (const waiting of this.waiting.values()) next = Math.min(next, lookAt(waiting))
    return next
  }

  /** When the first record of a topic that waits is due. */
  dueOf(topic: string): number | undefined {
    return this.waiting.get(topic)?.due
  }

  isPaused(topic: string): boolean {
    return this.paused.has(topic)
  }

  isWaiting(topic: string): boolean {
    return this.waiting.has(topic)
  }

  /** The end of a paused topic when it was paused. */
  endOf(topic: string): number | undefined {
    return this.paused.get(topic)
  }

  /** Whether something kept is due, and has been for longer than it may be late. */
  get isLate(): boolean {
    if (this.waiting.size === 0) return false
    const now = this.clock.now()
    for (const { pieces, due } of this.waiting.values()) if (pieces.length > 0 && due + LATE_MS <= now) return true
    return false
  }

  /** Sets a topic aside until `due`; `pieces` are what is there of it, the first with the record at `offset`. */
  hold(topic: string, pieces: readonly Piece[], offset: number, due: number): void {
    const kept = [...pieces, ...(this.waiting.get(topic)?.pieces ?? [])]
    const first = kept[0] as Piece
    kept[0] = first.since(Math.max(offset, first.fromOffset))
    const fetching = !this.paused.has(topic)
    if (fetching) this.paused.set(topic, this.from.end(topic))
    this.waiting.set(topic, { pieces: kept, due })
    if (fetching) this.from.onPositions()
    if (due - this.clock.now() > KEEP_MS) {
      kept.length = 0
      this.from.giveBack(topic, offset, epochAt(first, offset))
    } else if (fetching) {
      for (let bytes = 0; bytes < KEEP_BYTES;) {
        const piece = this.from.take(topic)
        if (piece === undefined) break
        kept.push(piece)
        bytes += piece.batch?.bytes.length ?? 0
      }
    }
  }

  /** Takes what is kept of a topic that has come due; one of which nothing is kept ends its wait, so that it is fetched again. */
  takeDue(): readonly Piece[] {
    if (this.waiting.size === 0) return []
    const now = this.clock.now()
    for (const [topic, waiting] of this.waiting) {
      if (lookAt(waiting) > now) continue
      this.waiting.delete(topic)
      if (waiting.pieces.length > 0) return waiting.pieces
    }
    return []
  }

  /** What was kept of a topic has been read: it is fetched again. */
  resume(topic: string): void {
    this.paused.delete(topic)
    this.from.onPositions()
  }

  /** Puts a piece behind what is kept of a topic; false where nothing is. */
  append(topic: string, piece: Piece): boolean {
    const waiting = this.waiting.get(topic)
    if (waiting === undefined || waiting.pieces.length === 0) return false
    this.waiting.set(topic, { pieces: [...waiting.pieces, piece], due: waiting.due })
    return true
  }
}

function lookAt({ pieces, due }: Waiting): number {
  return pieces.length === 0 ? due - AHEAD_MS : due
}

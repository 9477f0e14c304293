import { DueHeap } from './due-heap.js'

export const NEVER = Number.POSITIVE_INFINITY

/** What stands in a due index. */
export interface DueItem {
  /** The time it stands at, infinity where it does not: begins so, and is written by the index alone. */
  dueAt: number
}

export interface DueOptions<T> {
  /**
   * When the item is due as it is now, infinity for one that is gone. `stoodAt` is the time it stands at in the index, which may be
   * earlier: an item that moves on needs no word to the index, and is looked at once for each time it stood at.
   */
  readonly dueOf: (item: T, stoodAt: number) => number
  /** Which of one time comes first; may only grow while the item stands. Default: in the order they were pushed. */
  readonly orderOf?: (item: T) => number
}

interface Taken<T> {
  readonly item: T
  readonly at: number
  readonly order: number
}

/** Below it nobody minds what is out of date. */
const FEW = 1_000

/**
 * What comes due, earliest first, through commits and rollbacks.
 *
 * An item stands in it at its time or earlier, at most once as far as it counts; what is gone stays until its time comes, or until most of
 * the index is such. So pushing and taking cost the logarithm of what is held, and a commit nothing.
 */
export class Due<T extends DueItem> {
  private readonly heap = new DueHeap<T>()
  /** Taken in the open transaction, or found to be due later in it, with where they stood. */
  private taken: Taken<T>[] = []
  /** The same of the one before it, while that goes to the log. */
  private sealed: Taken<T>[] | undefined
  private pushes = 0
  private readonly dueOf: DueOptions<T>['dueOf']
  private readonly orderOf: DueOptions<T>['orderOf']

  constructor({ dueOf, orderOf }: DueOptions<T>) {
    this.dueOf = dueOf
    this.orderOf = orderOf
  }

  /** How much it holds, what is out of date included. */
  get held(): number {
    return this.heap.size
  }

  /** Nothing is due before: costs nothing to ask. */
  get notBefore(): number {
    return this.heap.next
  }

  /** When the first is due; infinity for never. */
  get next(): number {
    const { heap } = this
    for (;;) {
      const at = heap.next
      const item = heap.first
      if (item === undefined) return NEVER
      if (item.dueAt !== at) {
        heap.pop()
        continue
      }
      const due = this.dueOf(item, at)
      if (due <= at && (this.orderOf === undefined || this.orderOf(item) <= heap.nextOrder)) return at
      this.pop(at)
      if (due < NEVER) this.push(item, due)
    }
  }

  /** The item is due at `at`. One that stands at an earlier time stays there. */
  push(item: T, at: number): void {
    if (at < item.dueAt) this.pushAs(item, at, this.orderOf === undefined ? ++this.pushes : this.orderOf(item))
  }

  /** Takes the first out, if it is due at `upTo` or before. */
  take(upTo: number): T | undefined {
    if (this.heap.next > upTo) return undefined
    const at = this.next
    return at === NEVER || at > upTo ? undefined : this.pop(at)
  }

  /** What is taken from here on belongs to the next transaction. */
  seal(): void {
    this.sealed = this.taken
    this.taken = []
  }

  /** What was taken in the sealed transaction, or the open one where none was sealed, stays out. `live` is how many items there are. */
  commit(live: number): void {
    if (this.sealed === undefined) this.seal()
    this.sealed = undefined
    this.tidy(live)
  }

  /** What was taken stands where it did. Called when the items are again as they were. */
  rollback(live: number): void {
    for (const { item, at, order } of [...(this.sealed ?? []), ...this.taken]) if (at < item.dueAt) this.pushAs(item, at, order)
    this.taken = []
    this.sealed = undefined
    this.tidy(live)
  }

  clear(): void {
    this.heap.clear()
    this.taken = []
    this.sealed = undefined
  }

  private pushAs(item: T, at: number, order: number): void {
    item.dueAt = at
    this.heap.push(at, order, item)
  }

  private pop(at: number): T {
    const order = this.heap.nextOrder
    const item = this.heap.pop() as T
    item.dueAt = NEVER
    this.taken.push({ item, at, order })
    return item
  }

  private tidy(live: number): void {
    const { heap } = this
    if (heap.size <= FEW || heap.size <= 2 * live) return
    heap.filter((item, at, order) => {
      if (item.dueAt !== at) return false
      const isGone = this.dueOf(item, at) === NEVER
      // Not a time: one that stands here twice is kept once.
      item.dueAt = isGone ? NEVER : Number.NaN
      // The open transaction may have deleted it, and be undone.
      if (isGone) this.taken.push({ item, at, order })
      return !isGone
    })
    heap.forEach((item, at) => (item.dueAt = at))
  }
}

import type { SlidingWindows, Window } from '../../record/windows.js'
import { copyOf } from '../../state/copy.js'
import type { KeyText } from '../../state/key.js'
import { TimeTree, type Folding, type TreeNode } from '../../state/time-tree.js'
import type { TimelineEntry, TimelineStore } from '../../state/timeline-store.js'
import { TimelineWindowing } from './timeline-windowing.js'
import type { EmitWindow, MergingAggregator, Windowing } from './windowing.js'

/**
 * The stream time at which a window with this end closes. Up to its end a record may come for it without being late, also where there is no
 * grace.
 */
const closesAt = (end: number, graceMs: number): number => end + graceMs + 1

/**
 * What is kept for a record time is looked at when the window closes that ends there, and when the one closes that begins right
 * after it. No open window needs it then.
 */
export function slidingDue({ sizeMs }: SlidingWindows, graceMs: number): (time: number, value: unknown, handled: number) => number {
  return (time, _value, handled) => closesAt(handled < closesAt(time, graceMs) ? time : time + 1 + sizeMs, graceMs)
}

/**
 * The windows of a key, both ends included: for each record time t the one that ends with it, [t - size, t], and the one that begins
 * right after it, [t + 1, t + 1 + size], if there is a record in it.
 *
 * Kept is one state a record time; that of a window is made of them when it is asked for.
 */
export class SlidingWindowing<R, A> extends TimelineWindowing<A> implements Windowing<R> {
  /** Times of the records of this slice, where updates are asked for. */
  private readonly added = new Map<KeyText, TimeTree<AddedTime>>()
  private readonly folding: Folding<TimelineEntry<A>, A>

  constructor(
    private readonly windows: SlidingWindows,
    private readonly graceMs: number,
    store: TimelineStore<A>,
    private readonly aggregator: MergingAggregator<R, A>,
    private readonly emit: EmitWindow<A>,
    private readonly updates: boolean,
  ) {
    super(store)
    const { serde, merge } = aggregator
    this.folding = {
      of: ({ value }) => value as A,
      merge: (earlier, later) => merge.call(aggregator, earlier, later),
      copy: (state) => copyOf(serde, state),
    }
  }

  add(record: R, key: KeyText, time: number): readonly Window[] | undefined {
    const { store, aggregator, closedUpTo } = this
    const { sizeMs } = this.windows
    // The last window that can hold it begins with it.
    this.missedAll = time + sizeMs <= closedUpTo
    if (!this.missedAll) {
      let entry = store.entry(key, time)
      if (entry === undefined) entry = store.put(key, time, aggregator.add(undefined, record))
      else {
        store.edit(entry)
        entry.value = aggregator.add(entry.value, record)
      }
      if (time > entry.stamp) entry.stamp = time
      if (this.updates && time >= 0) this.note(key, time)
    }
    return time <= closedUpTo ? [{ start: time - sizeMs, end: time }] : undefined
  }

  complete(): void {
    if (!this.updates) return
    for (const [key, times] of this.added) for (const end of this.openEnds(key, times)) this.give(key, end)
  }

  get allClosedAt(): number | undefined {
    const { sizeMs } = this.windows
    let last = Number.NEGATIVE_INFINITY
    for (const key of this.store.keys()) {
      const newest = this.store.last(key)
      if (newest === undefined) continue
      const before = this.store.last(key, newest.time - 1)
      const end = before !== undefined && newest.time <= before.time + 1 + sizeMs ? before.time + 1 + sizeMs : newest.time
      if (end > last) last = end
    }
    return last > this.closedUpTo ? closesAt(last, this.graceMs) : undefined
  }

  /** Windows that end at this time or before are closed. */
  private get closedUpTo(): number {
    return this.store.streamTime - closesAt(0, this.graceMs)
  }

  protected close(entry: TimelineEntry<A>, at: number): void {
    const { key, time } = entry
    const end = at - closesAt(0, this.graceMs)
    // The window after it may be the one that ends at another record, which then is looked at for it.
    if (end === time || this.store.entry(key, end) === undefined) {
      // With updates the last one is out already, unless the window closes in the slice that changed it.
      if (!this.updates || this.isAdded(key, end - this.windows.sizeMs, end) || (end !== time && this.isAdded(key, time, time)))
        this.give(key, end)
    }
    if (end !== time) this.store.remove(entry)
  }

  private note(key: KeyText, time: number): void {
    let times = this.added.get(key)
    if (times === undefined) this.added.set(key, (times = new TimeTree()))
    if (times.find(time) === undefined) times.add(new AddedTime(time))
  }

  /** Whether this slice has put something between these times, both included. */
  private isAdded(key: KeyText, from: number, to: number): boolean {
    const first = this.added.get(key)?.first(from)
    return first !== undefined && first.time <= to
  }

  /** Ends of the open windows that hold one of the times, in order: of those that end at a record, and those that begin right after one. */
  private openEnds(key: KeyText, times: TimeTree<AddedTime>): number[] {
    const { store, closedUpTo } = this
    const { sizeMs } = this.windows
    const ends = new Set<number>()
    const look = (from: number, to: number): void => {
      for (const { time } of store.range(key, from, to)) {
        if (time > closedUpTo && this.isAdded(key, time - sizeMs, time)) ends.add(time)
        const after = time + 1 + sizeMs
        const next = store.first(key, time + 1)
        if (after > closedUpTo && next !== undefined && next.time <= after && this.isAdded(key, time, after)) ends.add(after)
      }
    }
    // Each record is looked at once, however many of the times are near it.
    let from = Number.NaN
    let to = Number.NaN
    times.each(Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY, ({ time }) => {
      if (!(time - 1 - sizeMs <= to)) {
        if (!Number.isNaN(to)) look(from, to)
        from = time - 1 - sizeMs
      }
      to = time + sizeMs
    })
    look(from, to)
    return [...ends].sort((a, b) => a - b)
  }

  private give(key: KeyText, end: number): void {
    const start = end - this.windows.sizeMs
    const state = this.store.fold(key, start, end, this.folding)
    if (state !== undefined) this.emit(key, { start, end }, state)
  }
}

class AddedTime implements TreeNode<AddedTime> {
  readonly seq = 0
  left: AddedTime | undefined = undefined
  right: AddedTime | undefined = undefined
  sum: unknown = undefined
  constructor(readonly time: number) {}
}

import type { SlidingWindows, Window } from '../../record/windows.js'
import { copyOf } from '../../state/copy.js'
import type { KeyText } from '../../state/key.js'
import type { TimelineEntry, TimelineStore } from '../../state/timeline-store.js'
import type { EmitWindow, MergingAggregator, Windowing } from './windowing.js'

/** The stream time at which a window with this end closes. Up to its end a record may come for it without being late, also where there is no grace. */
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
export class SlidingWindowing<R, A> implements Windowing<R> {
  missedAll = false

  constructor(
    private readonly windows: SlidingWindows,
    private readonly graceMs: number,
    private readonly store: TimelineStore<A>,
    private readonly aggregator: MergingAggregator<R, A>,
    private readonly emit: EmitWindow<A>,
    private readonly updates: boolean,
  ) {}

  get streamTime(): number {
    return this.store.streamTime
  }

  advance(time: number): void {
    const { store } = this
    if (time <= store.streamTime) return
    store.advance(time)
    if (store.nextDue <= time) store.expire(time, (entry, at) => this.close(entry, at - closesAt(0, this.graceMs)))
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
    }
    return time <= closedUpTo ? [{ start: time - sizeMs, end: time }] : undefined
  }

  complete(): void {
    if (!this.updates) return
    const changed = new Map<KeyText, Set<number>>()
    for (const entry of this.store.changedEntries) {
      if (entry.value === undefined || entry.stamp < 0) continue
      let ends = changed.get(entry.key)
      if (ends === undefined) changed.set(entry.key, (ends = new Set()))
      this.addOpenEnds(entry, ends)
    }
    for (const [key, ends] of changed) {
      for (const end of [...ends].sort((a, b) => a - b)) this.give(key, end, this.contents(key, end))
    }
  }

  get isEmpty(): boolean {
    return this.store.isEmpty
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

  private close(entry: TimelineEntry<A>, end: number): void {
    const { key, time } = entry
    // The window after it may be the one that ends at another record, which then is looked at for it.
    if (end === time || this.store.entry(key, end) === undefined) {
      const entries = this.contents(key, end)
      // With updates the last one is out already, unless the window closes in the slice that changed it.
      if (!this.updates || entries.some(this.isNew) || (end !== time && this.isNew(entry))) this.give(key, end, entries)
    }
    if (end !== time) this.store.remove(entry)
  }

  private readonly isNew = (entry: TimelineEntry<A>): boolean => this.store.isChanged(entry) && entry.stamp >= 0

  /** Ends of the open windows that hold an entry, and of the one right after it. */
  private addOpenEnds({ key, time }: TimelineEntry<A>, ends: Set<number>): void {
    const { store, closedUpTo } = this
    const { sizeMs } = this.windows
    const around = store.range(key, time - 1 - sizeMs, time + sizeMs)
    for (const other of around) {
      if (other.time >= time && other.time > closedUpTo) ends.add(other.time)
      const after = other.time + 1 + sizeMs
      if (other.time < time && after > closedUpTo) ends.add(after)
    }
    const own = time + 1 + sizeMs
    if (store.range(key, time + 1, own).length > 0) ends.add(own)
  }

  private contents(key: KeyText, end: number): TimelineEntry<A>[] {
    return this.store.range(key, end - this.windows.sizeMs, end)
  }

  private give(key: KeyText, end: number, entries: readonly TimelineEntry<A>[]): void {
    const first = entries[0]
    if (first === undefined) return
    const { serde } = this.aggregator
    let state = first.value as A
    // Copies of both: merge may change the one in place, and put parts of the other into it.
    if (entries.length > 1) state = copyOf(serde, state)
    for (let i = 1; i < entries.length; i++)
      state = this.aggregator.merge(state, copyOf(serde, (entries[i] as TimelineEntry<A>).value as A))
    this.emit(key, { start: end - this.windows.sizeMs, end }, state)
  }
}

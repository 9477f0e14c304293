import { DueHeap } from './due-heap.js'
import { Entry, EntryStore, type EntryStoreOptions } from './entry-store.js'
import type { KeyText } from './key.js'
import type { StoreSpec } from './store.js'

const NEVER = Number.POSITIVE_INFINITY

/** The value of one key at one time. */
export class TimelineEntry<V> extends Entry<V> {
  /** Where it stands in the heap; infinity where it does not, and what else the heap holds of it is out of date. */
  queuedAt = NEVER

  constructor(
    readonly line: Timeline<V>,
    readonly time: number,
  ) {
    super(undefined)
  }

  get key(): KeyText {
    return this.line.key
  }
}

/** All entries of one key, by time. Deleted ones stay in their place until the transaction ends. */
class Timeline<V> {
  readonly entries: TimelineEntry<V>[]

  constructor(
    readonly key: KeyText,
    time: number,
  ) {
    // A literal takes no more room than it has entries; most keys have one.
    this.entries = [new TimelineEntry<V>(this, time)]
  }

  /** Index of the first entry at `time` or later. */
  indexOf(time: number): number {
    const { entries } = this
    // Mostly asked for the newest.
    if (entries.length === 0 || (entries[entries.length - 1] as TimelineEntry<V>).time < time) return entries.length
    let low = 0
    let high = entries.length - 1
    while (low < high) {
      const middle = (low + high) >> 1
      if ((entries[middle] as TimelineEntry<V>).time < time) low = middle + 1
      else high = middle
    }
    return low
  }

  /** Takes out `count` entries without a value, the first of them at `from`. */
  sweep({ count, from }: Gone): void {
    const { entries } = this
    const first = this.indexOf(from)
    let run = first
    while (run < entries.length && (entries[run] as TimelineEntry<V>).value === undefined) run++
    if (run - first === count) entries.splice(first, count)
    else {
      let kept = first
      for (let i = run; i < entries.length; i++) {
        const entry = entries[i] as TimelineEntry<V>
        if (entry.value !== undefined) entries[kept++] = entry
      }
      entries.length = kept
    }
  }
}

interface Gone {
  count: number
  from: number
}

export interface TimelineStoreOptions<V> extends Omit<EntryStoreOptions<V>, 'timed'> {
  /**
   * The stream time at which an entry wants to be looked at next, when all up to `handled` has been: infinity for never. For an entry it may
   * change to later while nobody says so, to earlier only by `put`.
   */
  readonly due: (time: number, value: V, handled: number) => number
}

/**
 * Values by key and time, in order of time for each key, and what comes due by stream time.
 *
 * Where several values may be at one time of one key, the value is a list. Memory: about 150 bytes an entry and 100 a key beside keys and values. A commit costs
 * what changed, whatever the store holds.
 */
export class TimelineStore<V> extends EntryStore<V, TimelineEntry<V>> {
  private readonly lines = new Map<KeyText, Timeline<V>>()
  private readonly heap = new DueHeap<TimelineEntry<V>>()
  /** Taken from the heap in the open transaction; a rollback puts them back. */
  private seen: TimelineEntry<V>[] = []
  private readonly gone = new Map<Timeline<V>, Gone>()
  private readonly due: TimelineStoreOptions<V>['due']

  constructor(options: TimelineStoreOptions<V>) {
    super({ ...options, timed: true })
    this.due = options.due
  }

  /** The entry at just this time, if it has a value. */
  entry(key: KeyText, time: number): TimelineEntry<V> | undefined {
    const entry = this.find(key, time)
    return entry?.value === undefined ? undefined : entry
  }

  /** The entries of a key with a value, from `from` to `to`, both included, in order of time. */
  range(key: KeyText, from = Number.NEGATIVE_INFINITY, to = NEVER): TimelineEntry<V>[] {
    const line = this.lines.get(key)
    const found: TimelineEntry<V>[] = []
    if (line === undefined) return found
    const { entries } = line
    for (let i = line.indexOf(from); i < entries.length; i++) {
      const entry = entries[i] as TimelineEntry<V>
      if (entry.time > to) break
      if (entry.value !== undefined) found.push(entry)
    }
    return found
  }

  /** The last entry of a key with a value, not after `to`. */
  last(key: KeyText, to = NEVER): TimelineEntry<V> | undefined {
    const line = this.lines.get(key)
    if (line === undefined) return undefined
    const { entries } = line
    for (let i = line.indexOf(to); i >= 0; i--) {
      const entry = entries[i]
      if (entry !== undefined && entry.time <= to && entry.value !== undefined) return entry
    }
    return undefined
  }

  /** The value itself is not to be changed afterwards, unless by `edit`. */
  put(key: KeyText, time: number, value: V): TimelineEntry<V> {
    const entry = this.open(key, time)
    this.touch(entry, false)
    entry.value = value
    this.queue(entry, this.streamTime)
    return entry
  }

  /** Announces a change: the caller sets `value`, to something else or to the same object with other content. */
  edit(entry: TimelineEntry<V>): void {
    this.touch(entry, true)
  }

  /**
   * Hands out what is due at `streamTime`, earliest first, each with the time it was due. An entry that is neither deleted meanwhile nor
   * due later comes no more.
   */
  expire(streamTime: number, visit: (entry: TimelineEntry<V>, at: number) => void): void {
    const { heap } = this
    while (heap.next <= streamTime) {
      const at = heap.next
      const entry = heap.pop() as TimelineEntry<V>
      if (entry.queuedAt !== at) continue
      entry.queuedAt = NEVER
      this.seen.push(entry)
      if (entry.value === undefined) continue
      // It may have become due later since it was put here.
      if (this.due(entry.time, entry.value, at - 1) <= at) visit(entry, at)
      if (entry.value !== undefined && this.due(entry.time, entry.value, at) > at) this.queue(entry, at)
    }
  }

  /** The stream time at which something may come due next, or infinity. */
  get nextDue(): number {
    return this.heap.next
  }

  /** All keys there is something of, deleted in the open transaction included. */
  keys(): IterableIterator<KeyText> {
    return this.lines.keys()
  }

  /** Key and value of all there is. */
  *[Symbol.iterator](): IterableIterator<readonly [KeyText, V, time: number]> {
    for (const { key, entries } of this.lines.values()) {
      for (const { value, time } of entries) if (value !== undefined) yield [key, value, time]
    }
  }

  override commit(): void {
    super.commit()
    this.seen = []
  }

  override rollback(): void {
    const { changed } = this
    super.rollback()
    for (const entry of changed) if (entry.value !== undefined) this.queue(entry, this.streamTime)
    for (const entry of this.seen) if (entry.value !== undefined) this.queue(entry, this.streamTime)
    this.seen = []
  }

  override loaded(): void {
    this.heap.clear()
    for (const { entries } of this.lines.values()) {
      for (const entry of entries) {
        entry.queuedAt = NEVER
        this.queue(entry, this.streamTime)
      }
    }
  }

  protected *all(): IterableIterator<TimelineEntry<V>> {
    for (const { entries } of this.lines.values()) yield* entries
  }

  protected find(key: KeyText, time: number): TimelineEntry<V> | undefined {
    const line = this.lines.get(key)
    const entry = line?.entries[line.indexOf(time)]
    return entry?.time === time ? entry : undefined
  }

  protected open(key: KeyText, time: number): TimelineEntry<V> {
    let line = this.lines.get(key)
    if (line === undefined) {
      this.lines.set(key, (line = new Timeline<V>(key, time)))
      return line.entries[0] as TimelineEntry<V>
    }
    const { entries } = line
    const i = line.indexOf(time)
    const found = entries[i]
    if (found?.time === time) return found
    const entry = new TimelineEntry<V>(line, time)
    if (i === entries.length) entries.push(entry)
    else entries.splice(i, 0, entry)
    return entry
  }

  protected drop({ line, time }: TimelineEntry<V>): void {
    const gone = this.gone.get(line)
    if (gone === undefined) this.gone.set(line, { count: 1, from: time })
    else {
      gone.count++
      if (time < gone.from) gone.from = time
    }
  }

  protected override dropped(): void {
    if (this.gone.size === 0) return
    for (const [line, gone] of this.gone) {
      line.sweep(gone)
      if (line.entries.length === 0) this.lines.delete(line.key)
    }
    this.gone.clear()
    // Entries of the past can stand in the heap until their time: not more of them than there is else.
    if (this.heap.size > 1_000 && this.heap.size > 4 * this.size) this.loaded()
  }

  private queue(entry: TimelineEntry<V>, handled: number): void {
    const at = this.due(entry.time, entry.value as V, handled)
    if (at >= entry.queuedAt) return
    entry.queuedAt = at
    this.heap.push(at, entry)
  }
}

/** Values by key and time, looked up by stretches of time. */
export function timelineStore<V>(
  spec: { readonly name: string; readonly kind: string } & TimelineStoreOptions<V>,
): StoreSpec<TimelineStore<V>> {
  const { name, kind, version } = spec
  return { name, kind, version, create: () => new TimelineStore<V>(spec) }
}

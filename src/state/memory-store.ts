import { Due, NEVER, type DueItem } from './due.js'
import { Entry } from './entry.js'
import { EntryStore, type EntryStoreOptions } from './entry-store.js'
import type { KeyText } from './key.js'
import type { StoreSpec } from './store.js'

/** One key at one time. */
export class MemoryEntry<V> extends Entry<V> {
  constructor(
    readonly key: KeyText,
    readonly segment: Segment<V>,
    value: V | undefined,
  ) {
    super(value)
  }

  get time(): number {
    return this.segment.time
  }

  get seq(): number {
    return 0
  }
}

export class Segment<V> implements DueItem {
  readonly entries = new Map<KeyText, MemoryEntry<V>>()
  dueAt = NEVER
  constructor(readonly time: number) {}
}

/**
 * Values by key, and by time where the store is timed: a segment a time, so that a window is walked and dropped whole.
 *
 * Memory: about 130 bytes a key beside key and value. A commit costs what changed, whatever the store holds.
 */
export class MemoryStore<V> extends EntryStore<V, MemoryEntry<V>> {
  private readonly segments = new Map<number, Segment<V>>()
  private readonly due = new Due<Segment<V>>({ dueOf: ({ entries, time }) => (entries.size === 0 ? NEVER : time) })
  private last: Segment<V> | undefined

  get(key: KeyText, time = 0): V | undefined {
    return this.find(key, time)?.value
  }

  /** Not to be changed afterwards: a `put` keeps the object, and what it replaces is kept as it is. */
  put(key: KeyText, value: V, time = 0): void {
    const entry = this.open(key, time)
    this.touch(entry, false)
    entry.value = value
  }

  /** The entry to change: the caller sets `value`, to something else or to the same object with other content. */
  edit(key: KeyText, time = 0): MemoryEntry<V> {
    const entry = this.open(key, time)
    this.touch(entry, true)
    return entry
  }

  delete(key: KeyText, time = 0): boolean {
    const entry = this.find(key, time)
    if (entry?.value === undefined) return false
    this.remove(entry)
    return true
  }

  /** The highest time there is something at, minus infinity for none. Looks through all times. */
  get lastTime(): number {
    let last = Number.NEGATIVE_INFINITY
    for (const time of this.segments.keys()) if (time > last) last = time
    return last
  }

  /**
   * Hands out the times up to `upTo` there is something at, the earliest first, each with its entries, deleted ones included. The caller
   * removes what is in them.
   */
  expire(upTo: number, visit: (time: number, entries: Iterable<MemoryEntry<V>>) => void): void {
    for (let segment = this.due.take(upTo); segment !== undefined; segment = this.due.take(upTo))
      visit(segment.time, segment.entries.values())
  }

  override seal(): void {
    super.seal()
    this.due.seal()
  }

  override commit(): void {
    super.commit()
    this.due.commit(this.segments.size)
  }

  override rollback(): void {
    super.rollback()
    this.due.rollback(this.segments.size)
  }

  override loaded(): void {
    this.due.commit(this.segments.size)
  }

  /** Key and value of all there is. */
  *[Symbol.iterator](): IterableIterator<readonly [KeyText, V, time: number]> {
    for (const segment of this.segments.values()) {
      for (const { key, value } of segment.entries.values()) if (value !== undefined) yield [key, value, segment.time]
    }
  }

  protected *all(): IterableIterator<MemoryEntry<V>> {
    for (const { entries } of this.segments.values()) yield* entries.values()
  }

  protected find(key: KeyText, time: number): MemoryEntry<V> | undefined {
    const segment = this.last?.time === time ? this.last : this.segments.get(time)
    return segment?.entries.get(key)
  }

  protected open(key: KeyText, time: number): MemoryEntry<V> {
    const segment = this.last?.time === time ? this.last : this.segmentAt(time)
    let entry = segment.entries.get(key)
    if (entry === undefined) segment.entries.set(key, (entry = this.make(key, segment)))
    if (segment.dueAt === NEVER && this.options.timed) this.due.push(segment, time)
    return entry
  }

  protected make(key: KeyText, segment: Segment<V>): MemoryEntry<V> {
    return new MemoryEntry<V>(key, segment, undefined)
  }

  protected drop({ key, segment }: MemoryEntry<V>): void {
    segment.entries.delete(key)
    if (segment.entries.size > 0) return
    this.segments.delete(segment.time)
    if (this.last === segment) this.last = undefined
  }

  private segmentAt(time: number): Segment<V> {
    let segment = this.segments.get(time)
    if (segment === undefined) this.segments.set(time, (segment = new Segment<V>(time)))
    return (this.last = segment)
  }
}

/** A plain store: values by key, or by key and time. */
export function memoryStore<V>(spec: { readonly name: string; readonly kind: string } & EntryStoreOptions<V>): StoreSpec<MemoryStore<V>> {
  const { name, kind, version } = spec
  return { name, kind, version, create: () => new MemoryStore<V>(spec) }
}

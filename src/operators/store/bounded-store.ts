import { DueHeap } from '../../state/due-heap.js'
import type { EntryStoreOptions } from '../../state/entry-store.js'
import type { KeyText } from '../../state/key.js'
import { MemoryStore, type MemoryEntry } from '../../state/memory-store.js'
import { unseal, type Sealed } from './sealed.js'

export interface Bounds {
  /** Milliseconds an entry lives after it was last put. */
  readonly ttlMs: number | undefined
  /** What that time is counted by. */
  readonly by: 'event' | 'wall'
  readonly maxEntries: number | undefined
}

type Kept<V> = MemoryEntry<Sealed<V>>

/** Values by key that go when they are old, or too many: those put first, first. What goes is deleted like by hand, from the changelog too. */
export class BoundedStore<V> extends MemoryStore<Sealed<V>> {
  private readonly heap = new DueHeap<Kept<V>>()
  /** Taken from the heap in the open transaction; a rollback puts them back. */
  private taken: Kept<V>[] = []
  private count = 0
  /** How far the time that entries live by has come. */
  private clock = Number.NEGATIVE_INFINITY
  private committedClock = Number.NEGATIVE_INFINITY

  constructor(
    options: EntryStoreOptions<Sealed<V>>,
    private readonly bounds: Bounds,
  ) {
    super(options)
  }

  /** How many entries there are, as of now. */
  get present(): number {
    return this.count
  }

  get now(): number {
    return this.clock
  }

  /** The time is now `time`, or later; what has lived long enough goes. */
  tick(time: number): void {
    if (time <= this.clock) return
    this.clock = time
    const { ttlMs } = this.bounds
    if (ttlMs !== undefined) while (this.heap.next + ttlMs <= this.clock) this.evictFirst()
  }

  read(key: KeyText): V | undefined {
    return this.get(key)?.value
  }

  /** `at` is its time in life: an entry put with one that is over goes at once. */
  write(key: KeyText, value: V, at: number): void {
    const before = this.get(key)
    this.put(key, { value, at, sealed: undefined })
    if (before === undefined) this.count++
    const { ttlMs, maxEntries } = this.bounds
    if (ttlMs === undefined && maxEntries === undefined) return
    this.heap.push(at, this.find(key, 0) as Kept<V>)
    if (ttlMs !== undefined) while (this.heap.next + ttlMs <= this.clock) this.evictFirst()
    if (maxEntries !== undefined) while (this.count > maxEntries) this.evictFirst()
  }

  erase(key: KeyText): boolean {
    const was = this.delete(key)
    if (was) this.count--
    return was
  }

  override commit(): void {
    unseal(this)
    super.commit()
    this.taken = []
    this.committedClock = this.clock
    // Entries put again stand in the heap with their old time as well: not more of those than there is else.
    if (this.heap.size > 1_000 && this.heap.size > 4 * this.count) this.queueAll()
  }

  override rollback(): void {
    super.rollback()
    this.count = this.size
    this.clock = this.committedClock
    for (const entry of this.taken) if (entry.value !== undefined) this.heap.push(entry.value.at, entry)
    this.taken = []
  }

  override loaded(): void {
    super.loaded()
    this.count = this.size
    this.queueAll()
    if (this.bounds.by === 'wall') return
    for (const { value } of this.entriesAt()) if (value !== undefined && value.at > this.clock) this.clock = this.committedClock = value.at
  }

  protected override reveal({ value }: Sealed<V>): V {
    return value
  }

  private queueAll(): void {
    const { ttlMs, maxEntries } = this.bounds
    this.heap.clear()
    if (ttlMs === undefined && maxEntries === undefined) return
    for (const entry of this.entriesAt()) if (entry.value !== undefined) this.heap.push(entry.value.at, entry)
  }

  /** Takes the first of the heap out, and deletes what it stands for unless that was put again since. */
  private evictFirst(): void {
    const at = this.heap.next
    const entry = this.heap.pop() as Kept<V>
    this.taken.push(entry)
    if (entry.value?.at !== at) return
    this.remove(entry)
    this.count--
  }
}

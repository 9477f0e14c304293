import { Due, NEVER, type DueItem } from './due.js'
import type { EntryStoreOptions } from './entry-store.js'
import type { KeyText } from './key.js'
import { MemoryEntry, MemoryStore, type Segment } from './memory-store.js'

export interface DueValue {
  /** When it is due; infinity for never. */
  readonly at: number
  /** Which of one time was put first: see `nextOrder`. */
  readonly order: number
}

let puts = 0

/** A higher number for each value that is put, or read. */
export function nextOrder(): number {
  return ++puts
}

class DueEntry<V> extends MemoryEntry<V> implements DueItem {
  dueAt = NEVER
}

/** Values by key, each due at a time of its own. A value put in place of another costs no more than one that is new. */
export class DueStore<V extends DueValue> extends MemoryStore<V> {
  private readonly values = new Due<DueEntry<V>>({
    dueOf: ({ value }) => value?.at ?? NEVER,
    orderOf: ({ value }) => (value as V).order,
  })

  constructor(
    options: EntryStoreOptions<V>,
    /** False: nothing is ever asked to be due. */
    private readonly isDue = true,
  ) {
    super(options)
  }

  /** When there is something due, at the earliest; infinity for never. */
  get nextAt(): number {
    return this.values.next
  }

  override put(key: KeyText, value: V): void {
    super.put(key, value)
    if (this.isDue) this.values.push(this.find(key, 0) as DueEntry<V>, value.at)
  }

  /** Takes out the first that is due at `upTo` or before: of one time, the one that was put first. */
  take(upTo: number): V | undefined {
    const entry = this.values.take(upTo)
    if (entry === undefined) return undefined
    const value = entry.value as V
    this.remove(entry)
    return value
  }

  override seal(): void {
    super.seal()
    this.values.seal()
  }

  override commit(): void {
    super.commit()
    this.values.commit(this.size)
  }

  override rollback(): void {
    super.rollback()
    this.values.rollback(this.size)
  }

  override loaded(): void {
    super.loaded()
    if (!this.isDue) return
    this.values.clear()
    for (const entry of this.all() as Iterable<DueEntry<V>>) {
      entry.dueAt = NEVER
      if (entry.value !== undefined) this.values.push(entry, entry.value.at)
    }
  }

  protected override make(key: KeyText, segment: Segment<V>): DueEntry<V> {
    return new DueEntry<V>(key, segment, undefined)
  }
}

import { DueStore } from '../../state/due-store.js'
import type { EntryStoreOptions } from '../../state/entry-store.js'
import type { KeyText } from '../../state/key.js'
import { OpenValues, type StoredValue } from './stored-value.js'

export interface Bounds {
  /** Milliseconds an entry lives after it was last put. */
  readonly ttlMs: number | undefined
  /** What that time is counted by. */
  readonly by: 'event' | 'wall'
  readonly maxEntries: number | undefined
}

/**
 * Values by key that go when they are old, or too many: those put first, first. What goes is deleted like by hand, from the changelog too.
 *
 * The time that entries live by is the stream time of the store; that of events goes on the changelog, so that a restart does not set it
 * back.
 */
export class BoundedStore<V> extends DueStore<StoredValue<V>> {
  private readonly opened = new OpenValues<V>()
  private count = 0

  constructor(
    options: Omit<EntryStoreOptions<StoredValue<V>>, 'timed' | 'keepsTime'>,
    private readonly bounds: Bounds,
  ) {
    const byEvents = bounds.by === 'event'
    super(
      { ...options, timed: false, hasTimeKey: byEvents, keepsTime: byEvents && bounds.ttlMs !== undefined },
      bounds.ttlMs !== undefined || bounds.maxEntries !== undefined,
    )
  }

  /** How many entries there are, as of now. */
  get present(): number {
    return this.count
  }

  /** The time is now `time`, or later; what has lived long enough goes. */
  tick(time: number): void {
    if (time <= this.streamTime) return
    this.advance(time)
    this.evictOld()
  }

  read(key: KeyText): V | undefined {
    return this.opened.read(this.get(key))
  }

  /** An entry put with one that is over goes at once. */
  write(key: KeyText, value: StoredValue<V>): void {
    if (this.get(key) === undefined) this.count++
    this.put(key, this.opened.put(value))
    this.evictOld()
    const { maxEntries } = this.bounds
    if (maxEntries !== undefined) while (this.count > maxEntries) this.evict(Number.POSITIVE_INFINITY)
  }

  erase(key: KeyText): boolean {
    const was = this.delete(key)
    if (was) this.count--
    return was
  }

  override seal(): void {
    super.seal()
    this.opened.close()
  }

  override rollback(): void {
    super.rollback()
    this.opened.close()
    this.count = this.size
  }

  override loaded(): void {
    super.loaded()
    this.count = this.size
  }

  protected override reveal(value: StoredValue<V>): V {
    return value.copy()
  }

  private evictOld(): void {
    const { ttlMs } = this.bounds
    if (ttlMs !== undefined) while (this.evict(this.streamTime - ttlMs));
  }

  private evict(upTo: number): boolean {
    const taken = this.take(upTo) !== undefined
    if (taken) this.count--
    return taken
  }
}

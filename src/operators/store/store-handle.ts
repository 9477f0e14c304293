import { MillraceError, errorMessage } from '../../record/error.js'
import type { DeepReadonly } from '../../record/types.js'
import type { BoundedStore } from './bounded-store.js'
import { bytesOfKey, keyTextOf, type StoreKey } from '../../state/key.js'
import type { StoredForm, StoredValue } from './stored-value.js'
import type { TimedStore } from './timed-store.js'
import { isSpread } from '../../record/record-source.js'
import { unspread } from '../../record/record.js'
import type { SliceContext } from '../../runtime/context.js'

/**
 * A store, in the hands of user code, for the length of a slice. What it changes commits with the slice or is undone with it.
 *
 * What is put is stored as it is then. What comes out is not to be changed in place: put something new instead.
 */
export interface StoreHandle<V> {
  get(key: StoreKey): DeepReadonly<V> | undefined
  has(key: StoreKey): boolean
  put(key: StoreKey, value: V): void
  /** False where there was nothing. */
  delete(key: StoreKey): boolean
  /** Puts what the function makes of the value, or deletes where that is undefined; returns it. */
  update(key: StoreKey, change: (value: DeepReadonly<V> | undefined) => V | undefined): V | undefined
  /** All there is, in no order. */
  entries(): IterableIterator<readonly [key: Buffer, value: DeepReadonly<V>]>
  readonly size: number
}

/** The same of a store whose keys come with a time, in milliseconds since the epoch. */
export interface TimedStoreHandle<V> {
  get(key: StoreKey, time: number): DeepReadonly<V> | undefined
  put(key: StoreKey, time: number, value: V): void
  delete(key: StoreKey, time: number): boolean
  update(key: StoreKey, time: number, change: (value: DeepReadonly<V> | undefined) => V | undefined): V | undefined
  /** What a key has from `from` to `to`, both included, by time. */
  range(key: StoreKey, from?: number, to?: number): readonly (readonly [time: number, value: DeepReadonly<V>])[]
  /** The last of a key, not after `to`. */
  last(key: StoreKey, to?: number): readonly [time: number, value: DeepReadonly<V>] | undefined
}

/** What the operator does with a handle around user code. */
export interface OpenStore<H> {
  readonly handle: H
  /** A record is about to be handed to user code. */
  begin(timestamp: number): void
  /** User code is done with the slice. @throws MillraceError ENCODE_FAILED */
  end(): void
}

abstract class Guarded<V> {
  constructor(
    private readonly slice: SliceContext,
    protected readonly name: string,
    private readonly form: StoredForm<V>,
    private readonly changed: { readonly changedEntries: Iterable<{ readonly value: StoredValue<V> | undefined }> },
  ) {}

  end(): void {
    try {
      this.form.encodeChanged(this.changed.changedEntries)
    } catch (error) {
      throw this.refused(error)
    }
  }

  protected stored(value: V, at: number): StoredValue<V> {
    this.check()
    unspread(value, `store '${this.name}': what was put`)
    if (value === undefined || value === null)
      throw new MillraceError('ENCODE_FAILED', `store '${this.name}': ${String(value)} was put, which stands for nothing: use delete`)
    try {
      return this.form.put(value, at)
    } catch (error) {
      throw this.refused(error)
    }
  }

  private refused(error: unknown): MillraceError {
    if (isSpread(error) || (error instanceof MillraceError && error.code === 'LOSSY_SERDE')) return error
    return new MillraceError('ENCODE_FAILED', `store '${this.name}': a value cannot be kept as ${this.form.name}: ${errorMessage(error)}`, {
      cause: error,
    })
  }

  protected check(): void {
    if (!this.slice.closed) return
    throw new MillraceError(
      'OUTSIDE_SLICE',
      `store '${this.name}' was used after its slice had ended, from a timer or a promise nobody waited for: what it would change belongs to no transaction. Use it in the function given to withStore only`,
    )
  }
}

export class PlainHandle<V> extends Guarded<V> implements StoreHandle<V>, OpenStore<StoreHandle<V>> {
  readonly handle = this
  private at = 0

  constructor(
    slice: SliceContext,
    name: string,
    form: StoredForm<V>,
    private readonly store: BoundedStore<V>,
    /** Undefined: entries live by event time. */
    private readonly wall: (() => number) | undefined,
  ) {
    super(slice, name, form, store)
  }

  begin(timestamp: number): void {
    // A record without a time is one of now.
    this.at = this.wall === undefined ? (timestamp >= 0 ? timestamp : Math.max(0, this.store.streamTime)) : this.wall()
    this.store.tick(this.at)
  }

  get(key: StoreKey): DeepReadonly<V> | undefined {
    this.check()
    return this.store.read(keyTextOf(key)) as DeepReadonly<V> | undefined
  }

  has(key: StoreKey): boolean {
    this.check()
    return this.store.get(keyTextOf(key)) !== undefined
  }

  put(key: StoreKey, value: V): void {
    this.store.write(keyTextOf(key), this.stored(value, this.at))
  }

  delete(key: StoreKey): boolean {
    this.check()
    return this.store.erase(keyTextOf(key))
  }

  update(key: StoreKey, change: (value: DeepReadonly<V> | undefined) => V | undefined): V | undefined {
    const next = change(this.get(key))
    if (next === undefined) this.delete(key)
    else this.put(key, next)
    return next
  }

  *entries(): IterableIterator<readonly [Buffer, DeepReadonly<V>]> {
    this.check()
    for (const [key, value] of this.store) yield [bytesOfKey(key), value.copy() as DeepReadonly<V>]
  }

  get size(): number {
    this.check()
    return this.store.present
  }
}

export class TimedHandle<V> extends Guarded<V> implements TimedStoreHandle<V>, OpenStore<TimedStoreHandle<V>> {
  readonly handle = this

  constructor(
    slice: SliceContext,
    name: string,
    form: StoredForm<V>,
    private readonly store: TimedStore<V>,
    private readonly ttlMs: number | undefined,
  ) {
    super(slice, name, form, store)
  }

  begin(timestamp: number): void {
    const { store } = this
    if (timestamp <= store.streamTime || this.ttlMs === undefined) return
    store.advance(timestamp)
    this.expire()
  }

  get(key: StoreKey, time: number): DeepReadonly<V> | undefined {
    this.check()
    return this.read(this.store.entry(keyTextOf(key), this.timeOf(time))?.value)
  }

  put(key: StoreKey, time: number, value: V): void {
    this.store.put(keyTextOf(key), this.timeOf(time), this.store.opened.put(this.stored(value, time)))
    if (this.ttlMs !== undefined && this.store.nextDue <= this.store.streamTime) this.expire()
  }

  delete(key: StoreKey, time: number): boolean {
    this.check()
    const entry = this.store.entry(keyTextOf(key), this.timeOf(time))
    if (entry === undefined) return false
    this.store.remove(entry)
    return true
  }

  update(key: StoreKey, time: number, change: (value: DeepReadonly<V> | undefined) => V | undefined): V | undefined {
    const next = change(this.get(key, time))
    if (next === undefined) this.delete(key, time)
    else this.put(key, time, next)
    return next
  }

  range(key: StoreKey, from?: number, to?: number): (readonly [number, DeepReadonly<V>])[] {
    this.check()
    return this.store.range(keyTextOf(key), from, to).map(({ time, value }) => [time, this.read(value) as DeepReadonly<V>])
  }

  last(key: StoreKey, to?: number): readonly [number, DeepReadonly<V>] | undefined {
    this.check()
    const entry = this.store.last(keyTextOf(key), to)
    return entry === undefined ? undefined : [entry.time, this.read(entry.value) as DeepReadonly<V>]
  }

  private read(entry: StoredValue<V> | undefined): DeepReadonly<V> | undefined {
    return this.store.opened.read(entry) as DeepReadonly<V> | undefined
  }

  private expire(): void {
    this.store.expire(this.store.streamTime, (entry) => this.store.remove(entry))
  }

  private timeOf(time: number): number {
    if (Number.isSafeInteger(time)) return time
    throw new MillraceError(
      'INVALID_TIMESTAMP',
      `store '${this.name}': ${String(time)} is not a whole number of milliseconds since the epoch`,
    )
  }
}

import { readInt64, writeInt64 } from '../log/batch/header.js'
import { MillraceError } from '../record/error.js'
import { isLater, type AnySerde, type Serde } from '../record/serde.js'
import { atOnce } from './at-once.js'
import { cloneOf } from './clone.js'
import { copyOf, decodedAnew } from './copy.js'
import { Copied, Snapshot, Twice, oldOf, oldestOf, type Before, type Entry } from './entry.js'
import { encodeLater, encodeValue, migrated } from './entry-form.js'
import type { KeyText } from './key.js'
import type { ChangeWriter, Loading, QueryableStore, StoreExtent } from './store.js'

/** A transaction that goes to the log: what it changed can be undone until it is there. */
interface Sealed<E> {
  readonly changed: readonly E[]
  /** Of the changed entries, in their order, what they take from then on. */
  readonly written: readonly number[]
  readonly time: number
}

export interface EntryStoreOptions<V> {
  readonly serde: AnySerde<V>
  /** Keys come with a time, as those of windows do. */
  readonly timed: boolean
  /** One key may have several values of one time. */
  readonly numbered?: boolean
  /** The stream time goes on the changelog with the values. Default: where keys are timed. */
  readonly keepsTime?: boolean
  /** The form of keys has room for the stream time, whether it is kept or not. Default: where keys are timed. */
  readonly hasTimeKey?: boolean
  /** Turns the value of an older version into one of this. */
  readonly migrate?: ((value: unknown, version: number) => V) | undefined
  readonly version: number
}

const TIME_BYTES = 8
const SEQ_BYTES = 4
/**
 * Of the stream time. No other is empty: timed keys are never shorter than their time, and others get a byte in front where they could be
 * taken for it.
 */
const META_KEY = Buffer.alloc(0)
const ESCAPE = 0xff

/**
 * What stores of entries have in common: the undo of a transaction, and the form of the changelog. Where entries lie is up to the store.
 *
 * There are two generations of undo: while a transaction that was sealed goes to the log, the next one changes what it left.
 */
export abstract class EntryStore<V, E extends Entry<V>> implements QueryableStore {
  protected changed: E[] = []
  protected tx = 1
  /** The transaction before the open one, of which it is not known yet how it ends. */
  protected sealed: Sealed<E> | undefined
  private live = 0
  private bytes = 0
  /** The serde answers later. */
  readonly later: boolean
  /** Then, of the changed entries, in their order, what they are written as. */
  private prepared: (Uint8Array | string)[] = []
  /** Of the changed entries, in their order, what they take from now on. */
  private written: number[] = []
  private time = Number.NEGATIVE_INFINITY
  /** As the open transaction found it. */
  private openedAt = Number.NEGATIVE_INFINITY
  private committedTime = Number.NEGATIVE_INFINITY
  private scratch: Buffer = Buffer.allocUnsafe(256)
  private readonly keepsTime: boolean
  private readonly hasTimeKey: boolean
  /** So many bytes stand behind the key. */
  private readonly placeBytes: number

  constructor(protected readonly options: EntryStoreOptions<V>) {
    this.later = options.serde.async === true
    this.keepsTime = options.keepsTime ?? options.timed
    this.hasTimeKey = options.hasTimeKey ?? options.timed
    this.placeBytes = options.timed ? TIME_BYTES + (options.numbered === true ? SEQ_BYTES : 0) : 0
  }

  protected abstract find(key: KeyText, time: number, seq?: number): E | undefined
  /** The entry at this place, made where there is none. */
  protected abstract open(key: KeyText, time: number, seq: number): E
  /** Takes an entry without a value out. */
  protected abstract drop(entry: E): void
  /** All entries, deleted ones included. */
  protected abstract all(): Iterable<E>
  /** A value for somebody outside: what he does with it is not in the state. */
  protected reveal(value: V): unknown {
    return copyOf(this.options.serde, value)
  }
  /** Called after all that goes at once was dropped. */
  protected dropped(): void {}

  /** The highest event time seen; commits and rolls back like the values. */
  get streamTime(): number {
    return this.time
  }

  advance(time: number): void {
    if (time > this.time) this.time = time
  }

  /** Number of keys as of the last commit. */
  get size(): number {
    return this.live
  }

  get extent(): StoreExtent {
    return { keys: this.live, bytes: this.bytes }
  }

  /** Nothing is in it, and nothing was put in or taken out since the last commit. */
  get isEmpty(): boolean {
    return this.live === 0 && this.changed.length === 0 && (this.sealed?.changed.length ?? 0) === 0
  }

  /** The value as of the last commit: what a reader outside the pipeline may see. */
  committed(key: KeyText, time = 0): V | undefined {
    const entry = this.find(key, time)
    return entry === undefined ? undefined : this.asCommitted(entry)
  }

  get timed(): boolean {
    return this.options.timed
  }

  queried(key: KeyText, time: number): unknown {
    const value = this.committed(key, time)
    return value === undefined ? undefined : this.reveal(value)
  }

  *queriedEntries(): IterableIterator<readonly [KeyText, unknown, number]> {
    for (const entry of this.all()) {
      const value = this.asCommitted(entry)
      if (value !== undefined) yield [entry.key, this.reveal(value), entry.time]
    }
  }

  /** The entries changed in the open transaction, deleted ones included, in the order they were first touched. */
  get changedEntries(): readonly E[] {
    return this.changed
  }

  isChanged(entry: E): boolean {
    return entry.tx === this.tx
  }

  /** Deletes an entry. */
  remove(entry: E): void {
    if (entry.tx !== this.tx) this.remember(entry, entry.value)
    entry.value = undefined
  }

  get dirty(): boolean {
    return this.changed.length > 0 || (this.keepsTime && this.time !== this.openedAt)
  }

  prepare(): Promise<unknown> | undefined {
    if (!this.later || this.changed.length === 0) return undefined
    const { changed, prepared } = this
    const { serde } = this.options
    return atOnce(changed.length, async (i) => {
      const entry = changed[i] as E
      if (entry.value !== undefined) prepared[i] ??= await encodeLater(serde, entry)
    })
  }

  changes(write: ChangeWriter): void {
    const { serde } = this.options
    this.written = []
    for (const [i, entry] of this.changed.entries()) {
      if (entry.value !== undefined) {
        const key = this.keyBytes(entry)
        const value = this.later ? (this.prepared[i] as Uint8Array | string) : encodeValue(serde as Serde<V>, entry)
        write(key, value)
        this.written.push(key.length + value.length)
        continue
      }
      // What came and went within one transaction was never written.
      if (oldOf(entry) !== undefined) write(this.keyBytes(entry), null)
      this.written.push(0)
    }
    if (this.keepsTime && this.time !== this.openedAt) write(META_KEY, String(this.time))
  }

  seal(): void {
    this.sealed = { changed: this.changed, written: this.written, time: this.time }
    this.openedAt = this.time
    this.nextTransaction()
  }

  commit(): void {
    if (this.sealed === undefined) this.seal()
    const { changed, written, time } = this.sealed as Sealed<E>
    for (let i = 0; i < changed.length; i++) {
      const entry = changed[i] as E
      const bytes = written[i] ?? 0
      this.bytes += bytes - entry.bytes
      entry.bytes = bytes
      if (entry.tx === this.tx) {
        // The open transaction has changed it again: it can be undone to what this one made of it.
        const { older, old } = entry.old as Twice<V>
        entry.old = old
        this.recount(older !== undefined, old !== undefined)
        continue
      }
      this.recount(entry.old !== undefined, entry.value !== undefined)
      entry.old = undefined
      if (entry.value === undefined) this.drop(entry)
    }
    this.sealed = undefined
    this.committedTime = time
    this.dropped()
  }

  rollback(): void {
    for (const entry of this.changed) this.undo(entry)
    // What both have changed is already as it was before the first.
    for (const entry of this.sealed?.changed ?? []) if (entry.tx !== this.tx) this.undo(entry)
    this.sealed = undefined
    this.time = this.openedAt = this.committedTime
    this.nextTransaction()
    this.dropped()
  }

  load(key: Buffer, value: Buffer | null, version: number): Loading {
    const { serde } = this.options
    if (value === null || (this.hasTimeKey && key.length === 0)) {
      if (this.later) return () => this.apply(key, value, undefined, version)
      return this.apply(key, value, undefined, version)
    }
    const decoded = serde.decode(value)
    if (!this.later) return this.apply(key, value, decoded as V, version)
    return isLater(decoded)
      ? decoded.then((found) => () => this.apply(key, value, found, version))
      : () => this.apply(key, value, decoded, version)
  }

  loaded(): void {}

  private apply(key: Buffer, value: Buffer | null, decoded: V | undefined, version: number): void {
    const { timed, numbered, migrate } = this.options
    if (this.hasTimeKey && key.length === 0) {
      if (value !== null) this.time = this.openedAt = this.committedTime = Number(value.toString('latin1'))
      return
    }
    const end = key.length - this.placeBytes
    if (end < 0) throw new MillraceError('CORRUPT_STATE', `a key of ${key.length} bytes has no room for a time`)
    const text = key.toString('latin1', !timed && this.hasTimeKey && key[0] === ESCAPE ? 1 : 0, end)
    const time = timed ? readInt64(key, end) : 0
    const seq = numbered === true ? key.readUInt32BE(end + TIME_BYTES) : 0
    if (value === null) {
      const entry = this.find(text, time, seq)
      if (entry === undefined) return
      entry.value = undefined
      this.bytes -= entry.bytes
      this.drop(entry)
      this.dropped()
      this.live--
      return
    }
    const current = version === this.options.version ? (decoded as V) : migrated(decoded, version, this.options.version, migrate)
    const entry = this.open(text, time, seq)
    if (entry.value === undefined) this.live++
    entry.value = current
    this.bytes += key.length + value.length - entry.bytes
    entry.bytes = key.length + value.length
  }

  /** The entry is about to get another value: something else, where `inPlace` also the same object with other content. */
  protected touch(entry: E, inPlace: boolean): void {
    if (entry.tx === this.tx) return
    const { value } = entry
    if (!inPlace || typeof value !== 'object' || value === null) return this.remember(entry, value)
    const { serde } = this.options
    this.remember(entry, serde.async === true ? new Copied(cloneOf(value)) : new Snapshot(serde.encode(value)))
  }

  /** What it was at the last commit. */
  private asCommitted(entry: E): V | undefined {
    const { tx } = entry
    return tx === this.tx || (tx === this.tx - 1 && this.sealed !== undefined) ? this.before(entry) : entry.value
  }

  private before(entry: E): V | undefined {
    const old = oldestOf(entry)
    if (old instanceof Copied) return old.value
    if (!(old instanceof Snapshot)) return old
    const { encoded } = old
    return encoded === null ? undefined : decodedAnew(this.options.serde as Serde<V>, encoded)
  }

  private remember(entry: E, old: Before<V>): void {
    entry.old = this.sealed !== undefined && entry.tx === this.tx - 1 ? new Twice(entry.old as Before<V>, old) : old
    entry.tx = this.tx
    entry.stamp = Number.NEGATIVE_INFINITY
    this.changed.push(entry)
  }

  private undo(entry: E): void {
    entry.value = this.before(entry)
    entry.old = undefined
    if (entry.value === undefined) this.drop(entry)
  }

  private recount(was: boolean, is: boolean): void {
    if (was !== is) this.live += was ? -1 : 1
  }

  private nextTransaction(): void {
    this.changed = []
    this.written = []
    this.prepared = []
    this.tx++
  }

  /** Valid until the next call: the writer copies it. */
  private keyBytes({ key, time, seq }: E): Uint8Array {
    const most = 1 + key.length + this.placeBytes
    if (this.scratch.length < most) this.scratch = Buffer.allocUnsafe(2 * most)
    const { scratch } = this
    let end = 0
    if (this.hasTimeKey && !this.options.timed && (key.length === 0 || key.charCodeAt(0) === ESCAPE)) scratch[end++] = ESCAPE
    end += scratch.write(key, end, 'latin1')
    if (this.options.timed) {
      writeInt64(scratch, end, time)
      end += TIME_BYTES
      if (this.options.numbered === true) end = scratch.writeUInt32BE(seq, end)
    }
    return scratch.subarray(0, end)
  }
}

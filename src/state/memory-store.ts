import { writeInt64, readInt64 } from '../log/batch/header.js'
import type { Serde } from '../record/serde.js'
import { MillraceError } from '../record/error.js'
import type { KeyText } from './key.js'
import type { ChangeWriter, StoreSpec, TaskStore } from './store.js'

/** A value as it was, encoded: user code may since have changed the object itself. */
class Snapshot {
  readonly encoded: Buffer | string | null

  constructor(encoded: Uint8Array | string | null) {
    // A serde of bytes hands out the very bytes that are about to change.
    this.encoded = encoded instanceof Uint8Array ? Buffer.from(encoded) : encoded
  }
}

/** One key at one time. `value` is undefined where it is deleted; such an entry goes with the commit. */
export class Entry<V> {
  /** What it was at the last commit; means something only while `tx` is the open transaction's. */
  old: V | Snapshot | undefined = undefined
  tx = 0
  /** Highest event time put into it in the open transaction. */
  stamp = 0

  constructor(
    readonly key: KeyText,
    readonly segment: Segment<V>,
    public value: V | undefined,
  ) {}
}

class Segment<V> {
  readonly entries = new Map<KeyText, Entry<V>>()
  constructor(readonly time: number) {}
}

export interface MemoryStoreOptions<V> {
  readonly serde: Serde<V>
  /** Keys come with a time, as those of windows do. */
  readonly timed: boolean
  /** Turns the value of an older version into one of this. */
  readonly migrate?: ((value: unknown, version: number) => V) | undefined
  readonly version: number
}

const TIME_BYTES = 8
/** Timed keys are never shorter than their time, so the empty key is free for the stream time. */
const META_KEY = Buffer.alloc(0)

/**
 * Values by key, and by time where the store is timed: a segment a time, so that a window is walked and dropped whole.
 *
 * Memory: about 130 bytes a key beside key and value. A commit costs what changed, whatever the store holds.
 */
export class MemoryStore<V> implements TaskStore {
  private readonly segments = new Map<number, Segment<V>>()
  private last: Segment<V> | undefined
  private changed: Entry<V>[] = []
  private tx = 1
  private live = 0
  private time = Number.NEGATIVE_INFINITY
  private committedTime = Number.NEGATIVE_INFINITY
  private scratch = Buffer.allocUnsafe(256)

  constructor(private readonly options: MemoryStoreOptions<V>) {}

  /** The highest event time seen; commits and rolls back like the values. */
  get streamTime(): number {
    return this.time
  }

  advance(time: number): void {
    if (time > this.time) this.time = time
  }

  get(key: KeyText, time = 0): V | undefined {
    return this.find(key, time)?.value
  }

  /** Not to be changed afterwards: a `put` keeps the object, and what it replaces is kept as it is. */
  put(key: KeyText, value: V, time = 0): void {
    const entry = this.open(key, time)
    if (entry.tx !== this.tx) this.remember(entry, entry.value)
    entry.value = value
  }

  /** The entry to change: the caller sets `value`, to something else or to the same object with other content. */
  edit(key: KeyText, time = 0): Entry<V> {
    const entry = this.open(key, time)
    if (entry.tx !== this.tx) {
      const { value } = entry
      this.remember(entry, typeof value === 'object' && value !== null ? new Snapshot(this.options.serde.encode(value)) : value)
    }
    return entry
  }

  delete(key: KeyText, time = 0): boolean {
    const entry = this.find(key, time)
    if (entry?.value === undefined) return false
    this.remove(entry)
    return true
  }

  /** Deletes an entry that `entriesAt` or `edit` gave. */
  remove(entry: Entry<V>): void {
    if (entry.tx !== this.tx) this.remember(entry, entry.value)
    entry.value = undefined
  }

  /** All times there is something at, in no order. */
  times(): IterableIterator<number> {
    return this.segments.keys()
  }

  /** The entries at a time, deleted ones included, oldest first. */
  entriesAt(time = 0): Iterable<Entry<V>> {
    return this.segments.get(time)?.entries.values() ?? []
  }

  /** The entries changed in the open transaction, deleted ones included, in the order they were first touched. */
  get changedEntries(): readonly Entry<V>[] {
    return this.changed
  }

  isChanged(entry: Entry<V>): boolean {
    return entry.tx === this.tx
  }

  /** Key and value of all there is. */
  *[Symbol.iterator](): IterableIterator<readonly [KeyText, V, time: number]> {
    for (const segment of this.segments.values()) {
      for (const { key, value } of segment.entries.values()) if (value !== undefined) yield [key, value, segment.time]
    }
  }

  /** Number of keys as of the last commit. */
  get size(): number {
    return this.live
  }

  /** The value as of the last commit: what a reader outside the pipeline may see. */
  committed(key: KeyText, time = 0): V | undefined {
    const entry = this.find(key, time)
    if (entry === undefined || entry.tx !== this.tx) return entry?.value
    return this.before(entry)
  }

  get dirty(): boolean {
    return this.changed.length > 0 || this.time !== this.committedTime
  }

  changes(write: ChangeWriter): void {
    const { serde } = this.options
    for (const entry of this.changed) {
      if (entry.value !== undefined) write(this.keyBytes(entry), encodeValue(serde, entry))
      // What came and went within one transaction was never written.
      else if (entry.old !== undefined) write(this.keyBytes(entry), null)
    }
    if (this.options.timed && this.time !== this.committedTime) write(META_KEY, String(this.time))
  }

  commit(): void {
    for (const entry of this.changed) {
      const was = entry.old !== undefined
      entry.old = undefined
      if (entry.value === undefined) this.drop(entry)
      if (was !== (entry.value !== undefined)) this.live += was ? -1 : 1
    }
    this.endTransaction()
    this.committedTime = this.time
  }

  rollback(): void {
    for (const entry of this.changed) {
      entry.value = this.before(entry)
      entry.old = undefined
      if (entry.value === undefined) this.drop(entry)
    }
    this.endTransaction()
    this.time = this.committedTime
  }

  load(key: Buffer, value: Buffer | null, version: number): void {
    const { timed, serde, migrate } = this.options
    if (timed && key.length === 0) {
      if (value !== null) this.time = this.committedTime = Number(value.toString('latin1', ))
      return
    }
    if (timed && key.length < TIME_BYTES) throw new MillraceError('CORRUPT_STATE', `a key of ${key.length} bytes has no room for a time`)
    const end = timed ? key.length - TIME_BYTES : key.length
    const text = key.toString('latin1', 0, end)
    const time = timed ? readInt64(key, end) : 0
    if (value === null) {
      const entry = this.find(text, time)
      if (entry === undefined) return
      this.drop(entry)
      this.live--
      return
    }
    const decoded = serde.decode(value)
    const current = version === this.options.version ? decoded : migrated(decoded, version, this.options.version, migrate)
    const segment = this.segmentAt(time)
    const entry = segment.entries.get(text)
    if (entry !== undefined) entry.value = current
    else {
      segment.entries.set(text, new Entry(text, segment, current))
      this.live++
    }
  }

  loaded(): void {}

  private before(entry: Entry<V>): V | undefined {
    const { old } = entry
    if (!(old instanceof Snapshot)) return old
    const { encoded } = old
    return encoded === null ? undefined : this.options.serde.decode(typeof encoded === 'string' ? Buffer.from(encoded, 'utf8') : encoded)
  }

  private find(key: KeyText, time: number): Entry<V> | undefined {
    const segment = this.last?.time === time ? this.last : this.segments.get(time)
    return segment?.entries.get(key)
  }

  private open(key: KeyText, time: number): Entry<V> {
    const segment = this.last?.time === time ? this.last : this.segmentAt(time)
    let entry = segment.entries.get(key)
    if (entry === undefined) segment.entries.set(key, (entry = new Entry<V>(key, segment, undefined)))
    return entry
  }

  private segmentAt(time: number): Segment<V> {
    let segment = this.segments.get(time)
    if (segment === undefined) this.segments.set(time, (segment = new Segment<V>(time)))
    return (this.last = segment)
  }

  private remember(entry: Entry<V>, old: V | Snapshot | undefined): void {
    entry.old = old
    entry.tx = this.tx
    entry.stamp = Number.NEGATIVE_INFINITY
    this.changed.push(entry)
  }

  private drop({ key, segment }: Entry<V>): void {
    segment.entries.delete(key)
    if (segment.entries.size > 0) return
    this.segments.delete(segment.time)
    if (this.last === segment) this.last = undefined
  }

  private endTransaction(): void {
    this.changed = []
    this.tx++
  }

  /** Valid until the next call: the writer copies it. */
  private keyBytes({ key, segment }: Entry<V>): Uint8Array {
    if (this.scratch.length < key.length + TIME_BYTES) this.scratch = Buffer.allocUnsafe(2 * (key.length + TIME_BYTES))
    const { scratch } = this
    let end = scratch.write(key, 0, 'latin1')
    if (this.options.timed) {
      writeInt64(scratch, end, segment.time)
      end += TIME_BYTES
    }
    return scratch.subarray(0, end)
  }
}

function migrated<V>(value: unknown, from: number, to: number, migrate: ((value: unknown, version: number) => V) | undefined): V {
  if (from > to) throw new MillraceError('STATE_MISMATCH', `the changelog holds state of version ${from}, this program knows versions up to ${to}: run the newer program, or start with another name`)
  if (migrate === undefined) {
    throw new MillraceError('STATE_MISMATCH', `the changelog holds state of version ${from}, this program's is ${to}: give a migrate function that makes one of the other, or start with another name`)
  }
  return migrate(value, from)
}

function encodeValue<V>(serde: Serde<V>, { key, value }: Entry<V>): Uint8Array | string {
  const encoded = serde.encode(value as V)
  if (encoded === null) throw new MillraceError('ENCODE_FAILED', `the state of key '${key}' was encoded by ${serde.name} as null, which means deleted: delete it instead`)
  return encoded
}

/** A plain store: values by key, or by key and time. */
export function memoryStore<V>(spec: { readonly name: string; readonly kind: string } & MemoryStoreOptions<V>): StoreSpec<MemoryStore<V>> {
  const { name, kind, version } = spec
  return { name, kind, version, create: () => new MemoryStore<V>(spec) }
}

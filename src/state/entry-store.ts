import { readInt64, writeInt64 } from '../log/batch/header.js'
import { MillraceError, errorMessage } from '../record/error.js'
import { kindOf } from '../record/kind-of.js'
import { isLater, type AnySerde, type Serde, type Written } from '../record/serde.js'
import { atOnce } from './at-once.js'
import { cloneOf } from './clone.js'
import { copyOf, decodedAnew } from './copy.js'
import type { KeyText } from './key.js'
import type { ChangeWriter, Loading, QueryableStore, StoreExtent } from './store.js'

/** A value as it was, encoded: user code may since have changed the object itself. */
class Snapshot {
  readonly encoded: Buffer | string | null

  constructor(encoded: Uint8Array | string | null) {
    // A serde of bytes hands out the very bytes that are about to change.
    this.encoded = encoded instanceof Uint8Array ? Buffer.from(encoded) : encoded
  }
}

/** The same where its serde answers later: a copy. */
class Copied<V> {
  constructor(readonly value: V) {}
}

/** One value of a store. It is undefined where it is deleted; such an entry goes with the commit. */
export abstract class Entry<V> {
  abstract readonly key: KeyText
  abstract readonly time: number
  /** Tells those of one key and time apart, where there are several. */
  abstract readonly seq: number
  /** What it was at the last commit; means something only while `tx` is the open transaction's. */
  old: V | Snapshot | Copied<V> | undefined = undefined
  tx = 0
  /** How many bytes key and value take on the changelog, as of the last commit. */
  bytes = 0
  /** Highest event time put into it in the open transaction. */
  stamp = 0

  constructor(public value: V | undefined) {}
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
 */
export abstract class EntryStore<V, E extends Entry<V>> implements QueryableStore {
  protected changed: E[] = []
  protected tx = 1
  private live = 0
  private bytes = 0
  /** The serde answers later. */
  readonly later: boolean
  /** Then, of the changed entries, in their order, what they are written as. */
  private prepared: (Uint8Array | string)[] = []
  /** Of the changed entries, in their order, what they take from now on. */
  private written: number[] = []
  private time = Number.NEGATIVE_INFINITY
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

  /** Nothing is in it, and nothing was put in or taken out in the open transaction. */
  get isEmpty(): boolean {
    return this.live === 0 && this.changed.length === 0
  }

  /** The value as of the last commit: what a reader outside the pipeline may see. */
  committed(key: KeyText, time = 0): V | undefined {
    const entry = this.find(key, time)
    if (entry === undefined || entry.tx !== this.tx) return entry?.value
    return this.before(entry)
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
      const value = entry.tx === this.tx ? this.before(entry) : entry.value
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
    return this.changed.length > 0 || (this.keepsTime && this.time !== this.committedTime)
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
      if (entry.old !== undefined) write(this.keyBytes(entry), null)
      this.written.push(0)
    }
    if (this.keepsTime && this.time !== this.committedTime) write(META_KEY, String(this.time))
  }

  commit(): void {
    const { changed, written } = this
    for (let i = 0; i < changed.length; i++) {
      const entry = changed[i] as E
      const bytes = written[i] ?? 0
      this.bytes += bytes - entry.bytes
      entry.bytes = bytes
      const was = entry.old !== undefined
      entry.old = undefined
      if (entry.value === undefined) this.drop(entry)
      if (was !== (entry.value !== undefined)) this.live += was ? -1 : 1
    }
    this.committedTime = this.time
    this.endTransaction()
  }

  rollback(): void {
    for (const entry of this.changed) {
      entry.value = this.before(entry)
      entry.old = undefined
      if (entry.value === undefined) this.drop(entry)
    }
    this.time = this.committedTime
    this.endTransaction()
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
      if (value !== null) this.time = this.committedTime = Number(value.toString('latin1'))
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

  private before(entry: E): V | undefined {
    const { old } = entry
    if (old instanceof Copied) return old.value
    if (!(old instanceof Snapshot)) return old
    const { encoded } = old
    return encoded === null ? undefined : decodedAnew(this.options.serde as Serde<V>, encoded)
  }

  private remember(entry: E, old: V | Snapshot | Copied<V> | undefined): void {
    entry.old = old
    entry.tx = this.tx
    entry.stamp = Number.NEGATIVE_INFINITY
    this.changed.push(entry)
  }

  private endTransaction(): void {
    this.changed = []
    this.written = []
    this.prepared = []
    this.tx++
    this.dropped()
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

function migrated<V>(value: unknown, from: number, to: number, migrate: ((value: unknown, version: number) => V) | undefined): V {
  if (from > to)
    throw new MillraceError(
      'STATE_MISMATCH',
      `the changelog holds state of version ${from}, this program knows versions up to ${to}: run the newer program, or start with another name`,
    )
  if (migrate === undefined) {
    throw new MillraceError(
      'STATE_MISMATCH',
      `the changelog holds state of version ${from}, this program's is ${to}: give a migrate function that makes one of the other, or start with another name`,
    )
  }
  return migrate(value, from)
}

function encodeValue<V>(serde: Serde<V>, entry: Entry<V>): Uint8Array | string {
  let encoded: Written | undefined
  try {
    encoded = serde.encode(entry.value as V)
  } catch (error) {
    throw notKept(serde.name, entry, error)
  }
  return asKept(serde.name, entry, encoded)
}

async function encodeLater<V>(serde: AnySerde<V>, entry: Entry<V>): Promise<Uint8Array | string> {
  let encoded: Written | undefined
  try {
    encoded = await serde.encode(entry.value as V)
  } catch (error) {
    throw notKept(serde.name, entry, error)
  }
  return asKept(serde.name, entry, encoded)
}

function notKept(name: string, { key }: Entry<unknown>, error: unknown): MillraceError {
  if (error instanceof MillraceError) return error
  return new MillraceError('ENCODE_FAILED', `${stateOf(key)} cannot be kept as ${name}: ${errorMessage(error)}`, { cause: error })
}

function asKept(name: string, { key }: Entry<unknown>, encoded: Written | undefined): Uint8Array | string {
  if (typeof encoded === 'string' || encoded instanceof Uint8Array) return encoded
  throw new MillraceError(
    'ENCODE_FAILED',
    encoded === null || encoded === undefined
      ? `${stateOf(key)} was encoded by ${name} as ${String(encoded)}, which means deleted: delete it instead`
      : `${stateOf(key)} was encoded by ${name} as ${kindOf(encoded)}, not bytes or text: a serde that answers later says so (async: true)`,
  )
}

function stateOf(key: KeyText): string {
  return `the state of key '${Buffer.from(key, 'latin1').toString('utf8')}'`
}

import { readInt64, writeInt64 } from '../../log/batch/header.js'
import type { Serde } from '../../record/serde.js'
import { isShared } from '../../state/copy.js'
import { nextOrder, type DueValue } from '../../state/due-store.js'

/**
 * A value of user code in a store. An object is kept encoded, from when it is put: what somebody does with the object, or with one that
 * was handed out, is not in it. A plain value is kept as it is.
 */
export class StoredValue<V> implements DueValue {
  readonly order = nextOrder()
  private readonly plain: boolean
  private held: V | undefined

  constructor(
    plain: V | undefined,
    /** When it was put, by the clock its life is counted on. */
    readonly at: number,
    /** Of a plain value from the end of its slice to the commit: what cannot be stored fails its slice, not the commit. */
    public encoded: Buffer | undefined,
    private readonly serde: StoredValueSerde<V>,
  ) {
    this.held = plain
    this.plain = plain !== undefined
  }

  get isOpen(): boolean {
    return this.held !== undefined
  }

  /** An object is made once and handed out each time, until `close`. */
  get value(): V {
    return (this.held ??= this.copy())
  }

  /** A value of one's own. */
  copy(): V {
    return this.plain ? (this.held as V) : this.serde.open(this.encoded as Buffer)
  }

  /** The transaction is over, what was handed out in it may have been changed. */
  close(): void {
    if (this.plain) this.encoded = undefined
    else this.held = undefined
  }
}

/** The values that were handed out or put in the open transaction, as far as something is to be done at its end. */
export class OpenValues<V> {
  private open: StoredValue<V>[] = []

  read(entry: StoredValue<V> | undefined): V | undefined {
    if (entry === undefined) return undefined
    if (!entry.isOpen) this.open.push(entry)
    return entry.value
  }

  put(entry: StoredValue<V>): StoredValue<V> {
    if (entry.isOpen) this.open.push(entry)
    return entry
  }

  close(): void {
    for (const entry of this.open) entry.close()
    this.open = []
  }
}

const AT_BYTES = 8

/** Values with the time they were put at, in front; `stamped` false leaves that out, where the key has it. */
export class StoredValueSerde<V> implements Serde<StoredValue<V>> {
  readonly name: string
  private readonly from: number

  constructor(
    private readonly serde: Serde<V>,
    private readonly stamped: boolean,
  ) {
    this.name = serde.name
    this.from = stamped ? AT_BYTES : 0
  }

  /** @throws what encoding throws */
  put(value: V, at: number): StoredValue<V> {
    return isShared(value)
      ? new StoredValue<V>(undefined, at, this.bytesOf(value, at), this)
      : new StoredValue<V>(value, at, undefined, this)
  }

  encode(entry: StoredValue<V>): Buffer {
    return entry.encoded ?? this.bytesOf(entry.value, entry.at)
  }

  /** @throws what decoding throws: what cannot be read is to be noticed at the restore */
  decode(bytes: Buffer): StoredValue<V> {
    const value = this.serde.decode(bytes.subarray(this.from))
    const at = this.stamped ? readInt64(bytes, 0) : 0
    return isShared(value) ? new StoredValue<V>(undefined, at, Buffer.from(bytes), this) : new StoredValue<V>(value, at, undefined, this)
  }

  open(encoded: Buffer): V {
    // A copy, as a serde of bytes hands out the very bytes.
    return this.serde.decode(Buffer.from(encoded.subarray(this.from)))
  }

  private bytesOf(value: V, at: number): Buffer {
    const { serde, from } = this
    const encoded = serde.encode(value)
    if (encoded === null || encoded === undefined)
      throw new TypeError(`${serde.name} makes null of the value, which stands for a deleted one: use delete`)
    const size = typeof encoded === 'string' ? Buffer.byteLength(encoded, 'utf8') : encoded.length
    const bytes = Buffer.allocUnsafe(from + size)
    if (this.stamped) writeInt64(bytes, 0, at)
    if (typeof encoded === 'string') bytes.write(encoded, from, 'utf8')
    else bytes.set(encoded, from)
    return bytes
  }
}

interface HoldsStored<V> {
  readonly changedEntries: Iterable<{ readonly value: StoredValue<V> | undefined }>
}

/** Encodes what changed, at the end of a slice. @throws what encoding throws */
export function encodeChanged<V>({ changedEntries }: HoldsStored<V>, serde: StoredValueSerde<V>): void {
  for (const { value } of changedEntries) if (value !== undefined) value.encoded ??= serde.encode(value)
}

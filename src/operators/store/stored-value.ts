import { readInt64, writeInt64 } from '../../log/batch/header.js'
import { MillraceError } from '../../record/error.js'
import type { AnySerde, AsyncSerde, Serde, Written } from '../../record/serde.js'
import { cloneOf } from '../../state/clone.js'
import { isShared } from '../../state/copy.js'
import { nextOrder, type DueValue } from '../../state/due-store.js'
import { bytesOfKey, keyOfBytes, type KeyText } from '../../state/key.js'

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
    /**
     * Of an object a character a byte: a buffer that stays for long would keep the pool it lies in. Of a plain value the bytes, from the end of
     * its slice to the commit: what cannot be stored fails its slice, not the commit.
     */
    public encoded: KeyText | Buffer | undefined,
    private readonly form: StoredForm<V>,
    /** An object whose serde answers later is kept as it is. */
    private readonly kept?: V,
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
    if (this.plain) return this.held as V
    return this.kept === undefined ? this.form.open(this.encoded as KeyText) : cloneOf(this.kept)
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

/** How stored values are made, kept and written. */
export interface StoredForm<V> {
  readonly name: string
  readonly serde: AnySerde<StoredValue<V>>
  /** @throws what encoding throws */
  put(value: V, at: number): StoredValue<V>
  /** Of what was put encoded. */
  open(encoded: KeyText): V
  /** Encodes what changed, at the end of a slice, if that can be done at once. @throws what encoding throws */
  encodeChanged(changed: Iterable<{ readonly value: StoredValue<V> | undefined }>): void
}

/** Values with the time they were put at, in front; `stamped` false leaves that out, where the key has it. */
class StoredAtOnce<V> implements StoredForm<V>, Serde<StoredValue<V>> {
  readonly name: string
  readonly serde = this
  private readonly from: number

  constructor(
    private readonly values: Serde<V>,
    private readonly stamped: boolean,
  ) {
    this.name = values.name
    this.from = stamped ? AT_BYTES : 0
  }

  /** @throws what encoding throws */
  put(value: V, at: number): StoredValue<V> {
    return isShared(value)
      ? new StoredValue<V>(undefined, at, keyOfBytes(this.bytesOf(value, at)), this)
      : new StoredValue<V>(value, at, undefined, this)
  }

  encode(entry: StoredValue<V>): Buffer {
    const { encoded } = entry
    if (typeof encoded === 'string') return bytesOfKey(encoded)
    return encoded ?? this.bytesOf(entry.value, entry.at)
  }

  /** @throws what decoding throws: what cannot be read is to be noticed at the restore */
  decode(bytes: Buffer): StoredValue<V> {
    const value = this.values.decode(bytes.subarray(this.from))
    const at = this.stamped ? readInt64(bytes, 0) : 0
    return isShared(value) ? new StoredValue<V>(undefined, at, keyOfBytes(bytes), this) : new StoredValue<V>(value, at, undefined, this)
  }

  open(encoded: KeyText): V {
    return this.values.decode(bytesOfKey(encoded).subarray(this.from))
  }

  encodeChanged(changed: Iterable<{ readonly value: StoredValue<V> | undefined }>): void {
    for (const { value } of changed) if (value !== undefined) value.encoded ??= this.encode(value)
  }

  private bytesOf(value: V, at: number): Buffer {
    return written(this.name, this.values.encode(value), this.stamped ? at : undefined)
  }
}

/** The same with a serde that answers later: values are kept as copies, and encoded when the slice is over. */
class StoredLater<V> implements StoredForm<V> {
  readonly name: string
  readonly serde: AsyncSerde<StoredValue<V>>

  constructor(values: AsyncSerde<V>, stamped: boolean) {
    const { name } = values
    this.name = name
    this.serde = {
      name,
      async: true,
      encode: async (entry) => written(name, await values.encode(entry.copy()), stamped ? entry.at : undefined),
      decode: async (bytes) => {
        const at = stamped ? readInt64(bytes, 0) : 0
        return this.made(await values.decode(bytes.subarray(stamped ? AT_BYTES : 0)), at)
      },
    }
  }

  put(value: V, at: number): StoredValue<V> {
    return this.made(cloneOf(value), at)
  }

  open(): V {
    throw new MillraceError('CORRUPT_STATE', 'a value that is kept as it is was looked for as bytes')
  }

  encodeChanged(): void {}

  /** Of a value nobody else has. */
  private made(value: V, at: number): StoredValue<V> {
    return isShared(value) ? new StoredValue<V>(undefined, at, undefined, this, value) : new StoredValue<V>(value, at, undefined, this)
  }
}

/** `stamped` false leaves the time they were put at out, where the key has it. */
export function storedForm<V>(values: AnySerde<V>, stamped: boolean): StoredForm<V> {
  return values.async === true ? new StoredLater(values, stamped) : new StoredAtOnce(values, stamped)
}

function written(name: string, encoded: Written | undefined, at: number | undefined): Buffer {
  if (encoded === null || encoded === undefined)
    throw new TypeError(`${name} makes null of the value, which stands for a deleted one: use delete`)
  const from = at === undefined ? 0 : AT_BYTES
  const size = typeof encoded === 'string' ? Buffer.byteLength(encoded, 'utf8') : encoded.length
  const bytes = Buffer.allocUnsafe(from + size)
  if (at !== undefined) writeInt64(bytes, 0, at)
  if (typeof encoded === 'string') bytes.write(encoded, from, 'utf8')
  else bytes.set(encoded, from)
  return bytes
}

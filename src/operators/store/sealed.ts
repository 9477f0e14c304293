import { readInt64, writeInt64 } from '../../log/batch/header.js'
import type { Serde } from '../../record/serde.js'
import { nextOrder, type DueValue } from '../../state/due-store.js'

/** A value of user code in a store. */
export interface Sealed<V> extends DueValue {
  readonly value: V
  /** When it was put, by the clock its life is counted on. */
  readonly at: number
  /** Its stored form from the end of its slice to the commit: an object that cannot be stored fails its slice, not the commit. */
  sealed: Buffer | undefined
}

const AT_BYTES = 8

export function sealedValue<V>(value: V, at: number): Sealed<V> {
  return { value, at, order: nextOrder(), sealed: undefined }
}

/** Values with the time they were put at, in front; `stamped` false leaves that out, where the key has it. */
export function sealedSerde<V>({ name, encode, decode }: Serde<V>, stamped: boolean): Serde<Sealed<V>> {
  const from = stamped ? AT_BYTES : 0
  return {
    name,
    encode(entry) {
      if (entry.sealed !== undefined) return entry.sealed
      const encoded = encode(entry.value)
      if (encoded === null || encoded === undefined)
        throw new TypeError(`${name} makes null of the value, which stands for a deleted one: use delete`)
      const size = typeof encoded === 'string' ? Buffer.byteLength(encoded, 'utf8') : encoded.length
      const bytes = Buffer.allocUnsafe(from + size)
      if (stamped) writeInt64(bytes, 0, entry.at)
      if (typeof encoded === 'string') bytes.write(encoded, from, 'utf8')
      else bytes.set(encoded, from)
      return bytes
    },
    decode: (bytes) => sealedValue(decode(bytes.subarray(from)), stamped ? readInt64(bytes, 0) : 0),
  }
}

interface HoldsSealed {
  readonly changedEntries: Iterable<{ readonly value: Sealed<unknown> | undefined }>
}

/** Encodes what changed, at the end of a slice. @throws what encoding throws */
export function seal({ changedEntries }: HoldsSealed, serde: Serde<Sealed<never>>): void {
  for (const { value } of changedEntries) if (value !== undefined) value.sealed ??= serde.encode(value as Sealed<never>) as Buffer
}

/** The commit has them. */
export function unseal({ changedEntries }: HoldsSealed): void {
  for (const { value } of changedEntries) if (value !== undefined) value.sealed = undefined
}

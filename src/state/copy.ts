import type { Encoded } from '../log/batch/write.js'
import { MillraceError } from '../record/error.js'
import { kindOf } from '../record/kind-of.js'
import type { AnySerde, Serde } from '../record/serde.js'
import { cloneOf } from './clone.js'

/** Whether somebody who has the value in hand could change it for others. */
export function isShared(value: unknown): value is object {
  return (typeof value === 'object' && value !== null) || typeof value === 'function'
}

/** What its serde wrote, as a value of its own. */
export function decodedAnew<D>(serde: { decode(bytes: Buffer): D }, encoded: NonNullable<Encoded>): D {
  if (typeof encoded !== 'string' && !(encoded instanceof Uint8Array))
    throw new MillraceError(
      'ENCODE_FAILED',
      `it was encoded as ${kindOf(encoded)}, not bytes or text: a serde that answers later says so (async: true)`,
    )
  // A serde of bytes hands out the very bytes.
  return serde.decode(typeof encoded === 'string' ? Buffer.from(encoded, 'utf8') : Buffer.from(encoded))
}

/** A value that shares nothing with the one given, made by its serde if that answers at once. Plain values are their own copies. */
export function copyOf<V>(given: AnySerde<V>, value: V): V {
  if (!isShared(value)) return value
  if (given.async === true) return cloneOf(value)
  const serde: Serde<V> = given
  const encoded = serde.encode(value)
  return encoded === null ? value : decodedAnew(serde, encoded)
}

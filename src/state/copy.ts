import type { Encoded } from '../log/batch/write.js'
import type { Serde } from '../record/serde.js'

/** Whether somebody who has the value in hand could change it for others. */
export function isShared(value: unknown): value is object {
  return (typeof value === 'object' && value !== null) || typeof value === 'function'
}

/** What its serde wrote, as a value of its own. */
export function decodedAnew<D>(serde: { decode(bytes: Buffer): D }, encoded: NonNullable<Encoded>): D {
  // A serde of bytes hands out the very bytes.
  return serde.decode(typeof encoded === 'string' ? Buffer.from(encoded, 'utf8') : Buffer.from(encoded))
}

/** A value that shares nothing with the one given, made by its serde. Plain values are their own copies. */
export function copyOf<V>(serde: Serde<V>, value: V): V {
  if (!isShared(value)) return value
  const encoded = serde.encode(value)
  return encoded === null ? value : decodedAnew(serde, encoded)
}

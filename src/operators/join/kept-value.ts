import type { Serde } from '../../record/serde.js'

/** A value waiting for others, encoded: what user code does to the object later does not reach it. A character a byte; null for null. */
export interface KeptValue {
  readonly data: string | null
  /** Bytes that were given as such, where else a serde would be asked. */
  readonly raw: boolean
  readonly matched: boolean
}

const MATCHED = 1
const RAW = 2
const NULL = 4

/** Flags, then the bytes. */
export const keptValue: Serde<KeptValue> = {
  name: 'kept value',
  encode({ data, raw, matched }) {
    const bytes = Buffer.allocUnsafe(1 + (data?.length ?? 0))
    bytes[0] = (matched ? MATCHED : 0) | (raw ? RAW : 0) | (data === null ? NULL : 0)
    if (data !== null) bytes.write(data, 1, 'latin1')
    return bytes
  },
  decode(bytes) {
    const flags = bytes[0]
    if (flags === undefined) throw new RangeError('a value without flags')
    return {
      data: (flags & NULL) !== 0 ? null : bytes.toString('latin1', 1),
      raw: (flags & RAW) !== 0,
      matched: (flags & MATCHED) !== 0,
    }
  },
}

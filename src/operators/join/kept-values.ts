import { cursor, readVarint, varintSize, writeVarint } from '../../record/varint.js'
import type { Serde } from '../../record/serde.js'

/** A value waiting for others, encoded: what user code does to the object later does not reach it. A character a byte; null for null. */
export interface KeptValue {
  readonly data: string | null
  /** Bytes that were given as such, where else a serde would be asked. */
  readonly raw: boolean
  matched: boolean
}

const MATCHED = 1
const RAW = 2
const NULL = 4

/** The values of one key at one time, in the order they came: flags, length and bytes of each. */
export const keptValues: Serde<KeptValue[]> = {
  name: 'kept values',
  encode(values) {
    let size = 0
    for (const { data } of values) size += 1 + varintSize(data?.length ?? 0) + (data?.length ?? 0)
    const bytes = Buffer.allocUnsafe(size)
    let pos = 0
    for (const { data, raw, matched } of values) {
      bytes[pos] = (matched ? MATCHED : 0) | (raw ? RAW : 0) | (data === null ? NULL : 0)
      pos = writeVarint(bytes, pos + 1, data?.length ?? 0)
      if (data !== null) pos += bytes.write(data, pos, 'latin1')
    }
    return bytes
  },
  decode(bytes) {
    const values: KeptValue[] = []
    for (let pos = 0; pos < bytes.length;) {
      const flags = bytes[pos] as number
      const length = readVarint(bytes, pos + 1)
      pos = cursor.pos
      if (length < 0 || pos + length > bytes.length) throw new RangeError('a value is cut off')
      values.push({
        data: (flags & NULL) !== 0 ? null : bytes.toString('latin1', pos, pos + length),
        raw: (flags & RAW) !== 0,
        matched: (flags & MATCHED) !== 0,
      })
      pos += length
    }
    return values
  },
}

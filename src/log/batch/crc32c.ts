import { load } from '../../record/load.js'

/** The checksum of record batches: CRC-32C (Castagnoli). */
export const crc32c: (bytes: Uint8Array) => number = native() ?? slicingBy8

/** Machine code, about five times as fast. Where there is none for this system, or beside a bundle, the other does. */
function native(): ((bytes: Uint8Array) => number) | undefined {
  try {
    return (load('@node-rs/crc32') as { crc32c(bytes: Uint8Array): number }).crc32c
  } catch {
    return undefined
  }
}

let tables: Uint32Array | undefined

/** Eight bytes at a time: a table each, for how far a byte is from the end of the eight. */
export function slicingBy8(bytes: Uint8Array): number {
  const t = (tables ??= tablesOf(0x82f6_3b78))
  let crc = 0xffff_ffff
  let at = 0
  for (const end = bytes.length - 7; at < end; at += 8) {
    const low = crc ^ (byte(bytes, at) | (byte(bytes, at + 1) << 8) | (byte(bytes, at + 2) << 16) | (byte(bytes, at + 3) << 24))
    crc =
      entry(t, 0x700 | (low & 0xff)) ^
      entry(t, 0x600 | ((low >>> 8) & 0xff)) ^
      entry(t, 0x500 | ((low >>> 16) & 0xff)) ^
      entry(t, 0x400 | (low >>> 24)) ^
      entry(t, 0x300 | byte(bytes, at + 4)) ^
      entry(t, 0x200 | byte(bytes, at + 5)) ^
      entry(t, 0x100 | byte(bytes, at + 6)) ^
      entry(t, byte(bytes, at + 7))
  }
  for (; at < bytes.length; at++) crc = (crc >>> 8) ^ entry(t, (crc ^ byte(bytes, at)) & 0xff)
  return (crc ^ 0xffff_ffff) >>> 0
}

function tablesOf(polynomial: number): Uint32Array {
  const t = new Uint32Array(8 * 256)
  for (let i = 0; i < 256; i++) {
    let crc = i
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ polynomial : crc >>> 1
    t[i] = crc
  }
  for (let i = 256; i < t.length; i++) t[i] = (entry(t, i - 256) >>> 8) ^ entry(t, entry(t, i - 256) & 0xff)
  return t
}

function byte(bytes: Uint8Array, at: number): number {
  return bytes[at] as number
}

function entry(t: Uint32Array, at: number): number {
  return t[at] as number
}

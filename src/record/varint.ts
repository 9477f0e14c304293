import { MillraceError } from './error.js'

/**
 * Zigzag varints of the record format. Reading leaves the position after the number in `cursor.pos`: a returned
 * pair would be an allocation per field, and there are five fields a record.
 */
export const cursor = { pos: 0 }

export function readVarint(bytes: Uint8Array, start: number): number {
  let pos = start
  let byte = bytes[pos++] as number
  let raw = byte & 0x7f
  let shift = 7
  while (byte >= 0x80) {
    if (shift > 28) throw tooLong()
    byte = bytes[pos++] as number
    raw |= (byte & 0x7f) << shift
    shift += 7
  }
  cursor.pos = pos
  return (raw >>> 1) ^ -(raw & 1)
}

function tooLong(): MillraceError {
  return new MillraceError('CORRUPT_BATCH', 'a number of a record has more bytes than any number of its kind: it was written wrong', {
    retryable: true,
  })
}

/** Behind the section that begins at `start`: a length, and so many bytes; a length of -1 stands for null. */
export function skipSection(bytes: Uint8Array, start: number): number {
  const length = readVarint(bytes, start)
  return length < 0 ? cursor.pos : cursor.pos + length
}

/** A varint of up to 64 bits whose value fits a safe integer; timestamp deltas are the only ones. */
export function readVarlong(bytes: Uint8Array, start: number): number {
  let pos = start
  let byte = bytes[pos++] as number
  if (byte < 0x80) {
    cursor.pos = pos
    return (byte >>> 1) ^ -(byte & 1)
  }
  const negative = (byte & 1) === 1
  // From here in floating point: the sign bit is taken off first, so the magnitude keeps 53 exact bits.
  let magnitude = (byte & 0x7f) >>> 1
  let scale = 64
  do {
    if (pos - start > 9) throw tooLong()
    byte = bytes[pos++] as number
    magnitude += (byte & 0x7f) * scale
    scale *= 128
  } while (byte >= 0x80)
  cursor.pos = pos
  return negative ? -magnitude - 1 : magnitude
}

/** The same for any value. */
export function readExactVarlong(bytes: Uint8Array, start: number): bigint {
  let pos = start
  let raw = 0n
  for (let shift = 0n; ; shift += 7n) {
    if (pos - start > 9) throw tooLong()
    const byte = bytes[pos++] as number
    raw |= BigInt(byte & 0x7f) << shift
    if (byte < 0x80) break
  }
  cursor.pos = pos
  return BigInt.asIntN(64, (raw >> 1n) ^ -(raw & 1n))
}

export function varintSize(value: number): number {
  const raw = ((value << 1) ^ (value >> 31)) >>> 0
  return raw < 0x80 ? 1 : raw < 0x4000 ? 2 : raw < 0x200000 ? 3 : raw < 0x10000000 ? 4 : 5
}

export function writeVarint(bytes: Uint8Array, start: number, value: number): number {
  let pos = start
  let raw = ((value << 1) ^ (value >> 31)) >>> 0
  while (raw >= 0x80) {
    bytes[pos++] = (raw & 0x7f) | 0x80
    raw >>>= 7
  }
  bytes[pos++] = raw
  return pos
}

const INT32_HALF = 0x3fffffff

export function varlongSize(value: number): number {
  if (value >= -INT32_HALF && value <= INT32_HALF) return varintSize(value)
  let magnitude = value < 0 ? -(value + 1) : value
  let size = 1
  magnitude = Math.floor(magnitude / 64)
  while (magnitude > 0) {
    size++
    magnitude = Math.floor(magnitude / 128)
  }
  return size
}

export function writeVarlong(bytes: Uint8Array, start: number, value: number): number {
  if (value >= -INT32_HALF && value <= INT32_HALF) return writeVarint(bytes, start, value)
  const negative = value < 0
  let magnitude = negative ? -(value + 1) : value
  let pos = start
  let low = (magnitude % 64) * 2 + (negative ? 1 : 0)
  magnitude = Math.floor(magnitude / 64)
  while (magnitude > 0) {
    bytes[pos++] = low | 0x80
    low = magnitude % 128
    magnitude = Math.floor(magnitude / 128)
  }
  bytes[pos++] = low
  return pos
}

/** Zero, then the id of the schema as four bytes, then the payload. (Confluent, wire format) */
export const HEADER_BYTES = 5
const MAGIC = 0

/** What stands before the payload: the magic byte and the id, and for Protobuf which message of the schema it is. */
export function framed(id: number, indexes: Buffer | undefined, payload: Uint8Array): Buffer {
  const from = HEADER_BYTES + (indexes?.length ?? 0)
  const bytes = Buffer.allocUnsafe(from + payload.length)
  bytes[0] = MAGIC
  bytes.writeInt32BE(id, 1)
  indexes?.copy(bytes, HEADER_BYTES)
  bytes.set(payload, from)
  return bytes
}

/** @throws RangeError for bytes that are not of the wire format */
export function schemaIdOf(bytes: Buffer): number {
  if (bytes.length < HEADER_BYTES)
    throw new RangeError(
      `${bytes.length} bytes are no value of a schema registry: those begin with a zero and the id of their schema, 5 bytes`,
    )
  if (bytes[0] !== MAGIC)
    throw new RangeError(`a value of a schema registry begins with a zero byte, this one with ${bytes[0]}: it was written by another serde`)
  return bytes.readInt32BE(1)
}

/**
 * The way to a Protobuf message in its schema: its place among the messages of the file, then of that message, and so on. As zigzag
 * varints behind their number; the first message alone is a single zero.
 */
export function indexesOf(path: readonly number[]): Buffer {
  return path.length === 1 && path[0] === 0 ? Buffer.from([0]) : Buffer.from([path.length, ...path].flatMap(zigzag))
}

export function readIndexes(bytes: Buffer, at: number): { readonly path: readonly number[]; readonly end: number } {
  let end = at
  const next = (): number => {
    let value = 0
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[end++]
      if (byte === undefined || shift > 28) throw new RangeError('the message indexes of a Protobuf value are cut off')
      value |= (byte & 0x7f) << shift
      if (byte < 0x80) return (value >>> 1) ^ -(value & 1)
    }
  }
  const count = next()
  if (count < 0 || count > bytes.length) throw new RangeError(`a Protobuf value has ${count} message indexes`)
  if (count === 0) return { path: [0], end }
  const path = Array.from({ length: count }, next)
  return { path, end }
}

function zigzag(value: number): number[] {
  const bytes: number[] = []
  let left = (value << 1) ^ (value >> 31)
  for (; left >= 0x80; left >>>= 7) bytes.push((left & 0x7f) | 0x80)
  bytes.push(left)
  return bytes
}

import { readOffset } from '../../log/batch/header.js'

/**
 * Reads Kafka's binary response format. Byte fields are slices of the response, not copies. Running past the end throws
 * Node's RangeError.
 */
export class Reader {
  pos = 0

  constructor(readonly buffer: Buffer) {}

  int8(): number {
    return this.buffer.readInt8(this.advance(1))
  }

  int16(): number {
    return this.buffer.readInt16BE(this.advance(2))
  }

  int32(): number {
    return this.buffer.readInt32BE(this.advance(4))
  }

  /** An offset, which has to be exact. */
  int64(): number {
    return readOffset(this.buffer, this.advance(8))
  }

  bigint64(): bigint {
    return this.buffer.readBigInt64BE(this.advance(8))
  }

  bool(): boolean {
    return this.int8() !== 0
  }

  uvarint(): number {
    let value = 0
    let shift = 0
    for (;;) {
      if (shift > 28) throw new RangeError(`the response has a number of more than five bytes at ${this.pos}`)
      const byte = this.buffer.readUInt8(this.advance(1))
      value |= (byte & 0x7f) << shift
      if ((byte & 0x80) === 0) return value >>> 0
      shift += 7
    }
  }

  string(): string {
    return this.nullableString() ?? ''
  }

  nullableString(): string | null {
    return this.text(this.int16())
  }

  compactString(): string {
    return this.compactNullableString() ?? ''
  }

  compactNullableString(): string | null {
    return this.text(this.uvarint() - 1)
  }

  bytes(): Buffer {
    const length = this.int32()
    return length < 0 ? this.slice(0) : this.slice(length)
  }

  compactBytes(): Buffer {
    const length = this.uvarint() - 1
    return length < 0 ? this.slice(0) : this.slice(length)
  }

  /** A null array reads as an empty one. */
  array<T>(each: () => T): T[] {
    return this.items(this.int32(), each)
  }

  compactArray<T>(each: () => T): T[] {
    return this.items(this.uvarint() - 1, each)
  }

  /** Steps over the tagged fields that end a flexible structure. */
  tags(): void {
    this.eachTag(() => {})
  }

  /** Shows each tagged field; what `each` leaves unread is stepped over. */
  eachTag(each: (tag: number) => void): void {
    const count = this.uvarint()
    for (let i = 0; i < count; i++) {
      const tag = this.uvarint()
      const size = this.uvarint()
      const start = this.advance(size)
      const end = this.pos
      this.pos = start
      each(tag)
      if (this.pos > end) throw new RangeError(`the response has a tagged field at ${start} that is longer than it says`)
      this.pos = end
    }
  }

  private items<T>(count: number, each: () => T): T[] {
    const items: T[] = []
    for (let i = 0; i < count; i++) items.push(each())
    return items
  }

  private text(length: number): string | null {
    if (length < 0) return null
    const start = this.advance(length)
    return this.buffer.toString('utf8', start, start + length)
  }

  private slice(length: number): Buffer {
    const start = this.advance(length)
    return this.buffer.subarray(start, start + length)
  }

  private advance(bytes: number): number {
    const at = this.pos
    if (at + bytes > this.buffer.length) throw new RangeError(`the response ends at byte ${this.buffer.length}, inside a field at ${at}`)
    this.pos = at + bytes
    return at
  }
}

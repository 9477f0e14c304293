import { writeInt64 } from '../../log/batch/header.js'

const FIRST_CAPACITY = 256

/**
 * Kafka's binary request format. Fields go into one growing buffer; `raw` puts a buffer in by reference, so record batches
 * reach the socket without being copied.
 */
export class Writer {
  private buffer = Buffer.allocUnsafe(FIRST_CAPACITY)
  private start = 0
  private pos = 0
  private readonly segments: Buffer[] = []
  private size = 0

  int8(value: number): void {
    this.room(1)
    this.buffer.writeInt8(value, this.pos)
    this.pos += 1
  }

  int16(value: number): void {
    this.room(2)
    this.buffer.writeInt16BE(value, this.pos)
    this.pos += 2
  }

  int32(value: number): void {
    this.room(4)
    this.buffer.writeInt32BE(value, this.pos)
    this.pos += 4
  }

  int64(value: number): void {
    this.room(8)
    writeInt64(this.buffer, this.pos, value)
    this.pos += 8
  }

  /** Producer ids use the whole range. */
  bigint64(value: bigint): void {
    this.room(8)
    this.buffer.writeBigInt64BE(value, this.pos)
    this.pos += 8
  }

  bool(value: boolean): void {
    this.int8(value ? 1 : 0)
  }

  uvarint(value: number): void {
    this.room(5)
    let rest = value
    while (rest > 0x7f) {
      this.buffer[this.pos++] = (rest & 0x7f) | 0x80
      rest >>>= 7
    }
    this.buffer[this.pos++] = rest
  }

  string(value: string | null): void {
    if (value === null) return this.int16(-1)
    const length = Buffer.byteLength(value)
    this.int16(length)
    this.text(value, length)
  }

  compactString(value: string | null): void {
    if (value === null) return this.uvarint(0)
    const length = Buffer.byteLength(value)
    this.uvarint(length + 1)
    this.text(value, length)
  }

  bytes(value: Buffer): void {
    this.int32(value.length)
    this.raw(value)
  }

  compactBytes(value: Buffer): void {
    this.uvarint(value.length + 1)
    this.raw(value)
  }

  array<T>(items: readonly T[], each: (item: T) => void): void {
    this.int32(items.length)
    items.forEach(each)
  }

  compactArray<T>(items: readonly T[], each: (item: T) => void): void {
    this.uvarint(items.length + 1)
    items.forEach(each)
  }

  /** The end of a flexible structure: we never set a tagged field. */
  noTags(): void {
    this.uvarint(0)
  }

  /** By reference: the bytes must not change until they are sent. */
  raw(bytes: Buffer): void {
    this.flush()
    this.segments.push(bytes)
    this.size += bytes.length
  }

  /** All that was written, in order; the first four bytes, left free by the caller, become the size of the rest. */
  finish(): readonly Buffer[] {
    this.flush()
    this.segments[0]?.writeInt32BE(this.size - 4, 0)
    return this.segments
  }

  private text(value: string, length: number): void {
    this.room(length)
    this.buffer.write(value, this.pos)
    this.pos += length
  }

  private flush(): void {
    if (this.pos === this.start) return
    this.segments.push(this.buffer.subarray(this.start, this.pos))
    this.size += this.pos - this.start
    this.start = this.pos
  }

  private room(bytes: number): void {
    if (this.pos + bytes <= this.buffer.length) return
    const written = this.pos - this.start
    const larger = Buffer.allocUnsafe(Math.max(this.buffer.length * 2, written + bytes))
    this.buffer.copy(larger, 0, this.start, this.pos)
    this.buffer = larger
    this.start = 0
    this.pos = written
  }
}

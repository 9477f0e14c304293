/** An array whose length takes four bytes. */
const HEADER = 5

/**
 * Texts as one MessagePack array, which a script in Redis takes apart in one call: many arguments would each cost text to be put together
 * here.
 */
export class TextList {
  private buffer = Buffer.allocUnsafe(4_096)
  private end = HEADER
  private count = 0

  get isEmpty(): boolean {
    return this.count === 0
  }

  add(text: string): void {
    const most = this.end + 5 + text.length * 3
    if (most > this.buffer.length) {
      const larger = Buffer.allocUnsafe(most * 2)
      this.buffer.copy(larger, 0, 0, this.end)
      this.buffer = larger
    }
    const { buffer, end } = this
    // As text of up to 64 KiB, or of more: the length is known when it is written.
    let at = end + 3
    const length = buffer.write(text, at, 'utf8')
    if (length <= 0xffff) {
      buffer[end] = 0xda
      buffer[end + 1] = length >> 8
      buffer[end + 2] = length & 0xff
    } else {
      at = end + 5
      buffer.copyWithin(at, end + 3, end + 3 + length)
      buffer[end] = 0xdb
      buffer.writeUInt32BE(length, end + 1)
    }
    this.end = at + length
    this.count++
  }

  /** The whole array. */
  bytes(): Buffer {
    this.buffer[0] = 0xdd
    this.buffer.writeUInt32BE(this.count, 1)
    return this.buffer.subarray(0, this.end)
  }
}

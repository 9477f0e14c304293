/** Read at once where nothing is known yet of what comes. */
const SCRATCH_BYTES = 64 * 1024
const LENGTH_BYTES = 4
/** What answers what: a frame has this in it at least. */
const CORRELATION_BYTES = 4
/** No broker sends as much in one answer; 'HTTP' read as a length is more. */
const LONGEST_BYTES = 1024 * 1024 * 1024
/** A frame is believed to be this long at first; what pretends to be longer gets its room as it comes. */
const FIRST_ROOM_BYTES = 64 * 1024 * 1024

/**
 * Cuts what comes over a socket into frames: four bytes of length, then so many bytes.
 *
 * Whoever reads puts the bytes where `room` says, so that those of a long frame land where they stay: fetched megabytes are not copied
 * again.
 */
export class Frames {
  private readonly scratch = Buffer.allocUnsafe(SCRATCH_BYTES)
  private inScratch = 0
  /** The frame under way, once its length is known and it is not whole. */
  private frame: Buffer | undefined
  private length = 0
  private filled = 0

  /**
   * `onFrame` gets each frame with its length in front, in a buffer of its own. A length that cannot be one is a RangeError for whoever put
   * the bytes there.
   */
  constructor(private readonly onFrame: (frame: Buffer) => void) {}

  /** Where the next bytes go; never empty. */
  room(): Buffer {
    return this.frame === undefined ? this.scratch.subarray(this.inScratch) : this.frame.subarray(this.filled)
  }

  /** So many bytes were put where `room` last said. */
  filledBy(count: number): void {
    if (this.frame === undefined) {
      this.inScratch += count
      this.cut()
      return
    }
    this.filled += count
    if (this.filled === this.length) {
      const whole = this.frame
      this.frame = undefined
      this.onFrame(whole)
    } else if (this.filled === this.frame.length) {
      this.frame = grown(this.frame, this.filled, Math.min(this.length, this.filled * 2))
    }
  }

  /** Bytes that lie elsewhere already. */
  push(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length;) {
      const room = this.room()
      const part = bytes.subarray(at, at + room.length)
      room.set(part)
      at += part.length
      this.filledBy(part.length)
    }
  }

  private cut(): void {
    const { scratch, inScratch: end } = this
    let start = 0
    while (end - start >= LENGTH_BYTES) {
      const payload = scratch.readUInt32BE(start)
      if (payload < CORRELATION_BYTES || payload > LONGEST_BYTES) throw new RangeError(`a frame of ${payload} bytes`)
      const length = LENGTH_BYTES + payload
      if (start + length > end) {
        this.length = length
        this.filled = end - start
        this.frame = grown(scratch.subarray(start), this.filled, Math.max(this.filled, Math.min(length, FIRST_ROOM_BYTES)))
        start = end
        break
      }
      // Not of the pool: a batch that stays would keep all that lies beside it there.
      const whole = Buffer.allocUnsafeSlow(length)
      scratch.copy(whole, 0, start, start + length)
      start += length
      this.onFrame(whole)
    }
    scratch.copyWithin(0, start, end)
    this.inScratch = end - start
  }
}

function grown(frame: Buffer, filled: number, size: number): Buffer {
  const larger = Buffer.allocUnsafeSlow(size)
  frame.copy(larger, 0, 0, filled)
  return larger
}

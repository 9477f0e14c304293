/** What a window holds at most: little enough to be kept by whoever keeps one value of it, enough that most records need no copy of their own. */
const WINDOW = 16 * 1024
/** What is longer is copied by itself: a window would hold few of them. */
const LONG = 2 * 1024

/**
 * Gives out parts of a batch as copies: whoever changes one in place changes nothing that is read again after an abort, or stored as it was
 * read, and whoever keeps one keeps no whole batch in memory.
 *
 * A copy a part cost a tenth of a JSON job. So the bytes are copied a window at a time, and each byte of a window is given out once: what is
 * asked for in the order of the batch is a view of the window, anything else a copy of its own.
 */
export class HandOut {
  private window: Buffer | undefined
  private from = 0
  private to = 0
  /** Up to where the window is given out. */
  private given = 0

  part(bytes: Buffer, start: number, end: number): Buffer {
    if (end - start > LONG || (start < this.given && this.window !== undefined && start >= this.from))
      return Buffer.from(bytes.subarray(start, end))
    if (this.window === undefined || start < this.from || end > this.to) {
      this.from = start
      this.to = Math.min(bytes.length, start + WINDOW)
      this.window = Buffer.from(bytes.subarray(start, this.to))
    }
    this.given = end
    return this.window.subarray(start - this.from, end - this.from)
  }
}

const FIRST_ROWS = 256

/** In place of the chunk: its transaction has not committed. */
export const FRESH = -1
/** As FRESH, and over already: it is not written. */
export const PAST = -2
/** It was written by the transaction that goes to the log. */
export const SEALED = -3

/** What is known of each claim, in columns: an object each would cost three times the memory, and the collector's time. */
export class ClaimRows {
  source = new Int32Array(FIRST_ROWS)
  offset = new Float64Array(FIRST_ROWS)
  time = new Float64Array(FIRST_ROWS)
  /** The transaction in which its record was last seen: the same again in it is a copy that user code made. */
  seen = new Int32Array(FIRST_ROWS)
  /** The transaction in which it was last amended. */
  changed = new Int32Array(FIRST_ROWS)
  duplicates = new Int32Array(FIRST_ROWS)
  /** Number of the chunk it was last written in, or FRESH, PAST or SEALED. */
  chunk = new Float64Array(FIRST_ROWS)
  /** Another claim on the id, further away than `within` in time, or of a topic that is elsewhere in time; -1 for none. */
  older = new Int32Array(FIRST_ROWS)
  private readonly free: number[] = []
  private used = 0

  add(source: number, offset: number, time: number, seen: number, older: number): number {
    const row = this.free.pop() ?? this.used++
    if (row >= this.source.length) this.grow()
    this.source[row] = source
    this.offset[row] = offset
    this.time[row] = time
    this.seen[row] = seen
    this.changed[row] = 0
    this.duplicates[row] = 0
    this.chunk[row] = FRESH
    this.older[row] = older
    return row
  }

  release(row: number): void {
    this.chunk[row] = FRESH
    this.free.push(row)
  }

  private grow(): void {
    this.source = larger(this.source)
    this.offset = larger(this.offset)
    this.time = larger(this.time)
    this.seen = larger(this.seen)
    this.changed = larger(this.changed)
    this.duplicates = larger(this.duplicates)
    this.chunk = larger(this.chunk)
    this.older = larger(this.older)
  }
}

function larger<T extends Int32Array | Float64Array>(column: T): T {
  const twice = new (column.constructor as new (length: number) => T)(column.length * 2)
  twice.set(column)
  return twice
}

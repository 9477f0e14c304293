import { MillraceError } from '../../record/error.js'

/**
 * A set of offsets as ranges: start and end (exclusive) of each, ascending. Most often it is empty, or a few long ranges; of a filter
 * that passes every other record, one range a record.
 */
export class OffsetRanges {
  static readonly none = new OffsetRanges([])

  private constructor(private readonly bounds: readonly number[]) {}

  /** All offsets from `start` to before `end` that are not in `offsets`, which may come in any order and more than once. */
  static without(offsets: readonly number[], start: number, end: number): OffsetRanges {
    const bounds: number[] = []
    let from = start
    for (const offset of ascending(offsets)) {
      if (offset < from) continue
      if (offset >= end) break
      if (offset > from) bounds.push(from, offset)
      from = offset + 1
    }
    if (from < end) bounds.push(from, end)
    return new OffsetRanges(bounds)
  }

  get isEmpty(): boolean {
    return this.bounds.length === 0
  }

  has(offset: number): boolean {
    const { bounds } = this
    let [low, high] = [0, bounds.length]
    while (low < high) {
      const middle = (low + high) >> 1
      if ((bounds[middle] as number) <= offset) low = middle + 1
      else high = middle
    }
    return low % 2 === 1
  }

  /** Those at or behind `start`. */
  from(start: number): OffsetRanges {
    const { bounds } = this
    if (bounds.length === 0 || (bounds[0] as number) >= start) return this
    const kept: number[] = []
    for (let i = 0; i < bounds.length; i += 2) {
      const end = bounds[i + 1] as number
      if (end > start) kept.push(Math.max(start, bounds[i] as number), end)
    }
    return new OffsetRanges(kept)
  }

  minus(offsets: readonly number[]): OffsetRanges {
    if (offsets.length === 0 || this.isEmpty) return this
    const taken = ascending(offsets)
    const kept: number[] = []
    let next = 0
    for (let i = 0; i < this.bounds.length; i += 2) {
      let from = this.bounds[i] as number
      const end = this.bounds[i + 1] as number
      while (next < taken.length && (taken[next] as number) < end) {
        const offset = taken[next++] as number
        if (offset < from) continue
        if (offset > from) kept.push(from, offset)
        from = offset + 1
      }
      if (from < end) kept.push(from, end)
    }
    return new OffsetRanges(kept)
  }

  /** Both together; `other` lies behind all of these. */
  followedBy(other: OffsetRanges): OffsetRanges {
    if (other.isEmpty) return this
    if (this.isEmpty) return other
    const last = this.bounds.length - 1
    if (this.bounds[last] === other.bounds[0]) return new OffsetRanges([...this.bounds.slice(0, last), ...other.bounds.slice(1)])
    return new OffsetRanges([...this.bounds, ...other.bounds])
  }

  /** The offsets from `start` to before `end` that are in none of the ranges. */
  *outside(start: number, end: number): Generator<number> {
    for (let offset = start; offset < end; offset++) if (!this.has(offset)) yield offset
  }

  /** "1000 5 3 2": five offsets from 1000 on, three that are not in it, two more. Empty text for none. */
  toString(): string {
    let before = 0
    return this.bounds
      .map((bound) => {
        const step = bound - before
        before = bound
        return step
      })
      .join(' ')
  }

  /** @throws MillraceError CORRUPT_STATE */
  static parse(text: string): OffsetRanges {
    if (text === '') return OffsetRanges.none
    let at = 0
    const steps = text.split(' ').map(Number)
    if (steps.length % 2 !== 0 || steps.some((step) => !Number.isSafeInteger(step) || step < 0))
      throw new MillraceError('CORRUPT_STATE', `'${text.slice(0, 50)}' are no ranges of offsets: somebody else wrote to the positions`)
    return new OffsetRanges(steps.map((step) => (at += step)))
  }
}

function ascending(offsets: readonly number[]): readonly number[] {
  for (let i = 1; i < offsets.length; i++)
    if ((offsets[i] as number) < (offsets[i - 1] as number)) return [...offsets].sort((a, b) => a - b)
  return offsets
}

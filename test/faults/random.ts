/** The same numbers for the same seed (mulberry32). */
export class Random {
  private state: number

  constructor(seed: number) {
    this.state = seed >>> 0
  }

  /** From 0 up to below n. */
  below(n: number): number {
    this.state = (this.state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(this.state ^ (this.state >>> 15), this.state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * n)
  }

  between(least: number, most: number): number {
    return least + this.below(most - least + 1)
  }

  of<T>(all: readonly T[]): T {
    if (all.length === 0) throw new RangeError('nothing to choose from')
    return all[this.below(all.length)] as T
  }
}

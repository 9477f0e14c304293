import { BUCKETS_MS, type Histogram } from './status.js'

/** Adds up how long something took: a few numbers, however often. */
export class DurationHistogram {
  private count = 0
  private sumMs = 0
  private maxMs = 0
  private readonly perBucket = BUCKETS_MS.map(() => 0)

  add(ms: number): void {
    this.count++
    this.sumMs += ms
    this.maxMs = Math.max(this.maxMs, ms)
    const bucket = BUCKETS_MS.findIndex((bound) => ms <= bound)
    if (bucket >= 0) this.perBucket[bucket] = (this.perBucket[bucket] as number) + 1
  }

  result(): Histogram {
    const { count, sumMs, maxMs } = this
    let below = 0
    return { count, sumMs, maxMs, buckets: this.perBucket.map((n) => (below += n)) }
  }
}

const FIRST_LIMIT = 1_000
/** While rounds are done in half the interval, the limit grows to what there was time for, by this factor at most. */
const MAX_GROWTH = 32
/** A smaller limit is kept if records go through at this share of the best rate, at least. */
const AS_GOOD = 0.9
/** A larger one if they go through so much faster. */
const BETTER = 1.25
const LARGER = 4
/** A search ends when the limits that are good and too small are no further apart. */
const NEAR = 2
/** So far apart, the next limit is searched in the middle; nearer, at half of the one that is good. */
const FAR = 8
/** Rounds until another limit is tried again, after a search. */
const PATIENCE = 30

/** What is learned while another limit is searched. */
interface Search {
  readonly towards: 'fewer' | 'more'
  readonly bestRate: number
  /** The limit that is best as far as is known. */
  readonly good: number
  readonly tooSmall: number
}

export interface RoundTook {
  readonly records: number
  readonly startedAt: number | undefined
  readonly endedAt: number
}

/**
 * How many records a transaction may take. Rounds should take about as long as the commit interval, so that a rebalance finds little to
 * wait for: where they take more than twice that, fewer records are tried.
 *
 * Fewer help where the time is work. Where it is latency, of a service that is asked for many records at once, they take as long as more,
 * and the rate falls: so a smaller limit is kept only if the rate is, and now and then a larger one is tried and kept if the rate rises.
 * Where it is known how many records the steps ask for at once, the limit begins at that.
 */
export class RecordLimit {
  records: number
  private search: Search | undefined
  private patience = 0
  private next: Search['towards'] = 'fewer'
  /** Of the most records at once that were known. */
  private atOnce = 0

  constructor(
    private readonly everyMs: number,
    private readonly limits: { readonly maxRecords: number },
  ) {
    this.records = Math.min(FIRST_LIMIT, limits.maxRecords)
  }

  private get maxRecords(): number {
    return this.limits.maxRecords
  }

  /** `atOnce`: so many records the steps of the round can have under way together; 0 where that is not known. */
  adapt({ records, startedAt, endedAt }: RoundTook, atOnce = 0): void {
    const took = Math.max(1, endedAt - (startedAt ?? endedAt))
    const full = records >= this.records
    if (full && atOnce > this.atOnce) {
      this.atOnce = atOnce
      // With fewer, some of the calls would never be made: what that does to the rate says nothing.
      if (atOnce > this.records && this.records < this.maxRecords) return this.settle(Math.min(this.maxRecords, atOnce), 0)
    }
    if (this.search !== undefined) {
      const { good } = this.search
      // Not all that it might have taken was there: that tells nothing.
      if (!full) this.settle(good)
      else if (this.search.towards === 'fewer') this.fewer(this.search, records, took)
      else this.more(this.search, records, took)
      return
    }
    const { everyMs } = this
    if (took <= everyMs / 2) {
      if (full) this.records = Math.min(this.maxRecords, this.records * Math.min(MAX_GROWTH, Math.floor(everyMs / took)))
      return
    }
    if (this.patience-- > 0) return
    const bestRate = records / took
    if (took > 2 * everyMs && records > 1 && (this.next === 'fewer' || !full)) {
      this.next = 'more'
      this.search = { towards: 'fewer', bestRate, good: this.records, tooSmall: 0 }
      this.records = Math.max(1, Math.ceil((records * Math.max(everyMs, 1)) / took))
    } else if (full && this.records < this.maxRecords) {
      this.next = 'fewer'
      this.search = { towards: 'more', bestRate, good: this.records, tooSmall: 0 }
      this.records = Math.min(this.maxRecords, this.records * LARGER)
    }
  }

  private fewer({ bestRate, good, tooSmall }: Search, records: number, took: number): void {
    const rate = records / took
    const better = rate >= AS_GOOD * bestRate
    const search: Search = better
      ? { towards: 'fewer', bestRate: Math.max(rate, bestRate), good: records, tooSmall }
      : { towards: 'fewer', bestRate, good, tooSmall: records }
    if ((better && took <= 2 * this.everyMs) || search.good <= Math.max(1, search.tooSmall * NEAR)) return this.settle(search.good)
    this.search = search
    const middle =
      search.good > FAR * Math.max(1, search.tooSmall) ? Math.sqrt(search.good * Math.max(1, search.tooSmall)) : search.good / 2
    this.records = Math.max(search.tooSmall + 1, Math.min(search.good - 1, Math.ceil(middle)))
  }

  private more({ bestRate, good }: Search, records: number, took: number): void {
    const rate = records / took
    if (rate < BETTER * bestRate) return this.settle(good)
    if (records >= this.maxRecords) return this.settle(records)
    this.search = { towards: 'more', bestRate: rate, good: records, tooSmall: 0 }
    this.records = Math.min(this.maxRecords, records * LARGER)
  }

  private settle(limit: number, patience = PATIENCE): void {
    this.search = undefined
    this.patience = patience
    this.records = limit
  }
}

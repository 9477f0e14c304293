/** Looks that growth is told by. */
const LOOKS = 6

/** How a lag changes, over the last looks. */
export class LagTrend {
  private readonly looks: { readonly lag: number; readonly at: number }[] = []

  /** `now` by the monotonic clock. Growth in records a second. */
  add(lag: number, now: number): { readonly growth: number | undefined; readonly timeToZeroMs: number | undefined } {
    this.looks.push({ lag, at: now })
    if (this.looks.length > LOOKS) this.looks.shift()
    const first = this.looks[0] as { lag: number; at: number }
    const growth = now > first.at ? ((lag - first.lag) * 1_000) / (now - first.at) : undefined
    const timeToZeroMs = lag === 0 ? 0 : growth !== undefined && growth < 0 ? Math.round((lag * 1_000) / -growth) : undefined
    return { growth, timeToZeroMs }
  }
}

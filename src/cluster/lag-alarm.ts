export interface LagAlert {
  readonly state: 'fired' | 'cleared'
  readonly group: string
  readonly lag: number
  readonly growth: number | undefined
  readonly at: number
}

/** Fires when a lag has been at its threshold for a while, and is over when it has been at the lower one for as long. */
export class LagAlarm {
  firing = false
  /** Since when the lag has been where the state should change. */
  private since: number | undefined

  constructor(
    private readonly group: string,
    private readonly thresholds: { readonly records: number; readonly clear: number; readonly for: number },
  ) {}

  /** `now` by the monotonic clock, `at` by the date. What there is to tell, if there is. */
  look(lag: number, growth: number | undefined, now: number, at: number): LagAlert | undefined {
    const { records, clear, for: lasting } = this.thresholds
    const turns = this.firing ? lag <= clear : lag >= records
    if (!turns) {
      this.since = undefined
      return undefined
    }
    this.since ??= now
    if (now - this.since < lasting) return undefined
    this.since = undefined
    this.firing = !this.firing
    return { state: this.firing ? 'fired' : 'cleared', group: this.group, lag, growth, at }
  }
}

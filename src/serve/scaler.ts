import type { Clock } from '../record/clock.js'
import type { PipelineStatus } from '../runtime/status/status.js'

export interface ScaleSettings {
  readonly catchUpWithin: number
  readonly capacity?: number | undefined
  readonly min: number
  readonly max?: number | undefined
  readonly holdFor: number
}

export interface Scale {
  readonly group: string
  /** How many members are wanted. */
  readonly members: number
  /** What that is made of: records behind and arriving a second, over the group as far as this member's share tells, and what one can do. */
  readonly lag: number
  readonly arriving: number
  readonly capacity?: number | undefined
}

/** So much of a member beyond a whole number is no reason for one more. */
const TOLERANCE = 0.1

/**
 * How many members a group wants: so many that what arrives is kept up with, and what lies there is done in `catchUpWithin`. More at once,
 * fewer only when fewer were enough for all of `holdFor`: a rebalance costs more than a member that idles a little.
 */
export class Scaler {
  private peak = 0
  private before: { readonly at: number; readonly lag: number; readonly records: number } | undefined
  private wanted: { readonly at: number; readonly members: number }[] = []

  constructor(
    private readonly settings: ScaleSettings,
    private readonly clock: Clock,
  ) {}

  advise({ group, tasks, taskCount, lag, rates, totals }: PipelineStatus): Scale {
    const { min, holdFor, catchUpWithin } = this.settings
    const now = this.clock.monotonic()
    const most = Math.max(min, this.settings.max ?? taskCount)
    const whole = tasks.length === 0 ? 0 : taskCount / tasks.length
    // Only what is done while there is more to do shows what a member can.
    if (lag.records > 0) this.peak = Math.max(this.peak, rates.records)
    const capacity = this.settings.capacity ?? (this.peak > 0 ? this.peak : undefined)
    const { before } = this
    const spanS = before === undefined ? 0 : (now - before.at) / 1_000
    const arriving =
      before === undefined || spanS < 1 ? rates.records : Math.max(0, (totals.records - before.records + lag.records - before.lag) / spanS)
    if (before === undefined || spanS >= 1) this.before = { at: now, lag: lag.records, records: totals.records }
    const last = this.wanted.at(-1)?.members
    const need =
      whole === 0 || capacity === undefined
        ? (last ?? Math.max(1, Math.round(whole)))
        : ((arriving + (lag.records * 1_000) / catchUpWithin) * whole) / capacity
    const members = Math.min(most, Math.max(min, Math.ceil(need - TOLERANCE)))
    this.wanted = [...this.wanted.filter(({ at }) => now - at < holdFor), { at: now, members }]
    return {
      group,
      members: Math.min(most, Math.max(...this.wanted.map((one) => one.members))),
      lag: Math.round(lag.records * whole),
      arriving: Math.round(arriving * whole),
      capacity: capacity === undefined ? undefined : Math.round(capacity),
    }
  }
}

import type { Clock } from '../../record/clock.js'
import type { CallStatus } from '../../runtime/status/status.js'

/** How many calls are timed: one in so many. */
const TIMED = 16

/** Calls of one `attempt` over all tasks and the life of its pipeline. */
export class CallCounts {
  private made = 0
  private underWay = 0
  private timed = 0
  private timedMs = 0

  constructor(
    private readonly step: string,
    private readonly concurrency: number,
    private readonly clock: Clock,
  ) {}

  /** Returns what `ended` is to be given. */
  began(): number | undefined {
    this.underWay++
    return this.made++ % TIMED === 0 ? this.clock.monotonic() : undefined
  }

  ended(began: number | undefined): void {
    this.underWay--
    if (began === undefined) return
    this.timed++
    this.timedMs += this.clock.monotonic() - began
  }

  /** Those that are under way, and count for nothing. */
  dropped(calls: number): void {
    this.underWay -= calls
  }

  callStatus(): CallStatus {
    const { step, concurrency, made, underWay, timed, timedMs } = this
    return { step, concurrency, made, underWay, timed, timedMs }
  }
}

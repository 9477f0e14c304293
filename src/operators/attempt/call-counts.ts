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
  private adapted: number | undefined

  constructor(
    private readonly step: string,
    private readonly concurrency: number,
    private readonly clock: Clock,
  ) {}

  /** So many at once from here on, in each partition. */
  adapt(concurrency: number): void {
    this.adapted = concurrency
  }

  /** How many calls one slice may have under way, of a step that was given so many. One at a time stays that: it is an order. */
  most(given: number): number {
    return given === 1 ? 1 : (this.adapted ?? given)
  }

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
    return { step, concurrency: this.most(concurrency), made, underWay, timed, timedMs }
  }
}

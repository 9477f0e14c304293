import type { Clock } from '../record/clock.js'

/** By which of the two times that a clock has: a date, or a span of the monotonic one. */
export type TimeKind = 'date' | 'span'

/** When an alarm rings. */
interface Due {
  readonly at: number
  readonly by: TimeKind
}

/**
 * When operators of a task want to be called though no record comes: at a date, or when a span has passed, which goes by the monotonic
 * clock. Kept in memory only: operators set them again from their state after a restore.
 */
export class Alarms {
  private times = new Map<string, Due>()
  /** As the transaction that goes to the log left them. */
  private sealed: Map<string, Due> | undefined
  private committed = new Map<string, Due>()
  /** The next one by either time; infinity where none is set. */
  next: Readonly<Record<TimeKind, number>> = { date: Number.POSITIVE_INFINITY, span: Number.POSITIVE_INFINITY }

  constructor(
    private readonly clock: Clock,
    /** Called where `next` may be another. */
    private readonly onChange: () => void = () => {},
  ) {}

  /** `at` in milliseconds since the epoch; undefined takes the alarm back. */
  set(name: string, at: number | undefined): void {
    const before = this.times.get(name)
    if (before?.at === at && before?.by !== 'span') return
    if (at === undefined) this.times.delete(name)
    else this.times.set(name, { at, by: 'date' })
    this.lookAhead()
  }

  /** In so many milliseconds, whatever is done to the system's time meanwhile. */
  setIn(name: string, ms: number): void {
    this.times.set(name, { at: this.clock.monotonic() + ms, by: 'span' })
    this.lookAhead()
  }

  /** In milliseconds since the epoch, as of now; undefined where it is not set. */
  at(name: string): number | undefined {
    const due = this.times.get(name)
    return due?.by === 'span' ? due.at - this.clock.monotonic() + this.clock.now() : due?.at
  }

  /** Milliseconds until the next one, zero or less if one is due; infinity where none is set. */
  untilNext(): number {
    const { date, span } = this.next
    // No look at the time where there is nothing to compare with it.
    const byDate = date === Number.POSITIVE_INFINITY ? date : date - this.clock.now()
    return span === Number.POSITIVE_INFINITY ? byDate : Math.min(byDate, span - this.clock.monotonic())
  }

  /** Takes those that are due, in the order they were first set. */
  take(): string[] {
    if (this.untilNext() > 0) return []
    const now = { date: this.clock.now(), span: this.clock.monotonic() }
    const due = [...this.times].filter(([, { at, by }]) => at <= now[by]).map(([name]) => name)
    for (const name of due) this.times.delete(name)
    this.lookAhead()
    return due
  }

  /** The transaction goes to the log: what is set from here on belongs to the next. */
  seal(): void {
    this.sealed = new Map(this.times)
  }

  /** What was sealed is in the log; what is set now, where nothing was. */
  commit(): void {
    this.committed = this.sealed ?? new Map(this.times)
    this.sealed = undefined
  }

  rollback(): void {
    this.sealed = undefined
    this.times = new Map(this.committed)
    this.lookAhead()
  }

  private lookAhead(): void {
    const next = { date: Number.POSITIVE_INFINITY, span: Number.POSITIVE_INFINITY }
    for (const { at, by } of this.times.values()) next[by] = Math.min(next[by], at)
    this.next = next
    this.onChange()
  }
}

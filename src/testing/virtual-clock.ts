import type { Clock } from '../record/clock.js'
import { durationMs, type Duration } from '../record/duration.js'

interface Timer {
  readonly at: number
  /** Timers of one instant run in the order they were set. */
  readonly order: number
  readonly fn: () => void
}

/** Turns of the event loop in which nothing happens before all is taken to be quiet. */
const QUIET_TURNS = 4
/** Work that goes on for longer without the time moving will not end by itself. */
const MAX_TURNS = 100_000

/**
 * A clock that stands still until told to move: hours of windows, delays and sessions pass in a moment, always the same way.
 *
 * Give the same one to `createEmbeddedBroker` and `embedded`.
 *
 * @example
 * const clock = new VirtualClock()
 * const broker = createEmbeddedBroker({ clock })
 * const cluster = embedded({ broker, clock })
 * await clock.advance('1m')
 */
export class VirtualClock implements Clock {
  private time: number
  /** By how much the date was set forth or back. */
  private shift = 0
  private timers: Timer[] = []
  private order = 0
  private advancing = false
  private catchingUp = false

  /** @param start the time it begins with, in milliseconds since the epoch */
  constructor(start = 0) {
    this.time = start
  }

  now(): number {
    return this.time + this.shift
  }

  monotonic(): number {
    return this.time
  }

  /**
   * Sets the date forth or back, as somebody who sets the system's time: no time passes, and what waits waits as long as before.
   * Milliseconds.
   */
  shiftDate(byMs: number): void {
    this.shift += byMs
  }

  /**
   * Time that code takes which does not let the event loop go on meanwhile: it passes at once, and timers that come due in it run late, in
   * the next turn.
   *
   * @example
   * map((record) => {
   *   clock.spend('10ms')
   *   return record
   * })
   * @throws MillraceError INVALID_OPTIONS if `by` is no duration
   */
  spend(by: Duration): void {
    this.time += durationMs(by, 'spend')
    if (this.catchingUp) return
    this.catchingUp = true
    setImmediate(() => {
      this.catchingUp = false
      while ((this.timers[0]?.at ?? Infinity) <= this.time) this.timers.shift()?.fn()
    })
  }

  after(ms: number, fn: () => void): () => void {
    if (ms === Number.POSITIVE_INFINITY) return () => {}
    const timer: Timer = { at: this.time + Math.max(0, ms), order: this.order++, fn }
    this.insert(timer)
    return () => {
      const index = this.timers.indexOf(timer)
      if (index >= 0) this.timers.splice(index, 1)
    }
  }

  /** Timers that are set and have not run. */
  get pendingTimers(): number {
    return this.timers.length
  }

  /**
   * Moves the time on. Timers that come due run in order of time, each at its own time, and what they set off is done before the next.
   *
   * @throws MillraceError INVALID_OPTIONS if `by` is no duration; what a timer's function throws
   */
  async advance(by: Duration): Promise<void> {
    const end = this.time + durationMs(by, 'advance')
    await this.moving(async () => {
      await this.settle()
      while ((this.timers[0]?.at ?? Infinity) <= end) await this.runFirst()
      this.time = Math.max(this.time, end)
    })
  }

  /** Moves the time on to the next timer and runs it; false, without moving, where none is set. */
  advanceToNext(): Promise<boolean> {
    return this.moving(async () => {
      await this.settle()
      return this.runFirst()
    })
  }

  /** Waits until all that is under way in this process waits for time to pass. Sockets, files and compression are not seen. */
  async settle(): Promise<void> {
    let quiet = 0
    for (let turns = 0; quiet < QUIET_TURNS; turns++) {
      if (turns === MAX_TURNS)
        throw new Error(
          `something goes on for ever without waiting for the clock: after ${MAX_TURNS} turns of the event loop there was still work`,
        )
      const before = this.order
      await turn()
      quiet = before === this.order && !hasImmediates() ? quiet + 1 : 0
    }
  }

  private async runFirst(): Promise<boolean> {
    const timer = this.timers.shift()
    if (timer === undefined) return false
    this.time = Math.max(this.time, timer.at)
    timer.fn()
    await this.settle()
    return true
  }

  private async moving<T>(move: () => Promise<T>): Promise<T> {
    if (this.advancing) throw new Error('the time is being moved already: await each call of advance()')
    this.advancing = true
    try {
      return await move()
    } finally {
      this.advancing = false
    }
  }

  private insert(timer: Timer): void {
    let low = 0
    let high = this.timers.length
    while (low < high) {
      const middle = (low + high) >> 1
      if ((this.timers[middle] as Timer).at <= timer.at) low = middle + 1
      else high = middle
    }
    this.timers.splice(low, 0, timer)
  }
}

/** Turns that clocks wait for, of this one and of others that settle at the same time: they are nobody's work. */
let ownTurns = 0

function turn(): Promise<void> {
  ownTurns++
  return new Promise<void>((resolve) =>
    setImmediate(() => {
      ownTurns--
      resolve()
    }),
  )
}

/** Whether somebody waits for the next turn of the event loop. */
function hasImmediates(): boolean {
  return process.getActiveResourcesInfo().filter((kind) => kind === 'Immediate').length > ownTurns
}

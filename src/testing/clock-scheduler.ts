import { AsyncResource } from 'node:async_hooks'
import { Subscription, asyncScheduler, type SchedulerAction, type SchedulerLike } from 'rxjs'
import type { Clock } from '../record/clock.js'
import { memberContext } from './member-context.js'

type Work<T> = (this: SchedulerAction<T>, state?: T) => void

class ClockAction<T> extends Subscription implements SchedulerAction<T> {
  private cancel: () => void = () => {}

  constructor(
    private readonly clock: Clock,
    private readonly work: Work<T>,
  ) {
    super()
  }

  schedule(state?: T, delay = 0): Subscription {
    if (this.closed) return this
    this.cancel()
    // Bound: the timer is run by whoever moves the time, and what it schedules belongs to the pipeline still.
    this.cancel = this.clock.after(
      delay,
      AsyncResource.bind(() => this.run(state)),
    )
    return this
  }

  override unsubscribe(): void {
    this.cancel()
    super.unsubscribe()
  }

  private run(state: T | undefined): void {
    try {
      this.work(state)
    } catch (error) {
      this.unsubscribe()
      throw error
    }
  }
}

/**
 * An RxJS scheduler that lives by a clock, for operators that take one: `delay(1000, scheduler)`.
 *
 * @example
 * const clock = new VirtualClock()
 * source.pipe(debounceTime(500, clockScheduler(clock)))
 */
export function clockScheduler(clock: Clock): SchedulerLike {
  return {
    now: () => clock.now(),
    schedule: <T>(work: Work<T>, delay?: number, state?: T) => new ClockAction<T>(clock, work).schedule(state, delay),
  }
}

/** The time RxJS's default scheduler has: the system's, or inside `run` of a TestScheduler its frames. */
export const rxjsClock: Clock = {
  now: () => asyncScheduler.now(),
  monotonic: () => asyncScheduler.now(),
  after(ms, fn) {
    const action = asyncScheduler.schedule(fn, ms)
    return () => action.unsubscribe()
  },
}

const real = { schedule: asyncScheduler.schedule, now: asyncScheduler.now }
let users = 0

/**
 * As long as it is in use, RxJS's default scheduler lives by the clock of the kit wherever a kit's pipeline calls it, and by the
 * system's everywhere else. Returns how to stop that.
 */
export function useClockInPipelines(): () => void {
  if (users++ === 0) {
    asyncScheduler.schedule = function schedule<T>(work: Work<T>, delay?: number, state?: T): Subscription {
      const clock = memberContext.getStore()?.clock
      return clock === undefined
        ? real.schedule.call(asyncScheduler, work as never, delay, state)
        : clockScheduler(clock).schedule(work, delay, state)
    }
    asyncScheduler.now = () => memberContext.getStore()?.clock.now() ?? real.now()
  }
  let used = true
  return () => {
    if (!used) return
    used = false
    if (--users > 0) return
    asyncScheduler.schedule = real.schedule
    asyncScheduler.now = real.now
  }
}

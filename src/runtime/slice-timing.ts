import type { Subscriber } from 'rxjs'

/** What one step of a slice took. */
export interface StepTime {
  items: number
  busyMs: number
  heldMs: number
  /** When its input ended, until it has ended itself. */
  endedAt: number | undefined
}

/** A step, as far as it is timed. */
export interface Timed {
  time: StepTime | undefined
}

/**
 * Times the steps of one slice, each for itself. What a step takes is what passes from when something is handed to it until that returns,
 * without what it hands on meanwhile.
 *
 * Two looks at the clock for each step of each item, so only some slices are timed (`StepProfile`).
 */
export class SliceTiming {
  private readonly running: Timed[] = []
  private since = 0

  constructor(private readonly now: () => number) {}

  within<T>(step: Timed, run: () => T): T {
    this.enter(step)
    try {
      return run()
    } finally {
      this.leave()
    }
  }

  /** All of a step has come out. */
  ended({ time }: Timed): void {
    if (time?.endedAt === undefined) return
    time.heldMs += this.now() - time.endedAt
    time.endedAt = undefined
  }

  /** Times what `subscriber` is handed, as work of the step it belongs to: the one that is being subscribed. */
  towards<T>(step: Timed | undefined, subscriber: Subscriber<T>): Subscriber<T> {
    if (step === undefined) return subscriber
    const time = timeOf(step)
    const { next, complete } = subscriber
    const { enter, leave } = this
    subscriber.next = function timedNext(item: T) {
      time.items++
      enter(step)
      try {
        next.call(this, item)
      } finally {
        leave()
      }
    }
    subscriber.complete = () => {
      enter(step)
      time.endedAt = this.since
      try {
        complete.call(subscriber)
      } finally {
        leave()
      }
    }
    return subscriber
  }

  private readonly enter = (step: Timed): void => {
    this.turn()
    this.running.push(step)
  }

  private readonly leave = (): void => {
    this.turn()
    this.running.pop()
  }

  private turn(): void {
    const now = this.now()
    const step = this.running[this.running.length - 1]
    if (step !== undefined) timeOf(step).busyMs += now - this.since
    this.since = now
  }
}

function timeOf(step: Timed): StepTime {
  return (step.time ??= { items: 0, busyMs: 0, heldMs: 0, endedAt: undefined })
}

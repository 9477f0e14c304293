import type { Clock } from '../record/clock.js'

/** Lets one loop wait for whatever comes first: a call of `wake`, or a time. */
export class Wakeup {
  private pending = false
  private resolve: (() => void) | undefined

  constructor(private readonly clock: Clock) {}

  wake(): void {
    this.pending = true
    const resolve = this.resolve
    this.resolve = undefined
    resolve?.()
  }

  /** Resolves at once if `wake` was called since the last wait; after `ms` at the latest, if given. */
  wait(ms?: number): Promise<void> {
    if (this.pending) {
      this.pending = false
      return Promise.resolve()
    }
    return new Promise((resolve) => {
      const done = (): void => {
        cancel()
        this.resolve = undefined
        this.pending = false
        resolve()
      }
      const cancel = ms === undefined ? () => {} : this.clock.after(ms, done)
      this.resolve = done
    })
  }
}

/** Lets sockets, timers and promises have their turn. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

/** The time the runtime lives in; virtual in tests. */
export interface Clock {
  /** Milliseconds since the epoch: a date. It goes where the system's time is set, so it measures nothing. */
  now(): number
  /** Milliseconds since some moment, never set back or forth: what durations and time limits are measured by. */
  monotonic(): number
  /** Runs `fn` once, `ms` from now, however far that is; the function returned takes it back. */
  after(ms: number, fn: () => void): () => void
}

/** What a timer of Node holds; beyond it, it would fire at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after(ms, fn) {
    let timer: NodeJS.Timeout
    const wait = (left: number): void => {
      timer = left > LONGEST_TIMER_MS ? setTimeout(() => wait(left - LONGEST_TIMER_MS), LONGEST_TIMER_MS) : setTimeout(fn, left)
    }
    wait(ms)
    return () => clearTimeout(timer)
  },
}

/** Resolves `ms` from now, or as soon as the signal aborts. */
export function sleep(clock: Clock, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted === true) return resolve()
    const done = (): void => {
      signal?.removeEventListener('abort', done)
      cancel()
      resolve()
    }
    const cancel = clock.after(ms, done)
    signal?.addEventListener('abort', done)
  })
}

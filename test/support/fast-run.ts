import type { VirtualClock } from '../../src/testing/index.js'

/** Lets virtual time go on, timer by timer, until `run` has ended: what waits for time waits for nothing else. */
export async function inVirtualTime<T>(clock: VirtualClock, run: Promise<T>): Promise<T> {
  let over = false
  const ended = (): void => {
    over = true
  }
  run.then(ended, ended)
  // A long way beyond what any case needs, so that one that hangs fails instead of going round for ever.
  for (let steps = 0; steps < 100_000; steps++) {
    await clock.settle()
    if (over) return run
    await clock.advanceToNext()
  }
  throw new Error(`not over after 100,000 timers, at ${clock.now()} ms of virtual time`)
}

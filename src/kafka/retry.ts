import type { Logger } from '../record/logger.js'
import { WaitBoard } from '../record/wait-report.js'
import { sleep, systemClock } from '../record/clock.js'
import { Absence } from './absence.js'
import { asLogError, closedError, refreshAfter, type Refresh } from './errors.js'

const FIRST_DELAY_MS = 5
const LARGEST_DELAY_MS = 1_000

/** Exponential, and spread out so that many members do not come back at once. */
export function retryDelay(attempt: number, largest = LARGEST_DELAY_MS): number {
  return Math.min(largest, FIRST_DELAY_MS * 2 ** Math.min(attempt, 16)) * (0.5 + Math.random())
}

export interface RetryOptions {
  /** What is being done, to start messages with. */
  readonly what: string
  /** When to give up, by the monotonic clock. */
  readonly until: number
  readonly signal: AbortSignal
  readonly logger: Logger
  /** Looks up what the error says is out of date. */
  readonly refresh: (what: Refresh) => Promise<void> | void
}

/**
 * Runs `attempt` until it succeeds, fails in a way that trying again cannot cure, or the time is up.
 *
 * @throws LogError
 */
export async function retrying<T>(options: RetryOptions, attempt: () => Promise<T>): Promise<T> {
  const { what, until, signal, logger, refresh } = options
  let absence: Absence | undefined
  for (let tries = 0; ; tries++) {
    if (signal.aborted) throw closedError()
    try {
      return await attempt()
    } catch (error) {
      if (signal.aborted) throw closedError()
      const outdated = refreshAfter(error)
      const delay = retryDelay(tries)
      const now = systemClock.monotonic()
      absence ??= new Absence()
      absence.note(error, now)
      if (outdated === undefined) throw asLogError(error, what)
      if (now + delay >= until) throw asLogError(absence.verdict(error, now), what)
      logger.debug({ what, tries: tries + 1, reason: (error as Error).message }, 'trying again')
      WaitBoard.of(logger)?.heard(asLogError(error, what))
      await sleep(systemClock, delay, signal)
      try {
        await refresh(outdated)
      } catch (refreshError) {
        if (refreshAfter(refreshError) === undefined) throw asLogError(refreshError, what)
      }
    }
  }
}

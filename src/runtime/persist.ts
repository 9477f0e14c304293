import { reactionTo } from '../log/error.js'
import { sleep, type Clock } from '../record/clock.js'
import { MillraceError, errorMessage } from '../record/error.js'
import type { Logger } from '../record/logger.js'
import { WaitReport } from '../record/wait-report.js'

/** The first of a growing row of pauses between attempts, in milliseconds. */
export const RETRY_MS = 200
export const MAX_RETRY_MS = 5_000
/** A topic that is missing for so long is not about to be seen. */
const MISSING_MS = 60_000

export interface Persistence {
  /** What is waited for, to end "still waiting: ..." with. */
  readonly what: string
  /** For the log. */
  readonly fields: object
  readonly clock: Clock
  readonly logger: Logger
  /** Ends it, whatever it waits for. */
  readonly signal: AbortSignal
  /** How long after that one attempt may still take. Default 0. */
  readonly graceMs?: number
  /** Asked before each attempt. */
  readonly wanted?: () => boolean
  /** How long failures are put up with. Default: without end. */
  readonly withinMs?: number | undefined
}

const GIVEN_UP = Symbol('given up')

/**
 * Does something against the log again and again, until it works; says what it waits for when that takes long.
 *
 * @returns undefined if it was given up
 * @throws what cannot pass: fatal errors, MISSING_TOPIC for a minute, anything for `withinMs`
 */
export async function persist<T>(options: Persistence, action: () => Promise<T>): Promise<T | undefined> {
  const { what, fields, clock, logger, signal, graceMs = 0, wanted = () => true, withinMs = Number.POSITIVE_INFINITY } = options
  if (signal.aborted && graceMs === 0) return undefined
  const began = clock.monotonic()
  const report = new WaitReport(clock, logger, fields, what)
  const end = endOf(signal, graceMs, clock)
  let missingSince: number | undefined
  try {
    for (let delay = RETRY_MS; wanted(); delay = Math.min(MAX_RETRY_MS, delay * 2)) {
      try {
        const attempt = action()
        const result = await Promise.race([attempt, end.reached])
        if (result !== GIVEN_UP) return result
        attempt.catch((error: unknown) => logger.debug({ ...fields, error: errorMessage(error) }, `given up: ${what}`))
        return undefined
      } catch (error) {
        if (reactionTo(error) === 'fatal') throw error
        if (signal.aborted) return undefined
        const now = clock.monotonic()
        missingSince = error instanceof MillraceError && error.code === 'MISSING_TOPIC' ? (missingSince ?? now) : undefined
        if (now - began >= withinMs || now - (missingSince ?? now) >= MISSING_MS) throw error
        report.because(error)
        await sleep(clock, delay, signal)
        if (signal.aborted) return undefined
      }
    }
    return undefined
  } finally {
    end.cancel()
    report.end()
  }
}

/** When an attempt is no longer waited for. */
function endOf(
  signal: AbortSignal,
  graceMs: number,
  clock: Clock,
): { readonly reached: Promise<typeof GIVEN_UP>; readonly cancel: () => void } {
  let resolve = (_: typeof GIVEN_UP): void => {}
  let cancelTimer = (): void => {}
  const reached = new Promise<typeof GIVEN_UP>((done) => (resolve = done))
  const onAbort = (): void => {
    if (graceMs === 0) resolve(GIVEN_UP)
    else cancelTimer = clock.after(graceMs, () => resolve(GIVEN_UP))
  }
  if (signal.aborted) onAbort()
  else signal.addEventListener('abort', onAbort)
  return {
    reached,
    cancel: () => {
      signal.removeEventListener('abort', onAbort)
      cancelTimer()
    },
  }
}

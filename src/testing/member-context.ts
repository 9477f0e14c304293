import { AsyncLocalStorage } from 'node:async_hooks'
import type { LogClient } from '../log/port.js'
import type { Clock } from '../record/clock.js'

/** What belongs to one pipeline run by a test kit: found wherever the pipeline's code is, however asynchronous. */
export interface MemberContext {
  readonly clock: Clock
  /** Ends the pipeline in order. */
  readonly signal: AbortSignal
  /** The connections it has opened. */
  readonly clients: Set<LogClient>
}

export const memberContext = new AsyncLocalStorage<MemberContext>()

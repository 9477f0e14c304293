import { MillraceError, type ErrorCode, type ErrorDetails } from '../record/error.js'
import type { Origin } from '../record/origin.js'
import type { LogError, Reaction, Truncation } from './port.js'

/** An error of a log, with what the runtime is to do about it. */
export function logError(code: ErrorCode, reaction: Reaction, message: string, details?: ErrorDetails): LogError {
  const error = new MillraceError(code, message, { retryable: reaction !== 'fatal', ...details })
  // Of no use to users, so they see neither it nor a class of its own.
  return Object.defineProperty(error, 'reaction', { value: reaction }) as LogError
}

/** The same error, naming the place in the log where it came up, unless it names one already. */
export function withOrigin(error: LogError, origin: Origin): LogError {
  if (error.origin !== undefined) return error
  const { code, reaction, message, retryable, cause } = error
  return logError(code, reaction, message, { retryable, origin, ...(cause === undefined ? {} : { cause }) })
}

/** The log no longer holds what was read of it up to the origin. */
export function truncated(message: string, origin: Origin, truncation: Truncation): LogError {
  return Object.defineProperty(logError('OFFSET_OUT_OF_RANGE', 'fatal', message, { origin }), 'truncation', { value: truncation })
}

/** Where the log was truncated; undefined of any other error. */
export function truncationOf(error: unknown): Truncation | undefined {
  return error instanceof MillraceError ? (error as LogError).truncation : undefined
}

/** Whether the log no longer holds the offset that was asked for, or not yet. */
export function isOutOfRange(error: unknown): error is MillraceError {
  return error instanceof MillraceError && error.code === 'OFFSET_OUT_OF_RANGE'
}

/** What to do about anything thrown by a port; what is not a LogError is a bug or a broken contract, and fatal. */
export function reactionTo(error: unknown): Reaction {
  return error instanceof MillraceError && 'reaction' in error ? (error as LogError).reaction : 'fatal'
}

import { MillraceError, type ErrorCode, type ErrorDetails } from '../record/error.js'
import type { LogError, Reaction } from './port.js'

class ReactionError extends MillraceError implements LogError {
  constructor(
    code: ErrorCode,
    readonly reaction: Reaction,
    message: string,
    details?: ErrorDetails,
  ) {
    super(code, message, { retryable: reaction !== 'fatal', ...details })
  }
}

/** An error of a log, with what the runtime is to do about it. */
export function logError(code: ErrorCode, reaction: Reaction, message: string, details?: ErrorDetails): LogError {
  return new ReactionError(code, reaction, message, details)
}

/** What to do about anything thrown by a port; what is not a LogError is a bug or a broken contract, and fatal. */
export function reactionTo(error: unknown): Reaction {
  return error instanceof ReactionError ? error.reaction : 'fatal'
}

import type { Origin } from './origin.js'

/**
 * Everything that can go wrong, as a closed list: switch on it, the compiler says what is missing.
 */
export type ErrorCode =
  | 'INVALID_OPTIONS'
  | 'OUTSIDE_SOURCE'
  | 'OUTSIDE_SLICE'
  | 'NOT_PLANNED'
  | 'PLAN_FAILED'
  | 'MISSING_TOPIC'
  | 'TOPIC_EXISTS'
  | 'PARTITION_MISMATCH'
  | 'UNAUTHORIZED'
  | 'BROKER_UNREACHABLE'
  | 'BROKER_TOO_OLD'
  | 'BROKER_REFUSED'
  | 'TIMEOUT'
  | 'CLOSED'
  | 'CORRUPT_BATCH'
  | 'UNSUPPORTED_FORMAT'
  | 'UNSAFE_INTEGER'
  | 'OFFSET_OUT_OF_RANGE'
  | 'NO_COMMITTED_OFFSET'
  | 'RECORD_TOO_LARGE'
  | 'RECORD_FAILED'
  | 'RECORD_REFUSED'
  | 'SCHEMA_FAILED'
  | 'SPREAD_RECORD'
  | 'DECODE_FAILED'
  | 'ENCODE_FAILED'
  | 'LOSSY_SERDE'
  | 'SERDE_UNAVAILABLE'
  | 'ATTEMPT_TIMEOUT'
  | 'KEY_IN_RETRY'
  | 'CORRUPT_STATE'
  | 'STATE_MISMATCH'
  | 'STATE_TOO_LARGE'
  | 'MISSING_KEY'
  | 'MISSING_ID'
  | 'CLAIM_PENDING'
  | 'CLAIM_STORE_FAILED'
  | 'CHECKSUM_DIFFERS'
  | 'NO_POSITION'
  | 'SINK_FENCED'
  | 'SINK_MISMATCH'
  | 'SINK_REFUSED'
  | 'SINK_UNREACHABLE'
  | 'INVALID_TIMESTAMP'
  | 'INVALID_VALUE'
  | 'NOT_REPARTITIONED'
  | 'SLICE_COMPLETED_EARLY'
  | 'SLICE_SUBSCRIBED_LATE'
  | 'SLICE_STALLED'
  | 'REBALANCE_IN_PROGRESS'
  | 'MEMBER_LOST'
  | 'GROUP_MISMATCH'
  | 'INSTANCE_FENCED'
  | 'PRODUCER_FENCED'
  | 'TRANSACTION_ABORTED'
  | 'COMMIT_INDETERMINATE'

export interface ErrorDetails {
  /** Whether doing the same again can succeed without anybody changing anything. */
  readonly retryable?: boolean
  /** The record the error is about. */
  readonly origin?: Origin | undefined
  readonly cause?: unknown
}

const BRAND = Symbol.for('millrace.error')

/**
 * The one error class of millrace. The message says what happened, the likely cause and what to do.
 */
export class MillraceError extends Error {
  /** Also for one of another copy of the library, which a bundle may have. */
  static override [Symbol.hasInstance](value: unknown): boolean {
    if (this !== MillraceError) return Object.prototype.isPrototypeOf.call(this.prototype, value as object)
    return typeof value === 'object' && value !== null && BRAND in value
  }

  /** @internal */
  get [BRAND](): true {
    return true
  }

  override readonly name: string = 'MillraceError'
  readonly code: ErrorCode
  readonly retryable: boolean
  readonly origin: Origin | undefined

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, 'cause' in details ? { cause: details.cause } : undefined)
    this.code = code
    this.retryable = details.retryable ?? false
    this.origin = details.origin
  }
}

/** The text of anything that was thrown: user code throws strings and plain objects too. */
export function errorMessage(error: unknown): string {
  try {
    return String(error instanceof Error ? error.message : error)
  } catch {
    // An object without a prototype, a toString that throws.
    return `${typeof error} without text`
  }
}

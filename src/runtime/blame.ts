import { MillraceError, type ErrorCode } from '../record/error.js'

/**
 * What a slice failed with that neither a record nor the user's code for it is to blame for, but the program, what it keeps or its
 * surroundings: running it again, or without some record, changes nothing. `onError` is not asked.
 */
const NOBODYS: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'CLAIM_STORE_FAILED',
  'CORRUPT_STATE',
  'STATE_MISMATCH',
  'INVALID_OPTIONS',
  'LOSSY_SERDE',
  'NOT_PLANNED',
  'NO_POSITION',
  'NOT_REPARTITIONED',
  'OUTSIDE_SLICE',
  'OUTSIDE_SOURCE',
  'PLAN_FAILED',
  'SERDE_UNAVAILABLE',
  'SINK_MISMATCH',
  'SINK_REFUSED',
  'SLICE_COMPLETED_EARLY',
  'SLICE_STALLED',
  'SLICE_SUBSCRIBED_LATE',
  'SPREAD_RECORD',
])

/** What the log refuses for what a record holds. All else that it refuses for good, another record would be refused for as well. */
const OF_A_RECORD: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['INVALID_TIMESTAMP', 'RECORD_REFUSED', 'RECORD_TOO_LARGE'])

/** Refusals that last until somebody acts, whatever the broker says of trying again. */
const ENDS: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['MISSING_TOPIC', 'UNAUTHORIZED', 'UNSUPPORTED_FORMAT'])

export function endsAll(error: unknown): boolean {
  return error instanceof MillraceError && ENDS.has(error.code)
}

/** Of what a slice failed with. */
export function isNobodys(error: unknown): boolean {
  return error instanceof MillraceError && NOBODYS.has(error.code)
}

/** Of what the log refused. */
export function isOfARecord(error: unknown): boolean {
  return error instanceof MillraceError && OF_A_RECORD.has(error.code)
}

/** A serde cannot be asked now: it is waited for. */
export function isUnavailable(error: unknown): boolean {
  return error instanceof MillraceError && error.code === 'SERDE_UNAVAILABLE'
}

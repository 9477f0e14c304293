import { parseDuration, type Duration } from '../../record/duration.js'
import { MillraceError } from '../../record/error.js'

/** What tells that a row has changed: a date, or a number that grows. Drivers give large integers as text. */
export type RowVersion = Date | number | bigint

const DEFAULT_OVERLAP_MS = 60_000
const DEFAULT_OVERLAP = 1_000

/** A version as the database gave it; undefined for null. @throws MillraceError SINK_REFUSED */
export function versionOf(given: unknown, column: string): RowVersion | undefined {
  if (given === null || given === undefined) return undefined
  if (given instanceof Date || typeof given === 'bigint') return given
  if (typeof given === 'number' && Number.isFinite(given)) return given
  if (typeof given === 'string' && /^-?\d+$/.test(given)) return BigInt(given)
  throw new MillraceError(
    'SINK_REFUSED',
    `the version column '${column}' holds ${typeof given === 'string' ? `the text '${given.slice(0, 40)}'` : `a ${typeof given}`}, not a date or an integer: give another column, or make one of it in the query (in SQLite: unixepoch(updated_at) AS version)`,
  )
}

export function laterOf(one: RowVersion | undefined, other: RowVersion | undefined): RowVersion | undefined {
  if (one === undefined || other === undefined) return one ?? other
  // Numbers and bigints compare, whatever a driver gives for which size.
  return other > one ? other : one
}

/** From which version on rows are read again: `overlap` before the latest, as what was given late lies there. */
export function readFrom(latest: RowVersion, overlap: Duration | undefined): Date | number | string {
  if (latest instanceof Date)
    return new Date(latest.getTime() - (overlap === undefined ? DEFAULT_OVERLAP_MS : (parseDuration(overlap) as number)))
  if (typeof overlap === 'string')
    throw new MillraceError('SINK_REFUSED', `the versions are numbers, and the overlap is '${overlap}': give it as a number too`)
  const by = overlap ?? DEFAULT_OVERLAP
  return typeof latest === 'bigint' ? String(latest - BigInt(by)) : latest - by
}

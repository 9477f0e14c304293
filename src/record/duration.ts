import { MillraceError } from './error.js'

type Unit = 'ms' | 's' | 'm' | 'h' | 'd'

/**
 * A time span: milliseconds as a number, or a number with its unit: '100ms', '1.5s', '10m', '2h', '7d'. Whole milliseconds, whatever the
 * unit.
 */
export type Duration = number | `${number}${Unit}`

const UNIT_MS: Record<Unit, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** Milliseconds of a duration, or undefined if it is none. */
export function parseDuration(given: unknown): number | undefined {
  const ms = exactMs(given)
  if (ms === undefined) return undefined
  // '4.1m' are 245999.99999999997 in binary fractions. What is no whole number even so would be another one after it was stored.
  const whole = Math.round(ms)
  return whole >= 0 && Number.isSafeInteger(whole) && Math.abs(ms - whole) <= 1e-12 * Math.max(1, whole) ? whole : undefined
}

function exactMs(given: unknown): number | undefined {
  if (typeof given === 'number') return given
  if (typeof given !== 'string') return undefined
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(given)
  if (match === null) return undefined
  return Number(match[1]) * UNIT_MS[match[2] as Unit]
}

/**
 * Milliseconds of a duration.
 *
 * @throws MillraceError INVALID_OPTIONS, naming `what`, if it is none
 */
export function durationMs(given: Duration, what: string): number {
  const ms = parseDuration(given)
  if (ms === undefined) {
    throw new MillraceError(
      'INVALID_OPTIONS',
      `${what}: expected whole milliseconds or a text like '100ms', '10s', '5m', '2h', '7d', got ${JSON.stringify(given)}`,
    )
  }
  return ms
}

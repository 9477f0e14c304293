import { MillraceError } from './error.js'
import { parseDuration, type Duration } from './duration.js'

/** A stretch of event time, in milliseconds since the epoch. */
export interface Window {
  readonly start: number
  /** The first moment after it; of a session the time of its last record, of a sliding window its last moment. */
  readonly end: number
}

/** Windows of one length at fixed places: [start, start + size), one starting every `advance`. */
export interface TimeWindows {
  readonly kind: 'time'
  readonly sizeMs: number
  readonly advanceMs: number
  readonly offsetMs: number
}

/** Every stretch of `sizeMs`, both ends included, that begins or ends at a record. */
export interface SlidingWindows {
  readonly kind: 'sliding'
  readonly sizeMs: number
}

/** Records of a key not further apart than `gapMs`. */
export interface SessionWindows {
  readonly kind: 'session'
  readonly gapMs: number
}

export type Windows = TimeWindows | SlidingWindows | SessionWindows

export interface TumblingOptions {
  /**
   * Moves all windows by this much from multiples of the size since the epoch (UTC); for days that begin elsewhere than at 00:00 UTC.
   * Default 0.
   */
  readonly offset?: Duration
}

/**
 * Windows of one size, one after the other: each record is in exactly one.
 *
 * @throws MillraceError INVALID_OPTIONS
 * @example
 * window(tumbling('1m'), { aggregate: count() })
 */
export function tumbling(size: Duration, { offset = 0 }: TumblingOptions = {}): TimeWindows {
  const sizeMs = positive('tumbling: size', size)
  return { kind: 'time', sizeMs, advanceMs: sizeMs, offsetMs: milliseconds('tumbling: offset', offset) % sizeMs }
}

export interface HoppingOptions {
  readonly size: Duration
  /** One window begins this long after the other; not longer than the size, or records would fall between them. */
  readonly advance: Duration
}

/**
 * Windows of one size that overlap: each record is in size / advance of them.
 *
 * @throws MillraceError INVALID_OPTIONS
 * @example
 * window(hopping({ size: '1h', advance: '5m' }), { aggregate: count() })
 */
export function hopping({ size, advance }: HoppingOptions): TimeWindows {
  const sizeMs = positive('hopping: size', size)
  const advanceMs = positive('hopping: advance', advance)
  if (advanceMs > sizeMs)
    throw new MillraceError(
      'INVALID_OPTIONS',
      `hopping: advance (${advanceMs} ms) is longer than size (${sizeMs} ms): records between the windows would be in none`,
    )
  return { kind: 'time', sizeMs, advanceMs, offsetMs: 0 }
}

/**
 * A window for every stretch of time that the records of a key make distinct: one ending at each record, one beginning right after it.
 *
 * As Kafka Streams' SlidingWindows (KIP-450): both ends belong to the window, so it closes when event time is past end + grace. Other than
 * there, a record closer to the epoch than the size has a window that starts before it. State: one a record time, merged when a window is
 * handed out, so the aggregate needs `merge`.
 *
 * @throws MillraceError INVALID_OPTIONS
 * @example
 * window(sliding('1m'), { aggregate: count(), grace: '10s' })
 */
export function sliding(size: Duration): SlidingWindows {
  return { kind: 'sliding', sizeMs: positive('sliding: size', size) }
}

/**
 * Windows that last as long as records of a key keep coming: they are never further apart than the gap.
 *
 * A session closes when event time is past its last record + gap + grace. One record can make one session of two, so the aggregate needs
 * `merge`. A session that was closed stays as it is: what comes for it and is not late itself begins another.
 *
 * @throws MillraceError INVALID_OPTIONS
 * @example
 * window(session('30m'), { aggregate: count(), grace: '1m' })
 */
export function session(gap: Duration): SessionWindows {
  return { kind: 'session', gapMs: positive('session: gap', gap) }
}

/** The start of the last window that holds `time`; the others start `advanceMs` earlier each, as long as they end after it. */
export function lastStart({ advanceMs, offsetMs }: TimeWindows, time: number): number {
  return Math.floor((time - offsetMs) / advanceMs) * advanceMs + offsetMs
}

/** What makes stored windows unreadable by others: the store's kind. */
export function nameOfWindows(windows: Windows): string {
  switch (windows.kind) {
    case 'time':
      return `window/${windows.sizeMs}/${windows.advanceMs}/${windows.offsetMs}`
    case 'sliding':
      return `sliding/${windows.sizeMs}`
    case 'session':
      return `session/${windows.gapMs}`
  }
}

function milliseconds(what: string, given: Duration): number {
  const ms = parseDuration(given)
  if (ms === undefined)
    throw new MillraceError(
      'INVALID_OPTIONS',
      `${what}: expected whole milliseconds or a text like '100ms', '10s', '5m', got ${JSON.stringify(given)}`,
    )
  return ms
}

function positive(what: string, given: Duration): number {
  const ms = milliseconds(what, given)
  if (ms <= 0) throw new MillraceError('INVALID_OPTIONS', `${what} must be more than zero`)
  return ms
}

import type { Clock } from '../record/clock.js'
import { MillraceError } from '../record/error.js'
import type { StreamRecord } from '../record/record.js'

type AnyRecord = StreamRecord<unknown, unknown>

/**
 * The event time of a record: its timestamp, or what a function gives, in whole milliseconds since the epoch.
 *
 * With `maxAheadMs`, one further ahead of the clock than that is refused: event time would go there, and everything open would be over for
 * good.
 */
export function eventTime<R extends AnyRecord>(
  operator: string,
  time: ((record: R) => number) | undefined,
  maxAheadMs: number | undefined,
): (record: R, clock: Clock) => number {
  /** As far as is known without asking the clock. */
  let allowed = maxAheadMs === undefined ? Number.POSITIVE_INFINITY : Number.NEGATIVE_INFINITY
  return (record, clock) => {
    const ms = time === undefined ? record.timestamp : time(record)
    // Number.isSafeInteger without the call, as it is asked for every record.
    if (!(typeof ms === 'number' && ms >= 0 && ms <= Number.MAX_SAFE_INTEGER && Math.floor(ms) === ms)) {
      throw new MillraceError(
        'INVALID_TIMESTAMP',
        `${operator}: the event time of ${record.id} is ${String(ms)}, not a whole number of milliseconds since the epoch. Give the operator a time function, or drop such records before it`,
        { origin: record.origin },
      )
    }
    if (ms > allowed) {
      const now = clock.now()
      allowed = now + (maxAheadMs as number)
      if (ms > allowed) {
        throw new MillraceError(
          'INVALID_TIMESTAMP',
          `${operator}: the event time of ${record.id} is ${ms}, which is ${ms - now} ms ahead of the clock, and maxAhead is ${maxAheadMs} ms: event time would go there, and close all that is open`,
          { origin: record.origin },
        )
      }
    }
    return ms
  }
}

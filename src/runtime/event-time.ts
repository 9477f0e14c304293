import { MillraceError } from '../record/error.js'
import type { StreamRecord } from '../record/record.js'

type AnyRecord = StreamRecord<unknown, unknown>

/** The event time of a record: its timestamp, or what a function gives, in whole milliseconds since the epoch. */
export function eventTime<R extends AnyRecord>(operator: string, time: ((record: R) => number) | undefined): (record: R) => number {
  return (record) => {
    const ms = time === undefined ? record.timestamp : time(record)
    // Number.isSafeInteger without the call, as it is asked for every record.
    if (ms >= 0 && ms <= Number.MAX_SAFE_INTEGER && Math.floor(ms) === ms) return ms
    throw new MillraceError(
      'INVALID_TIMESTAMP',
      `${operator}: the event time of ${record.id} is ${String(ms)}, not a whole number of milliseconds since the epoch. Give the operator a time function, or drop such records before it`,
      {
        origin: record.origin,
      },
    )
  }
}

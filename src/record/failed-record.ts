import { MillraceError } from './error.js'
import { LogRecord, RAW_ALL, type RawRecord, type StreamRecord } from './record.js'

/**
 * A record whose step failed, as a value in the stream: operators pass it on untouched until one handles it.
 *
 * `record` is the record as the step got it; `raw` is the same record with the key, value and headers it was read with. `E` is what it
 * failed with and `R` the record: those of `decode` are `FailedRecord<MillraceError, ...>`, an `attempt` may fail with anything.
 */
export class FailedRecord<E = unknown, R extends StreamRecord<unknown, unknown> = StreamRecord<unknown, unknown>> {
  constructor(
    readonly record: R,
    readonly error: E,
    /** Name of the step that failed: "decode", or the name given to it. */
    readonly step: string,
    /** How often the step was tried, the first time included. */
    readonly attempts: number = 1,
    /**
     * Whether the step may go better another time. Default: unless the error is one of millrace that time cannot change, such as
     * DECODE_FAILED.
     */
    readonly retryable: boolean = !(error instanceof MillraceError) || error.retryable,
  ) {}

  /** The record as its partition holds it, byte for byte. */
  get raw(): RawRecord {
    const { source, offset, seq, start, end, timestamp } = inLog(this)
    if (start < 0) return this.record as unknown as RawRecord
    // Also of one that was left as it was: the bytes it handed out may have been changed in place.
    return new LogRecord<Buffer | null, Buffer | null>(source, offset, timestamp, seq, start, end, RAW_ALL, undefined, undefined, undefined)
  }
}

/** The record as the runtime knows it. */
export function inLog({ record }: FailedRecord): LogRecord<unknown, unknown> {
  return record as LogRecord<unknown, unknown>
}

/** Tells the failed from the good: `records.pipe(filter(isFailed))`. */
export function isFailed<T>(value: T): value is FailuresOf<T> & T {
  return value instanceof FailedRecord
}

/** Any failure, whatever failed: also where the record's type is a type parameter. */
export type SomeFailure = { readonly [Name in 'record' | 'error' | 'step' | 'attempts']: unknown }

/** The failures that a stream type may carry, typed by what failed; of one that is not known, any. */
export type FailuresOf<R> = [Extract<R, SomeFailure>] extends [never] ? FailedRecord : NoInfer<Extract<R, FailedRecord>>

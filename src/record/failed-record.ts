import { MillraceError } from './error.js'
import { LogRecord, RAW_ALL, type RawRecord } from './record.js'

/**
 * A record whose step failed, as a value in the stream: operators pass it on untouched until one handles it.
 *
 * `record` is the record as the step got it; `raw` is the same record with the key, value and headers it was read with.
 */
export class FailedRecord<K = unknown, V = unknown> {
  constructor(
    readonly record: LogRecord<K, V>,
    readonly error: unknown,
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
    const { source, offset, seq, start, end, timestamp } = this.record
    if (start < 0) return this.record as unknown as RawRecord
    // Also of one that was left as it was: the bytes it handed out may have been changed in place.
    return new LogRecord<Buffer | null, Buffer | null>(source, offset, timestamp, seq, start, end, RAW_ALL, undefined, undefined, undefined)
  }
}

/** Tells the failed from the good: `records.pipe(filter(isFailed))`. */
export function isFailed(value: unknown): value is FailedRecord {
  return value instanceof FailedRecord
}

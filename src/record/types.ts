import type { FailedRecord } from './failed-record.js'
import type { StreamRecord } from './record.js'

/** The records of a stream type that may carry failures. */
export type Good<R> = Exclude<R, FailedRecord>

export type KeyOf<R> = Good<R> extends StreamRecord<infer K, unknown> ? K : never

export type ValueOf<R> = Good<R> extends StreamRecord<unknown, infer V> ? V : never

import type { FailedRecord, SomeFailure } from './failed-record.js'
import type { StreamRecord } from './record.js'

/** The records of a stream type that may carry failures. */
export type Good<R> = Exclude<R, SomeFailure>

/** What the compiler shows first of the options it asks for, where failures would get in. */
type Unhandled = 'FailedRecords would get in here: put deadLetter({ topic }), retryTopic({ delays }) or dropFailed() before it'

/**
 * Goes with the options of what takes no failures: nothing, or where R may be one the sentence above, which no options are. (Two conditions,
 * as in a generic function, where R is open, the compiler takes the outer one as decided by the inner one of `any`.)
 */
export type Handled<R> = HoldsFailures<R> extends 'yes' ? Unhandled : unknown
type HoldsFailures<R> = [R] extends [StreamRecord<unknown, unknown>] ? 'no' : 'yes'

/** What may stand in a stream of records. */
export type RecordOrFailure = StreamRecord<unknown, unknown> | FailedRecord

// Taken by index, not by `infer`: of a type parameter `infer` stays open, whatever it extends.
type AsRecord<R> = Good<R> & StreamRecord<unknown, unknown>

export type KeyOf<R> = AsRecord<R>['key']

export type ValueOf<R> = AsRecord<R>['value']

type Leaf = string | number | bigint | boolean | symbol | null | undefined | Date | RegExp | Uint8Array | ((...args: never[]) => unknown)

/** What is handed out of a store and must not be changed in place: the change would be in memory only, and not rolled back. */
export type DeepReadonly<T> = unknown extends T
  ? T
  : T extends Leaf
    ? T
    : T extends ReadonlyMap<infer K, infer V>
      ? ReadonlyMap<K, DeepReadonly<V>>
      : T extends ReadonlySet<infer V>
        ? ReadonlySet<V>
        : { readonly [Name in keyof T]: DeepReadonly<T[Name]> }

import type { FailedRecord } from './failed-record.js'
import type { StreamRecord } from './record.js'

/** The records of a stream type that may carry failures. */
export type Good<R> = Exclude<R, FailedRecord>

export type KeyOf<R> = Good<R> extends StreamRecord<infer K, unknown> ? K : never

export type ValueOf<R> = Good<R> extends StreamRecord<unknown, infer V> ? V : never

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

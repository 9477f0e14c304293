/**
 * How one type becomes bytes and comes back.
 *
 * `encode` may return text: it is written as UTF-8 straight into the batch, which spares a buffer a record.
 */
export interface Serde<T> {
  readonly name: string
  readonly async?: false
  encode(value: T): Uint8Array | string | null
  /** @throws anything, if the bytes are not of this form; the record becomes a FailedRecord or fails its slice */
  decode(bytes: Buffer): T
}

/** What a serde makes of a value: bytes, text that is written as UTF-8, or null for a tombstone. */
export type Written = Uint8Array | string | null

/**
 * A serde that has to ask somebody: a schema registry, a KMS. It may answer with a promise, or at once where it knows already, which then
 * costs nothing more than a `Serde` does.
 *
 * `decode`, `toTopic`, `route`, `repartition`, `table`, `joinStream`, `delayUntil`, `schedule`, `store`, `timedStore` and aggregators take
 * one. Records keep their order behind it, and at most 256 of its promises are waited for at once in each place.
 *
 * What it throws or rejects with is a failure of the record. Where nobody but the environment is to blame, let it be a MillraceError with
 * the code SERDE_UNAVAILABLE: the pipeline then waits, and asks again after 200 ms, 400 ms ... 5 s, until there is an answer.
 */
export interface AsyncSerde<T> {
  readonly name: string
  /** Stores then keep values as they are, where they would else keep what the serde makes of them. */
  readonly async: true
  encode(value: T): Written | PromiseLike<Written>
  decode(bytes: Buffer): T | PromiseLike<T>
}

export type AnySerde<T> = Serde<T> | AsyncSerde<T>

/** Whether a serde answered later. */
export function isLater<T>(given: T | PromiseLike<T>): given is PromiseLike<T> {
  return typeof given === 'object' && given !== null && typeof (given as { readonly then?: unknown }).then === 'function'
}

/** One answer and another that is asked for behind it, each of which may come later. @throws what the second throws; nobody waits for the first then */
export function withNext<T>(one: T | PromiseLike<T>, next: () => T | PromiseLike<T>): [T, T] | Promise<[T, T]> {
  let other: T | PromiseLike<T>
  try {
    other = next()
  } catch (error) {
    if (isLater(one)) one.then(undefined, () => undefined)
    throw error
  }
  return isLater(one) || isLater(other) ? Promise.all([one, other]) : [one, other]
}

/**
 * A serde for values that the program wrote itself. Only that it takes them is checked: `json()` is inferred as a serde of unknown
 * where the type comes from the pipe, and what was written as T is read as T.
 */
export interface SerdeFor<T> extends Pick<Serde<T>, 'name' | 'async' | 'encode'> {
  decode(bytes: Buffer): unknown
}

/** The same where it may answer later. */
export type AnySerdeFor<T> = SerdeFor<T> | (Pick<AsyncSerde<T>, 'name' | 'async' | 'encode'> & { decode(bytes: Buffer): unknown })

const BYTES: Serde<Uint8Array | null> = {
  name: 'bytes',
  encode: (value) => value,
  decode: (bytes) => bytes,
}

const STRING: Serde<string | null> = {
  name: 'string',
  encode: (value) => value,
  decode: (bytes) => bytes.toString('utf8'),
}

/** Bytes as they are; null is a tombstone. */
export function bytes(): Serde<Uint8Array | null> {
  return BYTES
}

/** UTF-8 text; null is a tombstone. */
export function string(): Serde<string | null> {
  return STRING
}

/**
 * JSON text.
 *
 * `undefined`, functions and symbols have no JSON and are refused; null is a tombstone, as in every other serde.
 */
export function json<T = unknown>(): Serde<T> {
  return {
    name: 'json',
    encode(value) {
      if (value === null) return null
      const text = JSON.stringify(value) as string | undefined
      if (text === undefined) throw new TypeError(`a ${typeof value} has no JSON form`)
      return text
    },
    decode: (bytes) => JSON.parse(bytes.toString('utf8')) as T,
  }
}

/**
 * How one type becomes bytes and comes back.
 *
 * `encode` may return text: it is written as UTF-8 straight into the batch, which spares a buffer a record.
 */
export interface Serde<T> {
  readonly name: string
  encode(value: T): Uint8Array | string | null
  /** @throws anything, if the bytes are not of this form; the record becomes a FailedRecord or fails its slice */
  decode(bytes: Buffer): T
}

/**
 * A serde for values that the program wrote itself. Only that it takes them is checked: `json()` is inferred as a serde of unknown
 * where the type comes from the pipe, and what was written as T is read as T.
 */
export interface SerdeFor<T> extends Pick<Serde<T>, 'name' | 'encode'> {
  decode(bytes: Buffer): unknown
}

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

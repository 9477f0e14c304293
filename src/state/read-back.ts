import type { Encoded } from '../log/batch/write.js'
import { MillraceError, errorMessage } from '../record/error.js'
import { isLater, type AnySerde } from '../record/serde.js'
import { decodedAnew } from './copy.js'

/**
 * A serde that looks at what it writes: the first value, the second, the fourth and so on is read back and compared. What is in memory
 * lives until the next abort or
 * restart only, from then on the program goes on with what was stored; where the two differ, it would count on with something else.
 *
 * `what` names the operator and the value, `remedy` says where a serde is given.
 */
export function readBack<V, S extends AnySerde<V>>(serde: S & AnySerde<V>, what: string, remedy: string): S {
  let written = 0
  const remedied = { serde, what, remedy }
  const checked: Pick<AnySerde<V>, 'name' | 'async'> & { encode: unknown; decode: unknown } = {
    name: serde.name,
    ...(serde.async === undefined ? {} : { async: serde.async }),
    encode(value: V) {
      const encoded = serde.encode(value)
      written++
      if ((written & (written - 1)) !== 0) return encoded
      if (isLater(encoded)) return encoded.then(async (found) => (await check(remedied, value, found), found))
      const checking = check(remedied, value, encoded)
      return checking === undefined ? encoded : checking.then(() => encoded)
    },
    decode: (bytes: Buffer) => serde.decode(bytes),
  }
  return checked as unknown as S
}

interface Checked<V> {
  readonly serde: AnySerde<V>
  readonly what: string
  readonly remedy: string
}

/** A promise where the serde reads with one. */
function check<V>(checked: Checked<V>, value: V, encoded: Encoded): Promise<void> | undefined {
  // Whoever asked for it says what null means there, and what is no form at all.
  if (typeof encoded !== 'string' && !(encoded instanceof Uint8Array)) return undefined
  let read: V | PromiseLike<V>
  try {
    read = decodedAnew(checked.serde, encoded)
  } catch (error) {
    throw unreadable(checked, error)
  }
  if (isLater(read))
    return Promise.resolve(read).then(
      (found) => compare(checked, value, found),
      (error: unknown) => {
        throw unreadable(checked, error)
      },
    )
  compare(checked, value, read)
  return undefined
}

function compare<V>(checked: Checked<V>, value: V, read: V): void {
  let reason: string | undefined
  try {
    reason = difference(value, read)
  } catch (error) {
    throw unreadable(checked, error)
  }
  if (reason !== undefined) throw lossy(checked, reason)
}

function unreadable<V>(checked: Checked<V>, cause: unknown): unknown {
  return cause instanceof MillraceError && cause.code === 'SERDE_UNAVAILABLE'
    ? cause
    : lossy(checked, `it cannot be read: ${errorMessage(cause)}`, cause)
}

function lossy<V>({ serde, what, remedy }: Checked<V>, reason: string, cause?: unknown): MillraceError {
  return new MillraceError(
    'LOSSY_SERDE',
    `${what} is not what it was when it has been stored as ${serde.name} and is read again: ${reason}. After the next restart or abort the program would go on with that: ${remedy}`,
    { cause },
  )
}

/** What is not the same in two values, or undefined. A property that is undefined is as one that is not there. */
export function difference(given: unknown, read: unknown, path = 'it', seen = new Set<unknown>()): string | undefined {
  if (given === read || (Number.isNaN(given) && Number.isNaN(read))) return undefined
  if (typeof given !== 'object' || typeof read !== 'object' || given === null || read === null || kindOf(given) !== kindOf(read))
    return `${path} was ${shown(given)} and is ${shown(read)}`
  // A cycle that the serde took: what hangs on it is compared where it was met first.
  if (seen.has(given)) return undefined
  seen.add(given)
  if (given instanceof Date) return difference(given.getTime(), (read as Date).getTime(), `${path}.getTime()`, seen)
  if (given instanceof RegExp) return difference(String(given), String(read), path, seen)
  if (given instanceof Uint8Array) return Buffer.compare(given, read as Uint8Array) === 0 ? undefined : `${path} has other bytes`
  if (given instanceof Map || given instanceof Set) {
    const other = [...(read as Iterable<unknown>)]
    if (given.size !== other.length) return `${path}.size was ${given.size} and is ${other.length}`
    return firstDifference([...given], other, path, seen)
  }
  if (Array.isArray(given)) {
    const other = read as readonly unknown[]
    if (given.length !== other.length) return `${path}.length was ${given.length} and is ${other.length}`
    return firstDifference(given, other, path, seen)
  }
  const one = given as Readonly<Record<string, unknown>>
  const other = read as Readonly<Record<string, unknown>>
  for (const name of new Set([...Object.keys(one), ...Object.keys(other)])) {
    const found = difference(one[name], other[name], `${path}.${name}`, seen)
    if (found !== undefined) return found
  }
  return undefined
}

function firstDifference(given: readonly unknown[], read: readonly unknown[], path: string, seen: Set<unknown>): string | undefined {
  for (let i = 0; i < given.length; i++) {
    const found = difference(given[i], read[i], `${path}[${i}]`, seen)
    if (found !== undefined) return found
  }
  return undefined
}

/** Its class, as far as it matters: a Buffer is bytes like any other, and an object without a prototype an object. */
function kindOf(value: object): unknown {
  if (value instanceof Uint8Array) return Uint8Array
  return (Object.getPrototypeOf(value) as object | null) ?? Object.prototype
}

function shown(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value)
  if (typeof value === 'bigint') return `${value}n`
  if (typeof value === 'function') return 'a function'
  if (typeof value !== 'object' || value === null) return String(value)
  const { constructor } = value as { readonly constructor?: unknown }
  const name = typeof constructor === 'function' ? constructor.name : 'Object'
  return /^[AEIOU]/.test(name) ? `an ${name}` : `a ${name}`
}

import { MillraceError } from '../record/error.js'
import { json, type Serde } from '../record/serde.js'
import { checkForm, invalidValue, kept, type Aggregator, type MergeStates, type StateForm } from './aggregator.js'

/** Every number exactly, also those that JSON makes null of; of all others the text is that of JSON. */
const number: Serde<number> = {
  name: 'number',
  encode: (value) => String(value),
  decode(bytes) {
    const text = bytes.toString('latin1')
    const value = Number(text)
    if (text === '' || (Number.isNaN(value) && text !== 'NaN')) throw new TypeError(`'${text}' is not a number`)
    return value
  },
}

interface Mean {
  sum: number
  count: number
}

/** JSON, with a sum that it has no form for as text. */
const mean: Serde<Mean> = {
  name: 'mean',
  encode: ({ sum, count }) => JSON.stringify({ sum: Number.isFinite(sum) ? sum : String(sum), count }),
  decode(bytes) {
    const { sum, count } = JSON.parse(bytes.toString('latin1')) as { readonly sum: number | string; readonly count: number }
    return { sum: Number(sum), count }
  },
}

function ofNumbers<R>(name: string, add: (state: number | undefined, record: R) => number, merge: (a: number, b: number) => number) {
  return { name, version: 1, serde: number, add, merge, result: (state: number) => state, migrate: undefined }
}

/** Number of records. */
export function count(): Aggregator<unknown, number, number, MergeStates<number>> {
  return ofNumbers(
    'count',
    (state = 0) => state + 1,
    (a, b) => a + b,
  )
}

/**
 * Sum of a number of each record. Floating-point, so the last digits depend on the order; what is too large for it is Infinity.
 *
 * @throws MillraceError INVALID_OPTIONS; as failure of a record whose value is not a finite number INVALID_VALUE
 */
export function sum<R>(of: (record: R) => number): Aggregator<R, number, number, MergeStates<number>> {
  const read = finite('sum', of)
  return ofNumbers<R>(
    'sum',
    (state = 0, record) => state + read(record),
    (a, b) => a + b,
  )
}

/**
 * Smallest number.
 *
 * @throws MillraceError INVALID_OPTIONS; as failure of a record whose value is not a finite number INVALID_VALUE
 */
export function min<R>(of: (record: R) => number): Aggregator<R, number, number, MergeStates<number>> {
  const read = finite('min', of)
  return ofNumbers<R>('min', (state = Number.POSITIVE_INFINITY, record) => Math.min(state, read(record)), Math.min)
}

/**
 * Largest number.
 *
 * @throws MillraceError INVALID_OPTIONS; as failure of a record whose value is not a finite number INVALID_VALUE
 */
export function max<R>(of: (record: R) => number): Aggregator<R, number, number, MergeStates<number>> {
  const read = finite('max', of)
  return ofNumbers<R>('max', (state = Number.NEGATIVE_INFINITY, record) => Math.max(state, read(record)), Math.max)
}

/**
 * Arithmetic mean.
 *
 * @throws MillraceError INVALID_OPTIONS; as failure of a record whose value is not a finite number INVALID_VALUE
 */
export function average<R>(of: (record: R) => number): Aggregator<R, Mean, number, MergeStates<Mean>> {
  const read = finite('average', of)
  return {
    name: 'average',
    version: 1,
    serde: mean,
    add(state = { sum: 0, count: 0 }, record) {
      state.sum += read(record)
      state.count++
      return state
    },
    merge: (a, b) => ({ sum: a.sum + b.sum, count: a.count + b.count }),
    result: ({ sum, count }) => sum / count,
    migrate: undefined,
  }
}

/**
 * Makes one value of all, two at a time, in the order they come. `of` takes the value out of a record.
 *
 * @throws MillraceError INVALID_OPTIONS; as failure of the record INVALID_VALUE where the value is null or undefined, which stand for none
 * @example
 * reduce((order: StreamRecord<Buffer, Order>) => order.value, (earlier, later) => later, { name: 'latest-order' })
 */
export function reduce<R, V>(
  of: (record: R) => V,
  combine: (earlier: V, later: V) => V,
  form: StateForm<V>,
): Aggregator<R, V, V, MergeStates<V>> {
  if (typeof of !== 'function' || typeof combine !== 'function')
    throw new MillraceError('INVALID_OPTIONS', 'reduce: its first two arguments are functions: of a record, and of two values')
  const { name, serde = json<V>(), version = 1, migrate } = (form as StateForm<V> | undefined) ?? { name: '' }
  checkForm('reduce', name, version)
  const taken = `reduce '${name}': the value taken out of`
  const combined = `reduce '${name}': what combine made with`
  return {
    name,
    version,
    serde,
    add: (state, record) => {
      const value = kept(taken, of(record), record)
      return state === undefined ? value : kept(combined, combine(state, value), record)
    },
    merge: combine,
    result: (state) => state,
    migrate,
  }
}

function finite<R>(name: string, of: (record: R) => number): (record: R) => number {
  if (typeof of !== 'function') throw new MillraceError('INVALID_OPTIONS', `${name}: its argument is a function from a record to a number`)
  return (record) => {
    const value = of(record)
    if (Number.isFinite(value)) return value
    throw invalidValue(`${name}: what was taken out of`, `${shown(value)}, not a finite number`, record)
  }
}

function shown(value: unknown): string {
  return typeof value === 'string' ? `the text ${JSON.stringify(value.slice(0, 100))}` : String(value)
}

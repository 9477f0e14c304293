import { MillraceError } from '../record/error.js'
import { json, type Serde } from '../record/serde.js'

/**
 * How records become one value: for `aggregate` and `window`.
 *
 * The state may be changed in place and returned: it is rolled back with the transaction all the same.
 */
export interface Aggregator<R, A, Out = A> {
  /** Names the form of the state, which stored state is checked against. */
  readonly name: string
  readonly version: number
  readonly serde: Serde<A>
  /** `state` is undefined for the first record. */
  add(state: A | undefined, record: R): A
  /** One state of two; `earlier` holds the earlier records. Sessions and sliding windows need it. */
  readonly merge: ((earlier: A, later: A) => A) | undefined
  result(state: A): Out
  /** Makes the state of an older version into one of this. */
  readonly migrate: ((state: unknown, version: number) => A) | undefined
}

export interface AggregatorOptions<R, A, Out> {
  /** The state before the first record; not null, which stands for none. */
  readonly init: () => A
  /** The state with one more record: a new one, or the same changed in place. */
  readonly add: (state: A, record: R) => A
  /** One state of two, the first holding the earlier records; that one may be changed in place, the other may not. Needed for session and sliding windows. */
  readonly merge?: (earlier: A, later: A) => A
  /** What is handed out. Default: the state itself. */
  readonly result?: (state: A) => Out
  /** How the state is stored. Default JSON: what JSON cannot hold (Date, Map, undefined in arrays) needs another. */
  readonly serde?: Serde<A>
  /** Of the form of the state; raise it when that changes. Default 1. */
  readonly version?: number
  /** Makes state stored by an older version into the present form. Without it, older state is refused. */
  readonly migrate?: (state: unknown, version: number) => A
  /** Names the form of the state; state stored under another name is refused. Default 'custom'. */
  readonly name?: string
}

/**
 * An aggregator of your own.
 *
 * @throws MillraceError INVALID_OPTIONS
 * @example
 * const letters = aggregator({
 *   init: () => ({ a: 0, b: 0 }),
 *   add: (state, record: StreamRecord<unknown, 'a' | 'b'>) => { state[record.value]++; return state },
 * })
 */
export function aggregator<R, A, Out = A>(options: AggregatorOptions<R, A, Out>): Aggregator<R, A, Out> {
  const {
    init,
    add,
    merge,
    result = (state: A) => state as unknown as Out,
    serde = json<A>(),
    version = 1,
    migrate,
    name = 'custom',
  } = options
  if (typeof init !== 'function' || typeof add !== 'function')
    throw new MillraceError('INVALID_OPTIONS', 'aggregator: init and add must be functions')
  if (!Number.isInteger(version) || version < 1)
    throw new MillraceError('INVALID_OPTIONS', `aggregator: version must be a whole number from 1 on, got ${String(version)}`)
  return { name, version, serde, add: (state, record) => add(state === undefined ? init() : state, record), merge, result, migrate }
}

function builtIn<R, A, Out = A>(
  name: string,
  parts: Pick<Aggregator<R, A, Out>, 'add' | 'result'> & { merge: (a: A, b: A) => A },
): Aggregator<R, A, Out> {
  return { name, version: 1, serde: json<A>(), migrate: undefined, ...parts }
}

/** Number of records. */
export function count(): Aggregator<unknown, number> {
  return builtIn<unknown, number>('count', { add: (state = 0) => state + 1, merge: (a, b) => a + b, result: (state) => state })
}

/**
 * Sum of a number of each record. Floating-point, so the last digits depend on the order.
 * A value that is not a finite number fails its record.
 */
export function sum<R>(of: (record: R) => number): Aggregator<R, number> {
  const number = finite('sum', of)
  return builtIn<R, number>('sum', { add: (state = 0, record) => state + number(record), merge: (a, b) => a + b, result: (state) => state })
}

/** Smallest number. */
export function min<R>(of: (record: R) => number): Aggregator<R, number> {
  const number = finite('min', of)
  return builtIn<R, number>('min', {
    add: (state = Number.POSITIVE_INFINITY, record) => Math.min(state, number(record)),
    merge: (a, b) => Math.min(a, b),
    result: (state) => state,
  })
}

/** Largest number. */
export function max<R>(of: (record: R) => number): Aggregator<R, number> {
  const number = finite('max', of)
  return builtIn<R, number>('max', {
    add: (state = Number.NEGATIVE_INFINITY, record) => Math.max(state, number(record)),
    merge: (a, b) => Math.max(a, b),
    result: (state) => state,
  })
}

/** Arithmetic mean. */
export function average<R>(of: (record: R) => number): Aggregator<R, { sum: number; count: number }, number> {
  const number = finite('average', of)
  return builtIn<R, { sum: number; count: number }, number>('average', {
    add(state = { sum: 0, count: 0 }, record) {
      state.sum += number(record)
      state.count++
      return state
    },
    merge: (a, b) => ({ sum: a.sum + b.sum, count: a.count + b.count }),
    result: ({ sum, count }) => sum / count,
  })
}

/** Makes one value of all, two at a time, in the order they come. `of` takes the value out of a record; it may not be null. */
export function reduce<R, V>(of: (record: R) => V, combine: (earlier: V, later: V) => V): Aggregator<R, V> {
  return builtIn<R, V>('reduce', {
    add: (state, record) => (state === undefined ? of(record) : combine(state, of(record))),
    merge: combine,
    result: (state) => state,
  })
}

function finite<R>(name: string, of: (record: R) => number): (record: R) => number {
  if (typeof of !== 'function') throw new MillraceError('INVALID_OPTIONS', `${name}: its argument is a function from a record to a number`)
  return (record) => {
    const value = of(record)
    if (!Number.isFinite(value)) throw new MillraceError('INVALID_OPTIONS', `${name}: expected a finite number, got ${String(value)}`)
    return value
  }
}

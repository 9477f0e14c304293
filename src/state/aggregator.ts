import { MillraceError } from '../record/error.js'
import { unspread, type StreamRecord } from '../record/record.js'
import { json, type AnySerde } from '../record/serde.js'
import type { DeepReadonly } from '../record/types.js'
import { copyOf, isShared } from './copy.js'
import { readBack } from './read-back.js'

/**
 * How records become one value: for `aggregate` and `window`.
 *
 * The state may be changed in place and returned: it is rolled back with the transaction all the same.
 */
export interface Aggregator<R, A, Out = A, Merge extends MergeStates<A> | undefined = MergeStates<A> | undefined> {
  /** Names the form of the state, which stored state is checked against. */
  readonly name: string
  readonly version: number
  readonly serde: AnySerde<A>
  /** `state` is undefined for the first record. */
  add(state: A | undefined, record: R): A
  /** One state of two; `earlier` holds the earlier records. Sessions and sliding windows need it. */
  readonly merge: Merge
  result(state: A): Out
  /** Makes the state of an older version into one of this. */
  readonly migrate: ((state: unknown, version: number) => A) | undefined
}

/** Makes one state of two, of which `earlier` holds the earlier records. */
export type MergeStates<A> = (earlier: A, later: A) => A

/** What a state is told by, and how it is stored. */
export interface StateForm<A> {
  /**
   * Names the form of the state; state stored under another name is refused. A program that keeps something else under a name that is
   * taken would go
   * on with what the one before it left: give it a name of its own.
   */
  readonly name: string
  /**
   * How the state is stored, at the end of each slice; it may answer later. Default JSON: what JSON cannot hold (Date, Map, Infinity,
   * undefined in arrays) needs another.
   */
  readonly serde?: AnySerde<A>
  /** Of the form of the state; raise it when that changes. Default 1. */
  readonly version?: number
  /** Makes state stored by an older version into the present form. Without it, older state is refused. */
  readonly migrate?: (state: unknown, version: number) => A
}

export interface AggregatorOptions<R, A, Out> extends StateForm<A> {
  /** The state before the first record; not null, which stands for none. */
  readonly init: () => A
  /**
   * The state with one more record: a new one, or the same changed in place. What it takes over of the record belongs to the state from
   * then on.
   */
  readonly add: (state: A, record: R) => A
  /**
   * One state of two, the first holding the earlier records; that one may be changed in place, the other may not. Needed for session and
   * sliding windows.
   */
  readonly merge?: MergeStates<A>
  /**
   * What is handed out, made of the state without changing it. Default: the state itself. It is a copy, or made of one, where it is more
   * than a plain value.
   */
  readonly result?: (state: DeepReadonly<A>) => Out
}

/**
 * An aggregator of your own.
 *
 * @throws MillraceError INVALID_OPTIONS; as failure of the record INVALID_VALUE where `add` returns null or nothing
 * @example
 * const letters = aggregator({
 *   name: 'letters',
 *   init: () => ({ a: 0, b: 0 }),
 *   add: (state, record: StreamRecord<unknown, 'a' | 'b'>) => { state[record.value]++; return state },
 * })
 */
export function aggregator<R, A, Out = A>(
  options: AggregatorOptions<R, A, Out> & { readonly merge: MergeStates<A> },
): Aggregator<R, A, Out, MergeStates<A>>
export function aggregator<R, A, Out = A>(options: AggregatorOptions<R, A, Out>): Aggregator<R, A, Out, MergeStates<A> | undefined>
export function aggregator<R, A, Out = A>(options: AggregatorOptions<R, A, Out>): Aggregator<R, A, Out> {
  const { name, init, add, merge, result = (state) => state as unknown as Out, serde = json<A>(), version = 1, migrate } = options
  checkForm('aggregator', name, version)
  if (typeof init !== 'function' || typeof add !== 'function')
    throw new MillraceError('INVALID_OPTIONS', `aggregator '${name}': init and add must be functions`)
  const added = `aggregator '${name}': what add made of`
  return {
    name,
    version,
    serde,
    add: (state, record) => kept(added, add(state === undefined ? init() : state, record), record),
    merge,
    result: result as (state: A) => Out,
    migrate,
  }
}

/** The same with a serde that notices what it does not hold. */
export function checkedAggregator<R, A, Out>(what: string, aggregator: Aggregator<R, A, Out>): Aggregator<R, A, Out> {
  const { name, version, migrate, merge } = aggregator
  const serde = readBack(
    aggregator.serde,
    `${what}: the state of its aggregator '${name}'`,
    `give the aggregator a serde that holds it (serde: ...), or keep only what this one holds`,
  )
  return {
    name,
    version,
    serde,
    migrate,
    merge: merge && ((earlier, later) => merge.call(aggregator, earlier, later)),
    add: (state, record) => aggregator.add(state, record),
    result: (state) => aggregator.result(state),
  }
}

/**
 * What is handed out of a state. The state stays in the store, or comes back to it in a rollback: where the result may hold parts of it,
 * it is made of a
 * copy. A plain value is handed out as it is.
 */
export function resultOf<A, Out>(aggregator: Pick<Aggregator<never, A, Out>, 'serde' | 'result'>, state: A): Out {
  const out = aggregator.result(state)
  return isShared(out) && isShared(state) ? aggregator.result(copyOf(aggregator.serde, state)) : out
}

/** Name and version of a state, which stored state is checked against. @throws MillraceError INVALID_OPTIONS */
export function checkForm(what: string, name: unknown, version: unknown): void {
  if (typeof name !== 'string' || name === '')
    throw new MillraceError(
      'INVALID_OPTIONS',
      `${what}: name must be a text, got ${String(name)}. It names the form of the state, so that no other program takes the state for its own`,
    )
  if (!Number.isInteger(version) || (version as number) < 1)
    throw new MillraceError('INVALID_OPTIONS', `${what}: version must be a whole number from 1 on, got ${String(version)}`)
}

/** A state as it is kept. @throws MillraceError INVALID_VALUE for what stands for none */
export function kept<A>(what: string, state: A, record: unknown): A {
  if (state !== undefined && state !== null) return unspread(state, `${what} a record`)
  throw invalidValue(what, `${String(state)}, which stands for no state at all`, record)
}

/** A record whose value is none to work with. */
export function invalidValue(what: string, is: string, record: unknown): MillraceError {
  const { id, origin } = record as Partial<StreamRecord<unknown, unknown>>
  return new MillraceError('INVALID_VALUE', `${what} ${id ?? 'a record'} is ${is}`, { origin })
}

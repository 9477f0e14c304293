import type { OperatorFunction } from 'rxjs'
import { z } from 'zod'
import { MillraceError } from '../../record/error.js'
import type { Duration } from '../../record/duration.js'
import type { LogRecord, StreamRecord } from '../../record/record.js'
import type { Good, Handled, RecordOrFailure } from '../../record/types.js'
import { json, type AnySerde, type AnySerdeFor } from '../../record/serde.js'
import { Mark, mark } from '../../runtime/accounting.js'
import { activeSlice, type SliceContext } from '../../runtime/context.js'
import { operate } from '../../runtime/operate.js'
import { functionOption, objectWith, parseOptions, positiveDuration, positiveInteger, storeName } from '../../runtime/options.js'
import { PlainHandle, TimedHandle, type OpenStore, type StoreHandle, type TimedStoreHandle } from './store-handle.js'
import { BoundedStore, type Bounds } from './bounded-store.js'
import { storedForm, type StoredForm, type StoredValue } from './stored-value.js'
import { TimedStore } from './timed-store.js'
import { readBack } from '../../state/read-back.js'
import type { StoreSpec } from '../../state/store.js'

type AnyRecord = StreamRecord<unknown, unknown>

interface StoreBase<V> {
  /** Names the state and its changelog, '<group>-<name>-changelog'; must stay the same. */
  readonly name: string
  /** How values are stored; it may answer later. Default JSON: what JSON cannot hold (Date, Map, bytes) needs another. */
  readonly value?: AnySerdeFor<V>
  /** Of the form of the values; raise it when that changes. Default 1. */
  readonly version?: number
  /** Makes a value stored by an older version into one of the present form. Without it, older state is refused. */
  readonly migrate?: (value: unknown, version: number) => V
}

export interface StoreOptions<V> extends StoreBase<V> {
  /**
   * How long an entry lives after it was last put; default for ever. By event time (default), which goes on with the timestamps of the
   * task's
   * records, or by the wall clock, looked at whenever a record comes.
   */
  readonly ttl?: Duration | { readonly after: Duration; readonly by: 'event' | 'wall' }
  /** Most entries a task keeps: those put longest ago go first. Default: as many as come. */
  readonly maxEntries?: number
}

export interface TimedStoreOptions<V> extends StoreBase<V> {
  /** How long, by event time, an entry is kept after the time of its key. Default for ever. */
  readonly ttl?: Duration
}

const base = {
  name: storeName,
  value: objectWith<AnySerde<unknown>>(['encode', 'decode'], 'a serde such as json()').optional(),
  version: positiveInteger.default(1),
  migrate: functionOption<(value: unknown, version: number) => unknown>('a function of the old value and its version').optional(),
}
const storeSchema = z.strictObject({
  ...base,
  ttl: z
    .union(
      [
        positiveDuration.transform((ms) => ({ after: ms, by: 'event' as const })),
        z.strictObject({ after: positiveDuration, by: z.enum(['event', 'wall']) }),
      ],
      {
        error: "expected a time span such as '1h', or { after, by: 'event' | 'wall' }",
      },
    )
    .optional(),
  maxEntries: positiveInteger.optional(),
})
const timedSchema = z.strictObject({ ...base, ttl: positiveDuration.optional() })

/** What `withStore` opens in a slice: made by `store` or `timedStore`. It may be used by several operators of a pipeline. */
export class StoreDefinition<H> {
  constructor(
    readonly name: string,
    /** @internal */
    readonly open: (slice: SliceContext, operator: string) => OpenStore<H>,
  ) {}
}

/**
 * Defines a store: values by key that user code reads and changes, one for each task, in memory and on a changelog.
 *
 * Its changes commit with the records that made them, or are undone with them. A task knows the keys of its own records only: put under the
 * record's key, or one that the inputs are partitioned by. An object is stored as it is when it is put. Memory: values (objects as
 * stored), keys and about 200 bytes an entry; bounded by `ttl` and `maxEntries`,
 * which delete from the changelog too.
 *
 * @throws MillraceError INVALID_OPTIONS
 * @example
 * const carts = store<Cart>({ name: 'carts', ttl: '1d' })
 */
export function store<V>(options: StoreOptions<V>): StoreDefinition<StoreHandle<V>> {
  const { name, value = json(), version, migrate, ttl, maxEntries } = parseOptions(storeSchema, options, 'store')
  const bounds: Bounds = { ttlMs: ttl?.after, by: ttl?.by ?? 'event', maxEntries }
  const form = stored(name, value as AnySerde<V>, true)
  const spec: StoreSpec<BoundedStore<V>> = {
    name,
    kind: bounds.by === 'event' ? 'store/event-time' : 'store/wall',
    version,
    shared: true,
    create: () =>
      new BoundedStore<V>(
        {
          serde: form.serde,
          version,
          migrate:
            migrate === undefined
              ? undefined
              : (old, from) => form.put(migrate((old as StoredValue<unknown>).value, from) as V, (old as StoredValue<unknown>).at),
        },
        bounds,
      ),
  }
  return new StoreDefinition(
    name,
    (slice, operator) =>
      new PlainHandle<V>(slice, name, form, slice.store(operator, spec), bounds.by === 'wall' ? () => slice.clock.now() : undefined),
  )
}

function stored<V>(name: string, serde: AnySerde<V>, stamped: boolean): StoredForm<V> {
  return storedForm<V>(readBack(serde, `store '${name}': a value put`, 'give the store a serde that holds it (value: ...)'), stamped)
}

/**
 * Defines a store whose keys come with a time: what a key had when, looked up by stretches of time. All else is as with `store`.
 *
 * @throws MillraceError INVALID_OPTIONS
 * @example
 * const prices = timedStore<number>({ name: 'prices', ttl: '1h' })
 * trades.pipe(withStore(prices, (store, trade) => {
 *   store.put(trade.key, trade.timestamp, trade.value.price)
 *   return store.range(trade.key, trade.timestamp - 60_000).length
 * }))
 */
export function timedStore<V>(options: TimedStoreOptions<V>): StoreDefinition<TimedStoreHandle<V>> {
  const { name, value = json(), version, migrate, ttl } = parseOptions(timedSchema, options, 'timedStore')
  const form = stored(name, value as AnySerde<V>, false)
  const spec: StoreSpec<TimedStore<V>> = {
    name,
    kind: 'store/timed',
    version,
    shared: true,
    create: () =>
      new TimedStore<V>({
        serde: form.serde,
        version,
        due: (time) => (ttl === undefined ? Number.POSITIVE_INFINITY : time + ttl),
        migrate: migrate === undefined ? undefined : (old, from) => form.put(migrate((old as StoredValue<unknown>).value, from) as V, 0),
      }),
  }
  return new StoreDefinition(name, (slice, operator) => new TimedHandle<V>(slice, name, form, slice.store(operator, spec), ttl))
}

type Definitions = StoreDefinition<unknown> | Readonly<Record<string, StoreDefinition<unknown>>>

/** The store of one definition, or those of several under the same names. */
export type StoresOf<D extends Definitions> =
  D extends StoreDefinition<infer H> ? H : { readonly [Name in keyof D]: D[Name] extends StoreDefinition<infer H> ? H : never }

/**
 * Calls a function for each record with a store at hand, or several, and passes on what it returns; as `map`, with state that lasts.
 *
 * The store is the task's, and holds what was committed before and what this transaction did to it so far. It is used while the function
 * runs:
 * after an await other records may have changed it, and after the slice it is refused.
 *
 * Order: kept. State: the stores'; what a failing function has changed is undone with its transaction. Records count as processed.
 * FailedRecords are not accepted: handle them before.
 *
 * @throws MillraceError INVALID_OPTIONS; LOSSY_SERDE; OUTSIDE_SLICE when subscribed outside withTransaction, or the store used after its
 * slice; as error of the slice NOT_PLANNED in a branch that planning does not take, ENCODE_FAILED
 * @example
 * const visits = store<number>({ name: 'visits', maxEntries: 100_000 })
 * clicks.pipe(
 *   withStore(visits, (store, click) => click.with({ value: store.update(click.key, (n = 0) => n + 1) })),
 *   filter((click) => click.value === 10),
 * )
 */
export function withStore<R extends RecordOrFailure = AnyRecord, D extends Definitions = Definitions, Out = unknown>(
  definitions: D,
  use: Handled<R> & ((stores: StoresOf<D>, record: Good<R>) => Out),
): OperatorFunction<R, Out>
export function withStore<R extends AnyRecord, D extends Definitions, Out>(
  definitions: D,
  use: (stores: StoresOf<D>, record: R) => Out,
): OperatorFunction<R, Out> {
  const given: Readonly<Record<string, unknown>> =
    definitions instanceof StoreDefinition ? { only: definitions } : ((definitions as Readonly<Record<string, unknown>> | undefined) ?? {})
  const named = Object.entries(given)
  if (named.length === 0 || named.some(([, one]) => !(one instanceof StoreDefinition))) {
    throw new MillraceError(
      'INVALID_OPTIONS',
      'withStore: its first argument is what store(...) or timedStore(...) made, or an object of such',
    )
  }
  if (typeof use !== 'function')
    throw new MillraceError('INVALID_OPTIONS', 'withStore: its second argument is a function of the store and the record')
  const what = `withStore '${named.map(([, one]) => (one as StoreDefinition<unknown>).name).join("', '")}'`

  return operate<R, Out>(what, (target) => {
    const slice = activeSlice(what)
    const open = named.map(([name, one]) => [name, (one as StoreDefinition<unknown>).open(slice, what)] as const)
    const handles = (
      definitions instanceof StoreDefinition ? open[0]?.[1].handle : Object.fromEntries(open.map(([name, { handle }]) => [name, handle]))
    ) as StoresOf<D>
    return {
      next(record) {
        for (const [, one] of open) one.begin(record.timestamp)
        const out = use(handles, record)
        mark(record as unknown as LogRecord<unknown, unknown>, Mark.processed)
        target.next(out)
      },
      complete() {
        if (slice.mode === 'run') for (const [, one] of open) one.end()
        target.complete()
      },
    }
  })
}

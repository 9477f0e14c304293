import type { OperatorFunction } from 'rxjs'
import { z } from 'zod'
import type { Duration } from '../record/duration.js'
import { MillraceError } from '../record/error.js'
import { FailedRecord } from '../record/failed-record.js'
import type { LogRecord, Origin } from '../record/record.js'
import type { Good } from '../record/types.js'
import { Mark, mark } from '../runtime/accounting.js'
import { activeSlice } from '../runtime/context.js'
import { isIdRule, ruleOfFunction, type IdRule } from '../runtime/id-rule.js'
import { operate } from '../runtime/operate.js'
import { functionOption, parseOptions, positiveDuration, positiveInteger, storeName } from '../runtime/options.js'
import { withSideOutput, type SideOutput } from '../runtime/side-output.js'
import { claimTable } from '../state/claim-table.js'
import { TaskClaims } from '../state/task-claims.js'

/** A record that was dropped, and the one that came first. */
export interface Duplicate<R> {
  readonly record: R
  readonly id: string
  readonly first: {
    readonly origin: Origin
    /** When it passed, in milliseconds since the epoch. */
    readonly at: number
  }
}

export interface DedupeOptions<R> {
  /** The id: a function of the record, `recordKey()`, `header('name')` or `contentHash()`. */
  readonly by: ((record: Good<NoInfer<R>>) => string | null | undefined) | IdRule
  /**
   * How long an id is remembered. In the task's own store it goes by event time: by the timestamps of the partition that the first one came from, so that
   * a backlog read in a minute is judged as when it was written.
   */
  readonly within: Duration
  /** Where ids are remembered: 'task' (default), exact within a partition, committed with the offsets; or the same with a handle to look into it, `taskClaims()`. */
  readonly store?: 'task' | TaskClaims
  /** Says that all records of one id are in one partition, which a task's own store needs; without it the plan warns. `recordKey()` needs no saying. */
  readonly partitioned?: true
  /** Gets the duplicates; what it does with them commits with everything else. Default: they are counted (`Commit.duplicate`). */
  readonly onDuplicate?: SideOutput<Duplicate<Good<NoInfer<R>>>>
  /** What to do with a record whose id is missing, empty or not text: 'fail' (default) fails it with MISSING_ID, which follows `onError` of withTransaction; 'pass' lets it pass unseen. */
  readonly onMissing?: 'fail' | 'pass'
  /** Most ids a task keeps; beyond it the oldest are forgotten early, with a warning. Default 10,000,000, some 3 GB; it bounds memory where `within` does not. */
  readonly maxIds?: number
  /** Names the state and its changelog, '<group>-<name>-changelog'; must stay the same. Default 'dedupe'; needed where a pipeline has two. */
  readonly name?: string
}

type AnyBy = ((record: never) => unknown) | IdRule

const schema = z.strictObject({
  by: z.custom<AnyBy>((given) => typeof given === 'function' || isIdRule(given), { message: "expected a function from the record to its id, recordKey(), header('name') or contentHash()" }),
  within: positiveDuration,
  store: z.union([z.literal('task'), z.instanceof(TaskClaims)], { message: "expected 'task' or taskClaims()" }).default('task'),
  partitioned: z.literal(true).optional(),
  onDuplicate: functionOption<SideOutput<Duplicate<unknown>>>('a function from the observable of duplicates to another').optional(),
  onMissing: z.enum(['fail', 'pass']).default('fail'),
  // A Map of V8 holds 16.7 million.
  maxIds: positiveInteger.max(16_000_000).default(10_000_000),
  name: storeName.default('dedupe'),
})

/**
 * Lets the first record of each id pass; later ones within the time are duplicates.
 *
 * The claim of an id commits with the outputs and offsets of the record that made it, or not at all. The same record again, after an abort, a crash or
 * through a retry topic, is not its own duplicate: it is told by its origin. A second record of one origin with the same id in one transaction, a copy that user code made, is one.
 *
 * Order: kept. Offsets: duplicates are consumed like others, counted as `duplicate`. State: one claim an id for `within`, on the changelog many to a record. Memory: about 250 bytes an id beside its text,
 * bounded by the ids of `within` and by `maxIds`. FailedRecords pass untouched.
 *
 * @throws MillraceError INVALID_OPTIONS; OUTSIDE_SLICE when subscribed outside withTransaction; as error of the slice MISSING_ID
 * @example
 * orders.pipe(
 *   dedupe({ by: (order) => order.value.id, within: '10m', partitioned: true, onDuplicate: (all) => all.pipe(map(({ record }) => record), toTopic({ topic: 'again' })) }),
 *   toTopic({ topic: 'orders-once', value: json() }),
 * )
 */
export function dedupe<R>(options: DedupeOptions<R>): OperatorFunction<R, R> {
  const { by, within, store, partitioned, onDuplicate, onMissing, maxIds, name } = parseOptions(schema, options, 'dedupe')
  const what = `dedupe '${name}'`
  const rule = isIdRule(by) ? by : ruleOfFunction(by)
  const spec = claimTable(name, { withinMs: within, maxIds })

  return withSideOutput<R, R, Duplicate<Good<R>>>(
    (put) =>
      operate(what, (target) => {
        const slice = activeSlice(what)
        const table = slice.store(what, spec)
        table.useClock(slice.clock)
        if (slice.mode === 'plan' && !rule.partitioned && partitioned !== true) slice.warn(notPartitioned(what, rule))
        if (slice.mode === 'run' && store !== 'task') store.attach(`${slice.group}/${slice.partition}`, table)
        if (table.evicted > 0) {
          slice.logger.warn({ partition: slice.partition, forgotten: table.evicted, maxIds }, `${what} forgot ids before their time, as there are more than maxIds: their duplicates pass`)
          table.evicted = 0
        }
        return {
          next(item) {
            if (item instanceof FailedRecord) return target.next(item)
            const record = item as unknown as LogRecord<unknown, unknown>
            const id = rule.idOf(record)
            if (typeof id !== 'string' || id === '') {
              if (onMissing === 'fail') throw missingId(what, rule, record, id)
              return target.next(item)
            }
            const first = table.take(id, record)
            if (first === undefined) return target.next(item)
            mark(record, Mark.duplicate)
            if (onDuplicate !== undefined) put({ record: item as Good<R>, id, first: { origin: first.origin, at: first.time } })
          },
        }
      }),
    onDuplicate as SideOutput<Duplicate<Good<R>>> | undefined,
  )
}

function notPartitioned(what: string, rule: IdRule): string {
  return (
    `${what} goes by ${rule.name} and keeps its ids in each task: two records of one id in two partitions would both pass. If one id is always in one partition, say so with partitioned: true; ` +
    'else put repartition({ key: ... }) before it and go by recordKey(), or use a shared store'
  )
}

function missingId(what: string, rule: IdRule, { id, origin }: LogRecord<unknown, unknown>, given: unknown): MillraceError {
  const found = given === '' ? 'is empty' : given === undefined || given === null ? 'is missing' : `is a ${typeof given}, not text`
  return new MillraceError('MISSING_ID', `${what}: the id of ${id} (${rule.name}) ${found}. Drop such records before it, let them pass with onMissing: 'pass', or see onError of withTransaction`, { origin })
}

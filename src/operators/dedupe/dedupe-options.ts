import { z } from 'zod'
import type { Duration } from '../../record/duration.js'
import type { Origin } from '../../record/origin.js'
import type { Good } from '../../record/types.js'
import { functionOption, objectWith, positiveDuration, positiveInteger, storeName } from '../../runtime/options.js'
import type { SideOutput } from '../../runtime/side-output.js'
import { CLAIM_STORE_METHODS, type ClaimStore } from './claims/claim-store.js'
import { TaskClaims } from './claims/task-claims.js'
import { isIdRule, type IdRule } from './id-rule.js'

/** A record that was dropped, and the one that came first. */
export interface Duplicate<R> {
  readonly record: R
  readonly id: string
  readonly first: {
    readonly origin: Origin
    /** When it passed, in milliseconds since the epoch. */
    readonly at: number
    /** What `checksum` gave for it. */
    readonly checksum?: string | undefined
  }
}

/** A filter that knows which ids are surely new, so that they pass without waiting for the store. */
export interface BloomOptions {
  /** How many different ids come within the time, over all partitions: the filters are sized by it. More cost memory, not records. */
  readonly expected: number
  /** How many new ids are looked up all the same. Default 0.01, one in a hundred; that costs time and never a record. */
  readonly errorRate?: number
  /**
   * Says that all records of one id come in one partition of this source, and that nobody else claims ids under the store's prefix. Without
   * it a filter would know nothing of what others claim, and its 'surely new' would be wrong.
   */
  readonly exclusive: true
}

export interface DedupeOptions<R> {
  /** The id: a function of the record, `recordKey()`, `header('name')` or `contentHash()`. */
  readonly by: ((record: NoInfer<Good<R>>) => string | null | undefined) | IdRule
  /**
   * How long an id is remembered. In the task's own store it goes by event time: by the timestamps of the partition that the first one came
   * from, so that a backlog read in a minute is judged as when it was written. In a shared store it goes by the store's clock, from the
   * claim on.
   */
  readonly within: Duration
  /**
   * Where ids are remembered: 'task' (default), exact within a partition, committed with the offsets; the same with a handle to look into
   * it, `taskClaims()`; or a store that partitions, pipelines and services share: `redisClaims({ ... })`, `sqlClaims({ ... })`,
   * `memoryClaims()`, one of your own.
   */
  readonly store?: 'task' | TaskClaims | ClaimStore
  /**
   * Says that all records of one id are in one partition, which a task's own store needs; without it the plan warns. `recordKey()` needs no
   * saying.
   */
  readonly partitioned?: true
  /** Gets the duplicates; what it does with them commits with everything else. Default: they are counted (`Commit.duplicate`). */
  readonly onDuplicate?: SideOutput<Duplicate<NoInfer<Good<R>>>>
  /**
   * What to do with a record whose id is missing, empty or not text: 'fail' (default) fails it with MISSING_ID, which follows `onError` of
   * withTransaction; 'pass' lets it pass unseen.
   */
  readonly onMissing?: 'fail' | 'pass'
  /**
   * Most ids a task keeps; beyond it the oldest are forgotten early, with a warning. Default 10,000,000, some 2 GB; it bounds memory where
   * `within` does not.
   */
  readonly maxIds?: number
  /**
   * Shared stores: how long a record waits for another record that has claimed its id and not committed yet; then its slice is given up and
   * run again. Default '5s'.
   */
  readonly waitAtMost?: Duration
  /**
   * Shared stores: a claim this old, whose transaction has still not committed, no longer counts: its group has died whole. Default '2m'. A
   * transaction that takes more than half of it is run again, and it must exceed the session timeout; shorter frees the ids of a group that
   * is gone sooner.
   */
  readonly takeOverAfter?: Duration
  /**
   * `sqlClaims`: what the record holds, in short (`contentHash()`, say), kept with its id. `onDuplicate` gets that of the first, which tells
   * a record that came twice from two that were given one id. Default: none is kept.
   */
  readonly checksum?: ((record: NoInfer<Good<R>>) => string) | IdRule
  /** Redis: a Bloom filter before the look-up, where it may stand. Default: none. */
  readonly bloom?: BloomOptions
  /**
   * Names the state and its changelog, '<group>-<name>-changelog'; must stay the same. Default 'dedupe'; needed where a pipeline has two.
   */
  readonly name?: string
}

type AnyBy = ((record: never) => unknown) | IdRule

const ofTask = "is for the task's own store: leave it out with a shared one"
const ofShared = "is for a shared store: leave it out with the task's own"

const by = z.custom<AnyBy>((given) => typeof given === 'function' || isIdRule(given), {
  message: "expected a function from the record to its id, recordKey(), header('name') or contentHash()",
})

export const dedupeSchema = z
  .strictObject({
    by,
    within: positiveDuration,
    store: z
      .union([z.literal('task'), z.instanceof(TaskClaims), objectWith<ClaimStore>(CLAIM_STORE_METHODS, 'a claim store')], {
        message: "expected 'task', taskClaims(), redisClaims({ ... }), sqlClaims({ ... }), memoryClaims() or another claim store",
      })
      .default('task'),
    partitioned: z.literal(true).optional(),
    onDuplicate: functionOption<SideOutput<Duplicate<unknown>>>('a function from the observable of duplicates to another').optional(),
    onMissing: z.enum(['fail', 'pass']).default('fail'),
    maxIds: positiveInteger.max(50_000_000).optional(),
    waitAtMost: positiveDuration.optional(),
    takeOverAfter: positiveDuration.optional(),
    checksum: by.optional(),
    bloom: z
      .strictObject({
        expected: positiveInteger,
        errorRate: z.number().gt(0).lt(1).default(0.01),
        exclusive: z.literal(true, {
          message:
            "a filter knows only what its own task has seen, so 'surely new' is wrong for ids that other partitions, pipelines or services claim too. If all records of one id come in one partition of this source and nobody else uses the prefix, say exclusive: true; else leave bloom out",
        }),
      })
      .optional(),
    name: storeName.default('dedupe'),
  })
  .superRefine((options, { addIssue }) => {
    const refuse = (names: readonly (keyof typeof options)[], message: string): void => {
      for (const name of names) if (options[name] !== undefined) addIssue({ code: 'custom', path: [name], message })
    }
    if (isShared(options.store)) refuse(['partitioned', 'maxIds'], ofTask)
    else refuse(['waitAtMost', 'takeOverAfter', 'bloom', 'checksum'], ofShared)
    if (isShared(options.store) && options.store.joined !== undefined)
      refuse(['waitAtMost', 'takeOverAfter'], 'is for claims that are made apart, and these commit with their transaction: leave it out')
    if (options.bloom !== undefined) {
      refuse(['waitAtMost', 'takeOverAfter'], 'is for ids that others claim too, and with bloom nobody does: leave it out')
      if (isShared(options.store) && options.store.exclusive === undefined)
        addIssue({
          code: 'custom',
          path: ['bloom'],
          message: `the store '${options.store.name}' has no part for ids that one task owns (exclusive), which a filter needs`,
        })
    }
  })

export function isShared(store: 'task' | TaskClaims | ClaimStore): store is ClaimStore {
  return store !== 'task' && !(store instanceof TaskClaims)
}

import { z } from 'zod'
import type { Duration } from '../record/duration.js'
import { duration, objectWith, positiveDuration, positiveInteger, timeLimit, topicName } from './options.js'
import { autoTuneOption, type AutoTuneOptions } from './tuning/options.js'

/** Where a partition without a committed offset starts. A committed offset always wins. */
export type StartFrom = 'earliest' | 'latest' | 'committed' | { readonly timestamp: number | Date }

export interface SourceOptions {
  /** Consumer group: members of one group share the partitions. */
  readonly group: string
  /**
   * Topics to read; they must have the same number of partitions. All members of the group must read the same, or the ones that differ end
   * with GROUP_MISMATCH.
   */
  readonly topics: readonly string[]
  /**
   * Topics that members of the group may read or not, while a deployment that adds or removes them is under way. Default none. Only the new
   * version names them: the old one keeps the partitions it has, and what these have of an added topic waits until a member of the new
   * version gets them.
   */
  readonly changingTopics?: readonly string[]
  /**
   * Where a partition without a committed offset starts: 'earliest' (default) loses nothing, 'latest' begins with what comes
   * from now on, `{ timestamp }` with the first record at or after a time (ms or Date), 'committed' refuses to start without one.
   */
  readonly startFrom?: StartFrom
  /**
   * What to do when the offset to read on at is no longer in the log (deleted by retention, the topic was created anew, or its leader was
   * elected without records that were read: an unclean election, noticed on Kafka 2.7 and later, also where the pipeline was down
   * meanwhile): 'stop' (default) ends with OFFSET_OUT_OF_RANGE, whose `origin` is that offset, since records were lost, and does so again
   * until another value, or an offset set for the group, says where to go on; 'earliest' and 'latest' go on there and log from where to
   * where. After an unclean election 'earliest' is where the log parts from what was read, so nothing comes twice that is still there, as
   * far as that can be told: where nothing is left of the leader that wrote what was read last, and it was read by an earlier run, it is
   * the beginning of the partition. What was fetched before is worked on first. The pipeline's own topics (retries, repartitions) go on at
   * their earliest either way, and a table is read again from its beginning whatever is set here: it is what its topic holds. (KIP-320)
   */
  readonly onOutOfRange?: 'stop' | 'earliest' | 'latest'
  /**
   * What to do with a batch that cannot be read: one that fails its CRC, is of an unknown codec or an old format, uncompresses to more than
   * `maxBytes` (64 MiB where that is less), or holds records that were written wrong. 'stop' (default): its task stops before it and tries
   * it again at growing intervals, the other tasks go on; an error in the log says which offsets it holds, and `Commit.unread` lists it.
   * 'skip' goes on behind it and logs the offsets that were skipped; where they cannot be told it stops all the same. State is never
   * restored over such a batch.
   */
  readonly onUnreadable?: 'stop' | 'skip'
  /**
   * Name of this process within the group, unique among those alive. Default: none, a random member. Set it where restarts are
   * common: a restart within the session timeout takes its place again without a rebalance (KIP-345) and ends its own dangling transaction
   * at once. Its transactions go by the id `<group>/<instanceId>`, which the process needs the right to write. Such a member does not leave
   * the group when it stops: its partitions wait for it until its session ends. One whose id another process takes works on nothing from
   * then on; it goes on if that one proves dead, and ends with INSTANCE_FENCED if not, after `sessionTimeout` + `rebalanceTimeout`.
   */
  readonly instanceId?: string
  /**
   * Without a sign of life for this long the group takes the partitions away. Default '45s', as Kafka; shorter finds dead processes
   * earlier.
   */
  readonly sessionTimeout?: Duration
  /** How long the group waits for members to join again in a rebalance. Default '60s'; must exceed what a slice may take to finish. */
  readonly rebalanceTimeout?: Duration
  /**
   * Warm copies of each task's state, kept by other members of the group: one that takes a task over then only reads what is missing.
   * Default 0; each costs the memory of the state and the reading of its changelog.
   */
  readonly standbys?: number
  /** How other processes reach this one, for those who ask for state that is here: any text, such as host:port. Default: the member id. */
  readonly address?: string
  /**
   * How long to try to reach the cluster at the start. Default: until it answers, with a warning after 5 s and then at growing intervals,
   * since a container often starts before its broker. With 0 the first failure (some 9 s) ends the pipeline.
   */
  readonly startWithin?: Duration
  /** Bytes fetched ahead, over all partitions. Default 16 MiB; less saves memory, more bridges slow brokers. */
  readonly prefetchBytes?: number
  /** Ends the pipeline in order: the open transaction commits, the group is left, the observable completes. */
  readonly signal?: AbortSignal
}

export const sourceSchema = z.strictObject({
  group: z.string().min(1),
  topics: z
    .array(topicName)
    .min(1, { message: 'name at least one topic' })
    .refine((topics) => new Set(topics).size === topics.length, { message: 'names a topic twice' }),
  changingTopics: z.array(topicName).default([]),
  startFrom: z
    .union([
      z.enum(['earliest', 'latest', 'committed']),
      z.strictObject({ timestamp: z.union([z.number().int(), z.date().transform((date) => date.getTime())]) }),
    ])
    .default('earliest'),
  onOutOfRange: z.enum(['stop', 'earliest', 'latest']).default('stop'),
  onUnreadable: z.enum(['stop', 'skip']).default('stop'),
  instanceId: z.string().min(1).optional(),
  sessionTimeout: timeLimit.default(45_000),
  rebalanceTimeout: timeLimit.default(60_000),
  standbys: z.number().int().min(0).default(0),
  address: z.string().min(1).optional(),
  startWithin: duration.optional(),
  prefetchBytes: positiveInteger.default(16 * 1024 * 1024),
  signal: objectWith<AbortSignal>(['addEventListener', 'removeEventListener'], 'an AbortSignal').optional(),
})

export type SourceSettings = z.output<typeof sourceSchema>

/** What happens to the one record that keeps failing after all others of its slice have committed. */
export type ErrorPolicy = 'stop' | 'skip' | { readonly deadLetter: string }

export interface TransactionOptions {
  /** Commit this long after the first record of a transaction. Default '100ms'. Shorter lowers latency, longer costs fewer round trips. */
  readonly every?: Duration
  /**
   * Most records in one transaction, over all tasks. Default 250,000. The limit in force adapts below it, so that a slow pipeline takes
   * small slices.
   */
  readonly maxRecords?: number
  /** Most bytes read in one transaction; they are kept until it commits. Default 24 MiB. */
  readonly maxBytes?: number
  /**
   * 'exactly-once' (default): outputs and offsets commit in one Kafka transaction. 'at-least-once': outputs first, then offsets;
   * fewer round trips and no transactional rights needed, and a crash between the two repeats outputs.
   */
  readonly guarantee?: 'exactly-once' | 'at-least-once'
  /**
   * What happens to a record on which user code keeps failing: 'stop' (default) ends with RECORD_FAILED naming it; 'skip' counts
   * it as failed and goes on; `{ deadLetter: topic }` stores its bytes there, in the same transaction. All other records commit in each
   * case.
   */
  readonly onError?: ErrorPolicy
  /** How often a failing slice is run again as it is before the failing record is looked for. Default 1. */
  readonly retries?: number
  /** Pause before the first such run, doubled for each further. Default '200ms'. */
  readonly retryDelay?: Duration
  /** A slice whose input has ended and out of which nothing has come for this long is stuck: an error names the operator. Default '60s'. */
  readonly stallAfter?: Duration
  /** In a rebalance or a stop, how long the open transaction may take to finish before it is aborted. Default '30s'. */
  readonly drainWithin?: Duration
  /**
   * The broker aborts a transaction that stays open longer. Default '10s'; it opens only when outputs are sent, so slow user code does not
   * count.
   */
  readonly transactionTimeout?: Duration
  /** Outputs in memory beyond this are sent while the slice still runs. Default 1 MiB. */
  readonly streamBytes?: number
  /** Compression of outputs. Default 'none'. gzip is built in; for snappy, lz4 and zstd see `codecs` of `kafka`. */
  readonly compression?: 'none' | 'gzip' | 'snappy' | 'lz4' | 'zstd'
  /**
   * Has the steps of one slice in so many timed: `statusOf(...).time.steps` then tells what each takes. Default: of none, which costs nothing;
   * with 100 well under 2 %. `analyze` turns it on while it looks.
   */
  readonly sampleSteps?: number
  /**
   * Adapts `prefetchBytes`, `maxRecords`, `maxBytes` and the `concurrency` of each `attempt` to lag, latency and memory, within bounds; true
   * for bounds around what is set. Each change is a line of the log at info, and so an event of the status, that says why. Default false:
   * what is set stays. Set it where load or a service changes by the hour; a step with a concurrency of 1 is left alone, since that is an order.
   */
  readonly autoTune?: boolean | AutoTuneOptions
  /** Topics written in branches that an empty slice does not take (inside mergeMap, defer, ...). */
  readonly declare?: { readonly topics: readonly string[] }
  /** Creates missing output topics, by default with the source's partition count. Default false. */
  readonly provision?:
    boolean | { readonly partitions?: number; readonly replicationFactor?: number; readonly config?: Readonly<Record<string, string>> }
}

export const transactionSchema = z.strictObject({
  every: duration.default(100),
  maxRecords: positiveInteger.default(250_000),
  maxBytes: positiveInteger.default(24 * 1024 * 1024),
  guarantee: z.enum(['exactly-once', 'at-least-once']).default('exactly-once'),
  onError: z.union([z.enum(['stop', 'skip']), z.strictObject({ deadLetter: topicName })]).default('stop'),
  retries: z.number().int().min(0).default(1),
  retryDelay: duration.default(200),
  stallAfter: positiveDuration.default(60_000),
  drainWithin: duration.default(30_000),
  transactionTimeout: timeLimit.default(10_000),
  streamBytes: positiveInteger.default(1 * 1024 * 1024),
  compression: z.enum(['none', 'gzip', 'snappy', 'lz4', 'zstd']).default('none'),
  sampleSteps: positiveInteger.optional(),
  autoTune: autoTuneOption,
  declare: z.strictObject({ topics: z.array(topicName) }).default({ topics: [] }),
  provision: z
    .union([
      z.boolean(),
      z.strictObject({
        partitions: positiveInteger.optional(),
        replicationFactor: positiveInteger.optional(),
        config: z.record(z.string(), z.string()).optional(),
      }),
    ])
    .default(false),
})

export type TransactionSettings = z.output<typeof transactionSchema>

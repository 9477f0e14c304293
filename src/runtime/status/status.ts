import type { UnreadPartition } from '../../log/unread.js'
import type { StoreUsage } from '../../state/store.js'
import type { RecordCounts } from '../accounting.js'
import type { PlanStep } from '../topology.js'

/**
 * What one member of a pipeline is doing: plain data that JSON holds as it is. Nothing in it comes from records: neither keys nor values,
 * nor texts of errors that user code threw. Made when asked for, out of what the engine has anyway; nothing is kept for it per record.
 *
 * Times named `at` are milliseconds since the epoch, spans end in `Ms`. What is not known is left out (undefined).
 */
export interface PipelineStatus {
  /** When it was made. */
  readonly at: number
  readonly group: string
  /** Topics of the source. */
  readonly topics: readonly string[]
  /** The steps that write, keep or read on their own, as `describe` names them. */
  readonly operators: readonly string[]
  /** All steps that have a name, and how they hang together. */
  readonly steps: readonly PlanStep[]
  /**
   * 'idle': not subscribed yet; 'starting': waits for the cluster, or checks the plan; 'joining': for an assignment; 'running'; 'stopping';
   * 'stopped': in order; 'failed': see `lastError`.
   */
  readonly state: PipelineState
  /** How long it has been in that state. */
  readonly stateMs: number
  readonly member: MemberStatus
  /** Tasks of all members together; 0 before the topics were looked at. */
  readonly taskCount: number
  /** Those of this member. */
  readonly tasks: readonly TaskStatus[]
  /** Tasks of others whose state is followed here. */
  readonly standbys: readonly number[]
  /** The partitions of those tasks: of the source, and of the topics that the pipeline writes to itself. */
  readonly partitions: readonly PartitionStatus[]
  /** All partitions together; those that wait on purpose (retry tiers) are not in it, see `retries`. */
  readonly lag: LagStatus
  /** The transaction under way; undefined where nothing has been read for one. */
  readonly transaction: TransactionStatus | undefined
  readonly commits: CommitsStatus
  /** How records ended since the start, over committed transactions, and how many were written. */
  readonly totals: RecordCounts & { readonly outputs: number }
  /** Records written since the start, by topic; changelogs left out. */
  readonly written: Readonly<Record<string, number>>
  /** Where the time went since the start: what `analyze` goes by. */
  readonly time: TimeStatus
  readonly process: ProcessStatus
  /** As they are in force: set, or adapted by `autoTune`. Calls at once are in `time.calls`. */
  readonly limits: LimitsStatus
  /** Per second, over the last 10 seconds. */
  readonly rates: { readonly records: number; readonly outputs: number; readonly commits: number }
  /** Records committed to dead-letter topics since the start. */
  readonly deadLetters: { readonly total: number; readonly byTopic: Readonly<Record<string, number>> }
  /** Topics whose records wait for their time. */
  readonly retries: readonly HeldStatus[]
  /** Records of `delayUntil` and `schedule` that wait, by name of their store. */
  readonly timers: readonly { readonly name: string; readonly waiting: number }[]
  readonly breakers: readonly BreakerStatus[]
  readonly stores: readonly StoreUsage[]
  /** What `meter` and the operators counted since the start (`Commit.meters`, added up; of names that end in 'max...' the largest). */
  readonly meters: Readonly<Record<string, number>>
  readonly rebalances: RebalancesStatus
  /** What is waited for right now beside records: the cluster, the group, a coordinator, an open transaction in a changelog. */
  readonly waits: readonly WaitStatus[]
  readonly unread: readonly UnreadPartition[]
  readonly lastError: ErrorStatus | undefined
  /** Lines of the log since the start, by level. */
  readonly logged: { readonly warnings: number; readonly errors: number }
  /** The last 100 lines of its log at info and above, oldest first, without what may come from records. */
  readonly events: readonly EventStatus[]
}

export const TASK_STATES = ['running', 'restoring', 'set-aside', 'unread', 'paused'] as const
export const BREAKER_STATES = ['closed', 'open', 'half-open', 'isolated'] as const
export const PIPELINE_STATES = ['idle', 'starting', 'joining', 'running', 'stopping', 'stopped', 'failed'] as const
export type PipelineState = (typeof PIPELINE_STATES)[number]

/** Whether it has ended, in order or not. */
export function hasEnded({ state }: { readonly state: PipelineState }): boolean {
  return state === 'stopped' || state === 'failed'
}

export interface MemberStatus {
  /** As the member knows it: 'lost' also before the first assignment. */
  readonly state: 'stable' | 'rebalancing' | 'lost' | 'fatal'
  readonly memberId: string | undefined
  readonly generation: number | undefined
  readonly instanceId: string | undefined
  /** How others reach this process, if the source was told. */
  readonly address: string | undefined
  /** Owners of the tasks by partition, as the last assignment told; empty where the pipeline keeps no state. */
  readonly owners: readonly (string | undefined)[]
}

export interface TaskStatus {
  readonly partition: number
  /** 'set-aside': its slice failed, and it runs by itself until the record to blame is found; 'unread': a partition cannot be read; 'paused': by hand. */
  readonly state: (typeof TASK_STATES)[number]
  /** While restoring: offsets read of those there are, over all its stores; `total` is undefined until it is known. */
  readonly restoring: { readonly done: number; readonly total: number | undefined; readonly forMs: number } | undefined
  /** While set aside. */
  readonly why: ErrorStatus | undefined
  /** Committed records it is behind. */
  readonly lag: number
}

export interface PartitionStatus {
  readonly topic: string
  readonly partition: number
  /** The next offset to read, in the transaction under way. */
  readonly position: number
  /** The next offset to read as far as it is committed. */
  readonly committed: number
  /** The end as it was last heard of; undefined before the first fetch. */
  readonly end: number | undefined
  /** Offsets between `committed` and `end`: as for Kafka's own tools, markers of transactions count. */
  readonly lag: number | undefined
  /** Age of the next record that is not committed; 0 where there is none, undefined where there is one that is not fetched yet. */
  readonly lagMs: number | undefined
  /** Waits on purpose: a retry tier whose next record is not due. */
  readonly held: boolean
}

export interface LagStatus {
  readonly records: number
  /** Of the partition that is furthest behind. */
  readonly ms: number | undefined
}

export interface TransactionStatus {
  /** 'reading': takes records in; 'finishing': waits for user code; 'committing': in the log's hands. */
  readonly state: 'reading' | 'finishing' | 'committing'
  /** Since its first record. */
  readonly openMs: number
  readonly records: number
  readonly outputs: number
  /** What user code waits for on purpose: back-offs and calls with a limit, and things outside such as an open circuit breaker. */
  readonly waits: { readonly bounded: number; readonly outside: number }
  /** Steps whose input ended and that did not, where that lasts longer than a second. */
  readonly heldBy: readonly string[]
}

export interface CommitsStatus {
  readonly committed: number
  /** Transactions that were given up, whose records came again. */
  readonly aborted: number
  /** Those whose commit was not answered, where nothing told how it ended: their state was read again, and their records if they did not commit. */
  readonly unknown: number
  /** From the first record to the commit. */
  readonly duration: Histogram
  /** The commit itself. */
  readonly commit: Histogram
  readonly last:
    | { readonly at: number; readonly records: number; readonly outputs: number; readonly durationMs: number; readonly commitMs: number }
    | undefined
}

/** How long something took, in milliseconds, added up. */
export interface Histogram {
  readonly count: number
  readonly sumMs: number
  readonly maxMs: number
  /** How many took at most `BUCKETS_MS[i]`, each with those before it; what took longer is in `count` alone. */
  readonly buckets: readonly number[]
}

export interface HeldStatus {
  readonly topic: string
  /** Offsets in it behind what is committed, over the tasks of this member: the records that wait, and the markers between them. */
  readonly records: number
  /** When the first of them is due; undefined where none is known to wait. */
  readonly nextDueAt: number | undefined
}

export interface BreakerStatus {
  readonly step: string
  readonly state: (typeof BREAKER_STATES)[number]
  /** While open: when a call may try again. */
  readonly retryInMs: number | undefined
}

export interface RebalancesStatus {
  /** Assignments got, the first one included. */
  readonly count: number
  /** From when the member learned of it to the new assignment. */
  readonly duration: Histogram
  readonly lastAt: number | undefined
  /** Those of the last 10 minutes. */
  readonly recent: number
}

export interface WaitStatus {
  /** "for the cluster, to start", "to join the group, ...". */
  readonly what: string
  readonly forMs: number
  /** What the last try failed with. */
  readonly why: string | undefined
}

export interface ErrorStatus {
  readonly at: number
  /** 'log': the cluster; 'slice': user code or a record; 'restore'; 'end': what the pipeline failed with. */
  readonly where: 'log' | 'slice' | 'restore' | 'end'
  readonly name: string
  /** Of a MillraceError. */
  readonly code: string | undefined
  /** Left out where user code or a record may have a part in it; the log has it. */
  readonly message: string | undefined
}

/**
 * What the loop of a pipeline is at.
 *
 * 'starting': before it first asks for an assignment; 'rebalancing': until it has one, and knows where its tasks go on; 'restoring': state
 * is read, and there is nothing else to do; 'waiting': for records; 'working': records go through the steps, user code included, as far as
 * it computes; 'finishing': all are in, and steps wait for something that is not told (promises, timers); 'calling': the same, where calls of
 * `attempt`, its pauses and breaker, or a system outside are known to be waited for; 'sinking': sinks outside the log commit; 'sending': the
 * broker has yet to acknowledge outputs; 'committing': offsets, and the end of the transaction; 'recovering': one was given up.
 *
 * A commit that runs beside the next transaction counts only where that had to wait for it.
 */
export type Phase =
  | 'starting'
  | 'rebalancing'
  | 'restoring'
  | 'waiting'
  | 'working'
  | 'finishing'
  | 'calling'
  | 'sinking'
  | 'sending'
  | 'committing'
  | 'recovering'

export interface TimeStatus {
  /** Milliseconds since the start; together they are its age. */
  readonly phases: Readonly<Record<Phase, number>>
  /** Of 'finishing' and 'calling': while one slice alone was waited for, and those of other tasks were done. `partition`: most often that one. */
  readonly alone: { readonly ms: number; readonly partition: number | undefined }
  /** The slices whose steps were timed, and how long these worked, all together. `oneIn`: as set now. */
  readonly sampled: { readonly oneIn: number | undefined; readonly slices: number; readonly records: number; readonly ms: number }
  /** What their steps took, in the order of the pipes; empty where none were sampled (`sampleSteps`). */
  readonly steps: readonly StepStatus[]
  /** The calls that `attempt` makes. */
  readonly calls: readonly CallStatus[]
}

/** One step, over the sampled slices. */
export interface StepStatus {
  /** 'operator 2 of 4 (dedupe) of the pipe at file:///app/orders.js:12:8'; 'reading' is what comes before the first. */
  readonly step: string
  /** What messages call it: 'dedupe', 'toTopic orders', the `step` of an attempt. Undefined for RxJS's, which have no name. */
  readonly operator: string | undefined
  /** Items that came in. */
  readonly items: number
  /** What it computed itself, steps behind it left out. */
  readonly busyMs: number
  /** How long it had yet to end when all had come in. */
  readonly heldMs: number
}

export interface CallStatus {
  readonly step: string
  readonly concurrency: number
  readonly made: number
  readonly underWay: number
  /** Of those that were timed, one in 16. */
  readonly timed: number
  readonly timedMs: number
}

export interface LimitsStatus {
  readonly prefetchBytes: number
  readonly maxRecords: number
  readonly maxBytes: number
}

/** Of the process, all its pipelines together. */
export interface ProcessStatus {
  readonly upMs: number
  /** While the event loop had something to do. */
  readonly busyMs: number
  /** Collecting garbage, since the first status was asked for or the first state kept. */
  readonly gcMs: number
  readonly heapUsedBytes: number
  /** After the last full collection; 0 before the first. */
  readonly heapLiveBytes: number
  readonly heapLimitBytes: number
  /** What the process has of the machine's memory, its heap included, and how much that may be; 0 where nothing says so. */
  readonly residentBytes: number
  readonly residentLimitBytes: number
}

export interface EventStatus {
  readonly at: number
  readonly level: 'info' | 'warn' | 'error'
  readonly message: string
  /** Numbers, and names of topics, groups and steps. */
  readonly fields: Readonly<Record<string, number | string | boolean | readonly number[]>>
}

/** Bounds of the histograms, in milliseconds. */
export const BUCKETS_MS: readonly number[] = [5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000]

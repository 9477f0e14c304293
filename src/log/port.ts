import type { Took } from '../record/durations.js'
import type { MillraceError } from '../record/error.js'
import type { BatchView } from './batch/read.js'
import type { CompressionName } from './batch/compression.js'
import type { OutputBatch } from './batch/write.js'

/**
 * THE PORT: what millrace needs of a partitioned, transactional log. `src/kafka` is it on real Kafka, `src/embedded` in this
 * process; test/contract holds the cases both pass.
 *
 * Failures are LogErrors; their `reaction` is all the runtime decides by. What can be cured by trying again (leader and
 * coordinator changes, throttling, load) is tried again inside, until the request's time is up.
 */
export type Reaction =
  /** The request's time ran out while trying again; trying later can succeed. */
  | 'retry'
  /** The open transaction must be aborted; the producer stays usable. */
  | 'abort'
  /** This producer was replaced or timed out: init() again before anything else. */
  | 'reinit'
  /** The coordinator wants all members to join again. The assignment is valid until then. */
  | 'rejoin'
  /** This member is no longer in the group: its assignment belongs to others already. */
  | 'lost'
  /** EndTxn was sent, and no answer came, or one that does not tell: committed or not, only the stored offsets show. */
  | 'indeterminate'
  /** Nothing the runtime can do. */
  | 'fatal'

export interface LogError extends MillraceError {
  readonly reaction: Reaction
  /** Set where the log was truncated: what was read is no longer, or not as it was, in it. */
  readonly truncation?: Truncation
}

export interface Truncation {
  /** Up to where what was read is what the log holds; undefined where that cannot be told. */
  readonly goesOnAt: Omit<Position, keyof TopicPartition> | undefined
}

export interface TopicPartition {
  readonly topic: string
  readonly partition: number
}

export interface PartitionOffset extends TopicPartition {
  /** The next offset to read. */
  readonly offset: number
}

/** Where reading goes on. */
export interface Position extends PartitionOffset {
  /**
   * Since which election, as brokers count them, the leader was one that the record before was written to. By it the log tells whether it
   * still has that record, whatever was written since. Undefined or -1 where it is not known: then only offsets count. (KIP-320)
   */
  readonly leaderEpoch?: number | undefined
  /** Of a committed offset: a text that was committed with it. Undefined for none. */
  readonly metadata?: string | undefined
}

export interface TopicInfo {
  readonly topic: string
  readonly partitions: number
  /** Largest batch the topic takes, in bytes; undefined where its configuration may not be read. */
  readonly maxMessageBytes: number | undefined
  /** 'delete', 'compact' or both, as the broker writes it; undefined where its configuration may not be read. */
  readonly cleanupPolicy: string | undefined
}

export interface NewTopic {
  readonly topic: string
  /** Default: the broker's. */
  readonly partitions?: number
  /** Default: the broker's. */
  readonly replicationFactor?: number
  /** Topic configuration, as the broker names it: `{ 'retention.ms': '-1' }`. */
  readonly config?: Readonly<Record<string, string>>
}

/** A topic that the library makes for itself. */
export interface OwnTopic extends NewTopic {
  /** Further configuration, which brokers that do not know it go without: they have no such limit. */
  readonly ifKnown?: Readonly<Record<string, string>>
}

/**
 * Where to look an offset up: 'earliest' kept, 'latest' (the high watermark), 'stable' (the last stable offset), or the first record at or
 * after a time.
 */
export type OffsetAt = 'earliest' | 'latest' | 'stable' | { readonly timestamp: number }

/** What the log behind a client can do, for the plan and for describe(). */
export interface LogCapabilities {
  readonly kind: 'kafka' | 'embedded'
  /** 1: partitions and offsets are added explicitly. 2: KIP-890, every transaction gets an epoch of its own. */
  readonly transactionProtocol: 1 | 2
  /** Broker addresses, or 'in process'. */
  readonly address: string
}

/** Steps of a transaction as they are done, for tracing and for tests that stop a process between them. */
export type TraceStep = 'produce-sent' | 'produce-acknowledged' | 'offsets-sent' | 'offsets-acknowledged' | 'end-sent' | 'end-acknowledged'

export interface TraceEvent {
  readonly step: TraceStep
  readonly transactionalId: string
  /** Of the end steps: whether the transaction is to commit. */
  readonly commit?: boolean
}

/** One set of connections to a log. Nothing connects before the first call. */
export interface LogClient extends LogAdmin {
  /** Connects and checks the version. @throws LogError BROKER_UNREACHABLE, BROKER_TOO_OLD, UNAUTHORIZED */
  connect(): Promise<LogCapabilities>
  /** A reader of its own; `onData` is called, not in the same turn as a call into the reader, when `take` may have more. */
  reader(options: ReaderOptions): LogReader
  producer(options: ProducerOptions): LogProducer
  group(options: GroupOptions): LogGroup
  /** Ends all that was opened through this client; what waits inside rejects with CLOSED. */
  close(): Promise<void>
}

export interface LogAdmin {
  /** Topics that do not exist are left out. @throws LogError UNAUTHORIZED */
  topics(names: readonly string[]): Promise<ReadonlyMap<string, TopicInfo>>
  /** Resolves when the topics can be written to. @throws LogError TOPIC_EXISTS, UNAUTHORIZED, BROKER_REFUSED */
  createTopics(topics: readonly OwnTopic[]): Promise<void>
  deleteTopics(names: readonly string[]): Promise<void>
  /** In the order asked; a time after the last record gives the high watermark. */
  offsets(partitions: readonly TopicPartition[], at: OffsetAt): Promise<readonly number[]>
  /**
   * The group's committed offsets, waiting out transactions that are about to move them; undefined where none is committed. In the order
   * asked.
   */
  committedOffsets(group: string, partitions: readonly TopicPartition[]): Promise<readonly (number | undefined)[]>
  /** The same, with the leader epochs and the texts that were committed with them. */
  committedPositions(group: string, partitions: readonly TopicPartition[]): Promise<readonly (Position | undefined)[]>
}

export interface ReaderOptions {
  readonly isolation: 'read_committed' | 'read_uncommitted'
  /**
   * Bytes fetched ahead and not yet taken, over all partitions, or one batch of each where that is more; fetching stops there and goes on
   * as they are taken. Read anew each time: it may change.
   */
  readonly prefetchBytes: number
  /** Called when data, a position or an error arrived. */
  readonly onData: () => void
  /** Called before that, of each partition that it is about: of all others `take`, `end` and `trouble` give what they gave before. */
  readonly onNews?: ((topic: string, partition: number) => void) | undefined
  /** Told of each request for records that is over, how long it took and what it failed with; the place where it was about one. */
  readonly onFetched?: ((took: Took) => void) | undefined
  /** Most that one batch may hold uncompressed, where its codec can be stopped. Default 64 MiB; what is larger cannot be read. */
  readonly maxBatchBytes?: number | undefined
  /**
   * Where set, a batch that cannot be read (damaged, or of an unknown codec or format) is stepped over and told of here; where the offsets
   * it holds cannot be told either, it is an error all the same. Default: an error of `take`, tried again for as long as it takes.
   */
  readonly onSkipped?: ((batch: SkippedBatch) => void) | undefined
}

/** A batch that was stepped over because it cannot be read. */
export interface SkippedBatch extends TopicPartition {
  /** Its offsets, as far as they were wanted. */
  readonly firstOffset: number
  readonly lastOffset: number
  readonly error: LogError
}

/** Something `take` hands out, in offset order of the partition. */
export interface Fetched {
  /** A visible batch with its records uncompressed; undefined where only control or aborted batches were stepped over. */
  readonly batch: BatchView | undefined
  /** The first offset wanted: records of the batch before it are to be left out. */
  readonly fromOffset: number
  /** The leader epoch of the position at `fromOffset`; -1 where it is not known. */
  readonly fromEpoch: number
  /** Where the partition continues. */
  readonly nextOffset: number
  readonly nextEpoch: number
}

/** Fetches ahead for the assigned partitions. */
export interface LogReader {
  /**
   * Replaces the set of partitions. What is already fetched is kept where a partition goes on at the offset it had reached,
   * and dropped otherwise.
   */
  assign(positions: readonly Position[]): void
  /**
   * The next fetched piece of a partition, or undefined.
   * @throws LogError of the partition: OFFSET_OUT_OF_RANGE, UNAUTHORIZED, MISSING_TOPIC, CORRUPT_BATCH, ...; once, with the offset it stood
   * at as origin; then fetching goes on from there. A position that the log parts from before it is out of range too, and the error has its
   * `truncation`
   */
  take(topic: string, partition: number): Fetched | undefined
  /** The last stable offset as of the last fetch; undefined before it. */
  end(topic: string, partition: number): number | undefined
  /** The time that the next batch which `take` hands out begins with; undefined where none is fetched. */
  nextTime(topic: string, partition: number): number | undefined
  /** What `take` last threw of a partition, until it goes on: there is something to take, or all there is has been. */
  trouble(topic: string, partition: number): LogError | undefined
  close(): void
}

/** The member a commit speaks for: the coordinator refuses it if the group has moved on. (KIP-447) */
export interface GroupMember {
  readonly group: string
  readonly memberId: string
  readonly generation: number
  readonly instanceId: string | undefined
}

export interface ProducerOptions {
  /** With an id, outputs and offsets commit together; without, outputs are idempotent and offsets are committed after them. */
  readonly transactionalId: string | undefined
  /** After this long the broker aborts an open transaction. Milliseconds. */
  readonly transactionTimeoutMs: number
  readonly compression: CompressionName
  /**
   * Without a transactional id: a batch that cannot be written fails alone, the producer and all other batches go on. Default: it fails
   * everything that is queued, as one transaction.
   */
  readonly independent?: boolean | undefined
  /** Most that a batch is tried for, from when it was queued. Milliseconds. Default: the log's. */
  readonly deliveryTimeoutMs?: number | undefined
  readonly trace?: ((event: TraceEvent) => void) | undefined
}

/** Writes batches. One transaction is open at a time; it begins with the first `send` or the `commit`. */
export interface LogProducer {
  /**
   * Fences earlier producers of the id, ends their open transaction, and starts afresh. Call before anything else and after 'reinit',
   * 'indeterminate'.
   */
  init(): Promise<void>
  /**
   * Queues batches; partitions keep the order of calls. Resolves when all of them are acknowledged.
   * @throws LogError 'abort' (RECORD_TOO_LARGE, UNAUTHORIZED, ...), 'reinit'
   */
  send(batches: readonly OutputBatch[]): Promise<void>
  /** The same of one batch; resolves with the offset of its first record, -1 where the log no longer tells. */
  write(batch: OutputBatch): Promise<number>
  /** Bytes queued or in flight. */
  readonly pendingBytes: number
  /** What the batches of the open transaction name their producer by; -1 before `init`. */
  readonly id: bigint
  /**
   * Waits for what was sent, adds the offsets and commits. With nothing sent and no offsets it does nothing.
   * @throws LogError 'abort', 'reinit', 'lost' (the member's generation is over), 'indeterminate', 'fatal'. After all but 'indeterminate'
   * the transaction is certain not to have committed.
   */
  commit(offsets: readonly Position[], member: GroupMember | undefined): Promise<void>
  /** Ends the open transaction without effect; does nothing where none is open. @throws LogError 'reinit', 'fatal' */
  abort(): Promise<void>
  close(): Promise<void>
}

export interface GroupOptions {
  readonly group: string
  /** Makes the member static (KIP-345): a restart within the session takes its place again without a rebalance. */
  readonly instanceId: string | undefined
  /** Without a heartbeat for this long the member is lost. Milliseconds. */
  readonly sessionTimeoutMs: number
  /** How long the coordinator waits for members to join again. Milliseconds. */
  readonly rebalanceTimeoutMs: number
}

/** One way to divide the work, and what a member tells the leader in it. */
export interface GroupProtocol {
  readonly name: string
  readonly metadata: Buffer
}

export interface JoinedMember {
  readonly memberId: string
  readonly instanceId: string | undefined
  /** Of the protocol in force. */
  readonly metadata: Buffer
}

export interface JoinResult {
  readonly memberId: string
  readonly generation: number
  /** The protocol in force: one that all members offered, by the preference of most. */
  readonly protocol: string
  /** Set for the leader only, who divides the work. */
  readonly members: readonly JoinedMember[] | undefined
}

/** One member's conversation with the group coordinator: the classic protocol, a call a request. */
export interface LogGroup {
  /**
   * Resolves when all members have joined. `memberId` is '' the first time; the protocols come in order of preference.
   * @throws LogError 'lost' (try again with ''), 'fatal' INSTANCE_FENCED, UNAUTHORIZED, BROKER_REFUSED (no protocol that all members know)
   */
  join(memberId: string, protocols: readonly GroupProtocol[]): Promise<JoinResult>
  /** The leader gives the assignments by member id; everybody gets their own. @throws LogError 'rejoin', 'lost', 'fatal' */
  sync(member: GroupMember, assignments: ReadonlyMap<string, Buffer> | undefined): Promise<Buffer>
  /** @throws LogError 'rejoin', 'lost', 'fatal' INSTANCE_FENCED, 'retry' */
  heartbeat(member: GroupMember): Promise<void>
  /** Also ends a join under way, whose member id may not be known yet: ''. */
  leave(member: GroupMember): Promise<void>
}

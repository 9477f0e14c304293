export { kafka, type KafkaOptions } from './cluster/kafka.js'
export type { CompressionCodec, CompressionCodecs } from './kafka/codecs.js'
export { embedded, type EmbeddedOptions } from './cluster/embedded.js'
export type { Cluster } from './cluster/cluster.js'
export type { ProduceOptions, ProduceRecord } from './cluster/produce.js'
export type { ProducerOptions, ProducerRecord, WrittenRecord } from './cluster/producer/options.js'
export type { Producer, ProducerStats } from './cluster/producer/port.js'
export type { ProducerTransaction } from './cluster/producer/transaction.js'
export type { ConsumeOptions } from './cluster/consume.js'
export type { ReadOptions } from './cluster/read.js'
export type { BreakerOf, ClusterControl, MemberOf, TaskOf } from './cluster/control.js'
export { describe, type Description } from './cluster/describe.js'
export { queryStore, type QueryKeyOptions, type StoreAnswer, type StoreEntry, type StoreQuery } from './cluster/query-store.js'
export { statusOf } from './cluster/status.js'
export type { ClusterStatus } from './cluster/cluster.js'
export type { ChangesOptions, StatusView } from './runtime/status/view.js'
export {
  BUCKETS_MS,
  type BreakerStatus,
  type CallStatus,
  type LimitsStatus,
  type CommitsStatus,
  type ErrorStatus,
  type EventStatus,
  type HeldStatus,
  type Histogram,
  type LagStatus,
  type MemberStatus,
  type PartitionStatus,
  type Phase,
  type PipelineState,
  type PipelineStatus,
  type ProcessStatus,
  type RebalancesStatus,
  type StepStatus,
  type TaskStatus,
  type TimeStatus,
  type TransactionStatus,
  type WaitStatus,
} from './runtime/status/status.js'
export { serveStatus, type ServeStatusOptions, type StatusServer } from './serve/serve-status.js'
export { statusHandler, type StatusHandler } from './serve/handler.js'
export type { ScaleOptions, StatusHandlerOptions, StatusRoute, StatusSource } from './serve/options.js'
export type { MetricsRegistry } from './serve/metrics.js'
export { analyze, type AnalyzeOptions } from './cluster/analysis/analyze.js'
export { analysisOf, type Analysis } from './cluster/analysis/analysis.js'
export type { Bound, Finding } from './cluster/analysis/finding.js'
export { watchLag, type GroupLag, type LagThresholds, type WatchLagOptions } from './cluster/watch-lag.js'
export type { LagAlert } from './cluster/lag-alarm.js'
export { limitLog, type LimitLogOptions, type LogLevel } from './runtime/limit-log.js'
export { redrive } from './redrive/redrive.js'
export type { RedriveFilter, RedriveOptions, RedriveProgress, RedriveResult, RedriveRow } from './redrive/options.js'
export { shutdownSignal } from './cluster/shutdown-signal.js'

export { withTransaction } from './operators/with-transaction.js'
export { compose } from './operators/compose.js'
export { decode, type Decoded, type DecodeOptions } from './operators/decode.js'
export { mapValue } from './operators/map-value.js'
export { dedupe } from './operators/dedupe/dedupe.js'
export type { BloomOptions, DedupeOptions, Duplicate } from './operators/dedupe/dedupe-options.js'
export { dropFailed, type DropFailedOptions } from './operators/drop-failed.js'
export { attempt, type AttemptContext, type Attempted, type AttemptOptions, type AttemptRetry } from './operators/attempt/attempt.js'
export {
  circuitBreaker,
  type BreakerState,
  type CircuitBreaker,
  type CircuitBreakerOptions,
  type CockatielBreaker,
} from './operators/attempt/circuit-breaker.js'
export { keepResult, type KeepResultOptions } from './operators/dedupe/keep-result.js'
export { contentHash, header, recordKey, type IdRule } from './operators/dedupe/id-rule.js'
export { redisClaims, type RedisClaimsOptions } from './operators/dedupe/redis-claims-options.js'
export type { RedisClient } from './operators/dedupe/claims/redis-client.js'
export {
  sqlClaims,
  type OnceOptions,
  type OnceResult,
  type OwnTransaction,
  type SqlClaims,
  type SqlClaimsOptions,
} from './operators/dedupe/sql-claims-options.js'
export { memoryClaims, type MemoryClaimsOptions } from './operators/dedupe/claims/memory-claims.js'
export type {
  ClaimNote,
  ClaimRequest,
  ClaimStore,
  ClaimTerms,
  HeldClaim,
  JoinedClaims,
  ExclusiveId,
  ExclusiveIds,
  /** Their names before. */
  ExclusiveId as OwnedId,
  ExclusiveIds as OwnedIds,
  TransactionEnd,
} from './operators/dedupe/claims/claim-store.js'
export { taskClaims, type TaskClaims } from './operators/dedupe/claims/task-claims.js'
export type { ProcessedId } from './operators/dedupe/claims/processed.js'
export { retryTopic, type RetryTopicOptions } from './operators/retry/retry-topic.js'
export { delayUntil, type DelayUntilOptions } from './operators/delay/delay-until.js'
export { schedule, type ScheduleOptions } from './operators/delay/schedule.js'
export type { ErrorMatch } from './runtime/error-match.js'
export { deadLetter, type DeadLetterOptions } from './operators/dead-letter.js'
export type { DeadLetterHeaders } from './runtime/dead-letter.js'
export { aggregate, type AggregateOptions } from './operators/aggregate.js'
export { repartition, type Repartitioned, type RepartitionOptions } from './operators/repartition.js'
export { joinTable, type JoinTableOptions } from './operators/join/join-table.js'
export { joinStream, type Joined, type JoinStreamOptions, type LateJoinRecord } from './operators/join/join-stream.js'
export { window, type LateRecord, type WindowOptions, type WindowResult } from './operators/window/window.js'
export {
  hopping,
  session,
  sliding,
  tumbling,
  type HoppingOptions,
  type TumblingOptions,
  type Window,
  type Windows,
} from './record/windows.js'
export { aggregator, type Aggregator, type AggregatorOptions, type MergeStates, type StateForm } from './state/aggregator.js'
export { average, count, max, min, reduce, sum } from './state/built-in-aggregators.js'
export {
  store,
  timedStore,
  withStore,
  type StoreDefinition,
  type StoreOptions,
  type StoresOf,
  type TimedStoreOptions,
} from './operators/store/with-store.js'
export type { StoreHandle, TimedStoreHandle } from './operators/store/store-handle.js'
export type { StoreKey } from './state/key.js'
export { meter, type MeterOptions } from './operators/meter.js'
export { toTopic, type ToTopicOptions } from './sinks/to-topic.js'
export { route, type RouteOptions } from './sinks/route.js'
export { toDatabase, type DatabaseWrite, type ToDatabaseOptions } from './sinks/database/to-database.js'
export {
  append,
  remove,
  upsert,
  type AppendOptions,
  type Columns,
  type RemoveOptions,
  type UpsertOptions,
} from './sinks/database/writes.js'
export { waitUntilWritten, type WaitUntilWrittenOptions } from './sinks/database/wait-until-written.js'
export { project, type ProjectOptions } from './sinks/projection/project.js'
export { readModel, type LiveVersion, type ModelTables, type ReadModel, type ReadModelOptions } from './sinks/projection/read-model.js'
export type { VersionState } from './sinks/projection/model-versions.js'
export type { Database, SqlRow, SqlTransaction, TablePositions } from './sinks/database/database.js'
export type { Blame, ExternalStore, ExternalTransaction, Place, PlaceToTake, RowChange, StoredRow } from './sinks/external/port.js'

export { outbox, type OutboxOptions } from './sources/outbox/outbox.js'
export { outboxTable, writeToOutbox, type OutboxEvent, type StatementRunner } from './sources/outbox/outbox-table.js'
export type { OutboxRecord } from './sources/outbox/outbox-record.js'
export { table, type LookupTable, type Table, type TableOptions, type TableValue } from './sources/table.js'
export {
  databaseTable,
  type DatabaseTable,
  type DatabaseTableOptions,
  type DatabaseTableValue,
} from './sources/database-table/database-table.js'
export type { PartitionSource } from './sources/partition-source.js'
export type { PartitionStream } from './sources/partition-stream.js'
export type { RecordStream } from './runtime/slice-stream.js'
export type { Compose, StreamOf } from './runtime/stream-of.js'
export type { ErrorPolicy, SourceOptions, StartFrom, TransactionOptions } from './runtime/settings.js'
export type { AutoTuneOptions, TuneBounds } from './runtime/tuning/options.js'
export type { Commit, TaskCommit } from './runtime/commit.js'
export type { UnreadPartition } from './log/unread.js'
export type { RecordCounts } from './runtime/accounting.js'

export { deliveryAttempt, record, type NewRecord, type RawRecord, type RecordPatch, type StreamRecord } from './record/record.js'
export type { Origin } from './record/origin.js'
export { FailedRecord, isFailed, type FailuresOf, type SomeFailure } from './record/failed-record.js'
export { readFailure, type Failure, type FailureHeaders } from './record/failure-headers.js'
export { bytes, json, string, type AnySerde, type AsyncSerde, type Serde } from './record/serde.js'
export type { DeepReadonly, Good, Handled, KeyOf, RecordOrFailure, ValueOf } from './record/types.js'
export type { Headers, HeaderValue, HeadersInput } from './record/headers.js'
export type { Duration } from './record/duration.js'
export { quietLogger, silentLogger, type LogArea, type Logger } from './record/logger.js'
export { MillraceError, type ErrorCode } from './record/error.js'
export type { NewTopic, PartitionOffset, TopicInfo, TraceEvent, TraceStep } from './log/port.js'
export { hset, incrby, publish, zadd, type RedisTransaction, type RedisValue, type RedisWrite } from './sinks/redis/commands.js'
export { toRedis, type RedisSinkClient, type ToRedisOptions } from './sinks/redis/to-redis.js'

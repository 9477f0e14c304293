import { logError } from '../log/error.js'
import type { LogError, Reaction } from '../log/port.js'
import { MillraceError, errorMessage, type ErrorCode } from '../record/error.js'

/** What has to be looked up anew before a request is tried again. */
export type Refresh = 'nothing' | 'metadata' | 'coordinator'

export interface KafkaErrorInfo {
  readonly code: number
  readonly name: string
  /** Tried again inside the port, after this was looked up; undefined where that cannot help. */
  readonly retry: Refresh | undefined
  /** What is thrown, once trying again is over or of no use. */
  readonly as: ErrorCode
  readonly reaction: Reaction
  /** What happened, the likely cause, what to do. */
  readonly reason: string
}

type Row = readonly [code: number, name: string, retry: Refresh | undefined, as: ErrorCode, reaction: Reaction, reason: string]

const ROWS: readonly Row[] = [
  [-1, 'UNKNOWN_SERVER_ERROR', 'nothing', 'BROKER_REFUSED', 'retry', 'the broker failed in a way it has no code for: its log tells more'],
  [
    1,
    'OFFSET_OUT_OF_RANGE',
    undefined,
    'OFFSET_OUT_OF_RANGE',
    'fatal',
    'the offset is not in the log: its records were deleted by retention, or the topic was created anew',
  ],
  [
    2,
    'CORRUPT_MESSAGE',
    'nothing',
    'CORRUPT_BATCH',
    'retry',
    'a batch failed its CRC on the broker, or has no key where the topic is compacted',
  ],
  [
    3,
    'UNKNOWN_TOPIC_OR_PARTITION',
    'metadata',
    'MISSING_TOPIC',
    'retry',
    'the broker does not know the topic or partition: it does not exist, was deleted, or may not be described by this user',
  ],
  [4, 'INVALID_FETCH_SIZE', undefined, 'BROKER_REFUSED', 'fatal', 'the broker refuses the size of the fetch'],
  [
    5,
    'LEADER_NOT_AVAILABLE',
    'metadata',
    'TIMEOUT',
    'retry',
    'the partition has no leader: its brokers are down, or the topic was created just now',
  ],
  [6, 'NOT_LEADER_OR_FOLLOWER', 'metadata', 'TIMEOUT', 'retry', 'the partition moved to another broker'],
  [
    7,
    'REQUEST_TIMED_OUT',
    'nothing',
    'TIMEOUT',
    'retry',
    'the broker ran out of time, mostly waiting for replicas: one may be down or slow',
  ],
  [8, 'BROKER_NOT_AVAILABLE', 'metadata', 'TIMEOUT', 'retry', 'a broker is down'],
  [9, 'REPLICA_NOT_AVAILABLE', 'metadata', 'TIMEOUT', 'retry', 'a replica is down'],
  [
    10,
    'MESSAGE_TOO_LARGE',
    undefined,
    'RECORD_TOO_LARGE',
    'abort',
    'the batch is larger than the topic takes: raise max.message.bytes of the topic, or write smaller records',
  ],
  [13, 'NETWORK_EXCEPTION', 'metadata', 'TIMEOUT', 'retry', 'the broker lost its connection to another'],
  [14, 'COORDINATOR_LOAD_IN_PROGRESS', 'nothing', 'TIMEOUT', 'retry', 'the coordinator is still reading its log after a restart or a move'],
  [
    15,
    'COORDINATOR_NOT_AVAILABLE',
    'coordinator',
    'TIMEOUT',
    'retry',
    'there is no coordinator: the brokers of __consumer_offsets or __transaction_state are down, or too few of them are up to create it',
  ],
  [16, 'NOT_COORDINATOR', 'coordinator', 'TIMEOUT', 'retry', 'the coordinator moved to another broker'],
  [
    17,
    'INVALID_TOPIC_EXCEPTION',
    undefined,
    'BROKER_REFUSED',
    'fatal',
    'the topic name is not allowed: at most 249 of letters, digits, ".", "_" and "-"',
  ],
  [
    18,
    'RECORD_LIST_TOO_LARGE',
    undefined,
    'RECORD_TOO_LARGE',
    'abort',
    'the batch is larger than a segment of the topic: raise segment.bytes, or write smaller batches',
  ],
  [
    19,
    'NOT_ENOUGH_REPLICAS',
    'metadata',
    'TIMEOUT',
    'retry',
    'fewer replicas are in sync than min.insync.replicas asks for: brokers are down',
  ],
  [
    20,
    'NOT_ENOUGH_REPLICAS_AFTER_APPEND',
    'metadata',
    'TIMEOUT',
    'retry',
    'fewer replicas took the batch than min.insync.replicas asks for: brokers are down',
  ],
  [
    22,
    'ILLEGAL_GENERATION',
    undefined,
    'MEMBER_LOST',
    'lost',
    'the group has moved on to a later generation without this member: it was out of touch for longer than the session or rebalance timeout',
  ],
  [
    23,
    'INCONSISTENT_GROUP_PROTOCOL',
    undefined,
    'BROKER_REFUSED',
    'fatal',
    'the group has members of another kind: another program uses the same group name, or a version of this one that divides the work differently. Give the group another name',
  ],
  [24, 'INVALID_GROUP_ID', undefined, 'BROKER_REFUSED', 'fatal', 'the broker refuses the group name'],
  [
    25,
    'UNKNOWN_MEMBER_ID',
    undefined,
    'MEMBER_LOST',
    'lost',
    'the coordinator dropped this member: no heartbeat reached it within the session timeout, or the group was reset',
  ],
  [
    26,
    'INVALID_SESSION_TIMEOUT',
    undefined,
    'INVALID_OPTIONS',
    'fatal',
    'the session timeout is outside what the broker allows: see group.min.session.timeout.ms and group.max.session.timeout.ms there',
  ],
  [27, 'REBALANCE_IN_PROGRESS', undefined, 'REBALANCE_IN_PROGRESS', 'rejoin', 'the group is dividing its work anew'],
  [
    29,
    'TOPIC_AUTHORIZATION_FAILED',
    undefined,
    'UNAUTHORIZED',
    'fatal',
    'this user has no right to the topic: Read and Describe are needed to read it, Write and Describe to write it, Create to create it',
  ],
  [
    30,
    'GROUP_AUTHORIZATION_FAILED',
    undefined,
    'UNAUTHORIZED',
    'fatal',
    'this user has no right to the group: Read on the group is needed',
  ],
  [
    31,
    'CLUSTER_AUTHORIZATION_FAILED',
    undefined,
    'UNAUTHORIZED',
    'fatal',
    'this user has no right to do that on the cluster: Create is needed to create topics, and to get a producer id Write on some topic, or IdempotentWrite on the cluster before Kafka 2.8',
  ],
  [
    32,
    'INVALID_TIMESTAMP',
    undefined,
    'BROKER_REFUSED',
    'abort',
    'a record is older or newer than the topic takes: see message.timestamp.before.max.ms and message.timestamp.after.max.ms of the topic',
  ],
  [
    33,
    'UNSUPPORTED_SASL_MECHANISM',
    undefined,
    'UNAUTHORIZED',
    'fatal',
    'the broker does not offer this SASL mechanism: see sasl.enabled.mechanisms there',
  ],
  [34, 'ILLEGAL_SASL_STATE', undefined, 'UNAUTHORIZED', 'fatal', 'the broker expects a log-in: set sasl'],
  [35, 'UNSUPPORTED_VERSION', undefined, 'BROKER_TOO_OLD', 'fatal', 'the broker is older than Kafka 2.5: upgrade it'],
  [36, 'TOPIC_ALREADY_EXISTS', undefined, 'TOPIC_EXISTS', 'fatal', 'the topic exists already'],
  [37, 'INVALID_PARTITIONS', undefined, 'BROKER_REFUSED', 'fatal', 'the broker refuses the number of partitions'],
  [
    38,
    'INVALID_REPLICATION_FACTOR',
    undefined,
    'BROKER_REFUSED',
    'fatal',
    'the replication factor is larger than the number of brokers that are up',
  ],
  [39, 'INVALID_REPLICA_ASSIGNMENT', undefined, 'BROKER_REFUSED', 'fatal', 'the broker refuses where the replicas are to be'],
  [40, 'INVALID_CONFIG', undefined, 'BROKER_REFUSED', 'fatal', 'the broker refuses the configuration of the topic'],
  [41, 'NOT_CONTROLLER', 'metadata', 'TIMEOUT', 'retry', 'the controller moved to another broker'],
  [42, 'INVALID_REQUEST', undefined, 'BROKER_REFUSED', 'fatal', 'the broker does not accept the request; its log tells why'],
  [
    43,
    'UNSUPPORTED_FOR_MESSAGE_FORMAT',
    undefined,
    'UNSUPPORTED_FORMAT',
    'fatal',
    'the topic keeps records in a format from before Kafka 0.11: set its message.format.version',
  ],
  [44, 'POLICY_VIOLATION', undefined, 'BROKER_REFUSED', 'fatal', 'a policy of the cluster forbids it'],
  [
    45,
    'OUT_OF_ORDER_SEQUENCE_NUMBER',
    undefined,
    'TRANSACTION_ABORTED',
    'reinit',
    'a batch before this one is missing: the partition lost acknowledged records, or the broker forgot the producer',
  ],
  [46, 'DUPLICATE_SEQUENCE_NUMBER', undefined, 'TRANSACTION_ABORTED', 'reinit', 'the partition has the batch already'],
  [
    47,
    'INVALID_PRODUCER_EPOCH',
    undefined,
    'PRODUCER_FENCED',
    'reinit',
    'another producer took this transactional id over, or the transaction was open for longer than its timeout',
  ],
  [
    48,
    'INVALID_TXN_STATE',
    undefined,
    'TRANSACTION_ABORTED',
    'reinit',
    'the transaction is not in a state for this: it was ended from outside, mostly because it was open for longer than its timeout',
  ],
  [
    49,
    'INVALID_PRODUCER_ID_MAPPING',
    undefined,
    'TRANSACTION_ABORTED',
    'reinit',
    'the coordinator forgot the transactional id, which was unused for longer than transactional.id.expiration.ms',
  ],
  [
    50,
    'INVALID_TRANSACTION_TIMEOUT',
    undefined,
    'INVALID_OPTIONS',
    'fatal',
    'the transaction timeout is larger than transaction.max.timeout.ms of the broker',
  ],
  [51, 'CONCURRENT_TRANSACTIONS', 'nothing', 'TIMEOUT', 'retry', 'the transaction before this one is still being ended'],
  [52, 'TRANSACTION_COORDINATOR_FENCED', 'coordinator', 'TIMEOUT', 'retry', 'the transaction coordinator moved to another broker'],
  [
    53,
    'TRANSACTIONAL_ID_AUTHORIZATION_FAILED',
    undefined,
    'UNAUTHORIZED',
    'fatal',
    'this user has no right to the transactional id: Write and Describe on it are needed',
  ],
  [54, 'SECURITY_DISABLED', undefined, 'BROKER_REFUSED', 'fatal', 'the broker has no authorizer'],
  [55, 'OPERATION_NOT_ATTEMPTED', undefined, 'TRANSACTION_ABORTED', 'abort', 'another partition of the same request was refused'],
  [56, 'KAFKA_STORAGE_ERROR', 'metadata', 'TIMEOUT', 'retry', 'a disk of the broker failed'],
  [58, 'SASL_AUTHENTICATION_FAILED', undefined, 'UNAUTHORIZED', 'fatal', 'the broker refused the log-in: check user and password'],
  [
    59,
    'UNKNOWN_PRODUCER_ID',
    undefined,
    'TRANSACTION_ABORTED',
    'reinit',
    'the broker forgot the producer: its records were deleted by retention',
  ],
  [60, 'REASSIGNMENT_IN_PROGRESS', 'metadata', 'TIMEOUT', 'retry', 'the partition is being moved'],
  [68, 'NON_EMPTY_GROUP', undefined, 'BROKER_REFUSED', 'fatal', 'the group has members: stop them first'],
  [69, 'GROUP_ID_NOT_FOUND', undefined, 'BROKER_REFUSED', 'fatal', 'there is no such group'],
  [
    72,
    'LISTENER_NOT_FOUND',
    'metadata',
    'TIMEOUT',
    'retry',
    'the leader has no listener of the kind this connection uses: the listeners of the brokers differ',
  ],
  [73, 'TOPIC_DELETION_DISABLED', undefined, 'BROKER_REFUSED', 'fatal', 'delete.topic.enable is off on the brokers'],
  [74, 'FENCED_LEADER_EPOCH', 'metadata', 'TIMEOUT', 'retry', 'the partition has a new leader'],
  [75, 'UNKNOWN_LEADER_EPOCH', 'metadata', 'TIMEOUT', 'retry', 'the broker has not heard of the new leader of the partition yet'],
  [76, 'UNSUPPORTED_COMPRESSION_TYPE', undefined, 'BROKER_REFUSED', 'abort', 'the broker does not know this compression'],
  [78, 'OFFSET_NOT_AVAILABLE', 'nothing', 'TIMEOUT', 'retry', 'the new leader of the partition does not know yet how far it is replicated'],
  [79, 'MEMBER_ID_REQUIRED', undefined, 'MEMBER_LOST', 'lost', 'the coordinator gave this member an id to join with'],
  [80, 'PREFERRED_LEADER_NOT_AVAILABLE', 'metadata', 'TIMEOUT', 'retry', 'the preferred leader is down'],
  [81, 'GROUP_MAX_SIZE_REACHED', undefined, 'BROKER_REFUSED', 'fatal', 'the group is full: see group.max.size of the broker'],
  [
    82,
    'FENCED_INSTANCE_ID',
    undefined,
    'INSTANCE_FENCED',
    'fatal',
    'another process joined with the same instance id: each needs one of its own',
  ],
  [83, 'ELIGIBLE_LEADERS_NOT_AVAILABLE', 'metadata', 'TIMEOUT', 'retry', 'no replica of the partition can lead it'],
  [87, 'INVALID_RECORD', undefined, 'BROKER_REFUSED', 'abort', 'the broker refuses a record: a compacted topic takes none without a key'],
  [
    88,
    'UNSTABLE_OFFSET_COMMIT',
    'nothing',
    'TIMEOUT',
    'retry',
    'a transaction is about to move the offset: it has been open all this time, mostly because its producer died; the broker ends it after its timeout',
  ],
  [89, 'THROTTLING_QUOTA_EXCEEDED', 'nothing', 'TIMEOUT', 'retry', 'the quota of this user is used up for the moment'],
  [90, 'PRODUCER_FENCED', undefined, 'PRODUCER_FENCED', 'reinit', 'another producer took this transactional id over'],
  [100, 'UNKNOWN_TOPIC_ID', 'metadata', 'MISSING_TOPIC', 'retry', 'the topic was deleted, or created anew'],
  [103, 'INCONSISTENT_TOPIC_ID', 'metadata', 'MISSING_TOPIC', 'retry', 'the topic was created anew'],
  [107, 'INELIGIBLE_REPLICA', 'metadata', 'TIMEOUT', 'retry', 'the partition has a new leader'],
  [108, 'NEW_LEADER_ELECTED', 'metadata', 'TIMEOUT', 'retry', 'the partition has a new leader'],
  [109, 'OFFSET_MOVED_TO_TIERED_STORAGE', 'nothing', 'TIMEOUT', 'retry', 'the records are in tiered storage'],
  [110, 'FENCED_MEMBER_EPOCH', undefined, 'MEMBER_LOST', 'lost', 'the group moved on without this member'],
  [
    111,
    'UNRELEASED_INSTANCE_ID',
    undefined,
    'INSTANCE_FENCED',
    'fatal',
    'another process is in the group with the same instance id: each needs one of its own',
  ],
  [113, 'STALE_MEMBER_EPOCH', undefined, 'MEMBER_LOST', 'lost', 'the group moved on without this member'],
  [
    120,
    'TRANSACTION_ABORTABLE',
    undefined,
    'TRANSACTION_ABORTED',
    'abort',
    'the broker asks for the transaction to be aborted, mostly because it could not make sure that the partition belongs to it',
  ],
]

const TABLE = new Map<number, KafkaErrorInfo>(
  ROWS.map(([code, name, retry, as, reaction, reason]) => [code, { code, name, retry, as, reaction, reason }]),
)

export const ERROR = {
  none: 0,
  unknownTopicOrPartition: 3,
  leaderNotAvailable: 5,
  invalidTopic: 17,
  topicUnauthorized: 29,
  clusterUnauthorized: 31,
  requestTimedOut: 7,
  notEnoughReplicasAfterAppend: 20,
  unknownMemberId: 25,
  unsupportedVersion: 35,
  topicAlreadyExists: 36,
  notController: 41,
  duplicateSequenceNumber: 46,
  invalidProducerEpoch: 47,
  invalidTxnState: 48,
  operationNotAttempted: 55,
  memberIdRequired: 79,
  fencedInstanceId: 82,
} as const

export function kafkaErrorInfo(code: number): KafkaErrorInfo {
  return (
    TABLE.get(code) ?? {
      code,
      name: `error ${code}`,
      retry: undefined,
      as: 'BROKER_REFUSED',
      reaction: 'fatal',
      reason: 'the broker answers with an error this client does not know',
    }
  )
}

/** A request that a broker answered with an error. Inside the port only. */
export class Refused extends Error {
  readonly info: KafkaErrorInfo

  constructor(
    code: number,
    /** What was asked for, to start the message with. */
    readonly what: string,
    /** What the broker says of it. */
    readonly detail?: string | null,
  ) {
    const info = kafkaErrorInfo(code)
    super(`${what}: ${info.reason}${detail == null ? '' : ` (${detail})`} [${info.name}]`)
    this.info = info
  }
}

/** A connection that could not be made, broke, or gave no answer in time. Inside the port only. */
export class Unanswered extends Error {
  constructor(
    message: string,
    /** Whether the request was given to the socket: if so, the broker may have carried it out. */
    readonly sent: boolean,
    cause?: unknown,
  ) {
    super(message, { cause })
  }
}

export function check(code: number, what: string, detail?: string | null): void {
  if (code !== ERROR.none) throw new Refused(code, what, detail)
}

export function checkEach(
  results: Iterable<{ readonly topic: string; readonly partition: number; readonly error: number }>,
  what: string,
): void {
  for (const { topic, partition, error } of results) check(error, `${what} of ${topic}/${partition}`)
}

/** How to go on after an error inside the port: what to look up before the next try, or undefined if another try is of no use. */
export function refreshAfter(error: unknown): Refresh | undefined {
  if (error instanceof Unanswered) return 'coordinator'
  return error instanceof Refused ? error.info.retry : undefined
}

/** The error as it leaves the port. */
export function asLogError(error: unknown, what: string): unknown {
  if (error instanceof Refused) {
    const { retry, as, reaction } = error.info
    const retryable =
      retry !== undefined || reaction === 'reinit' || reaction === 'lost' || reaction === 'rejoin' || as === 'TRANSACTION_ABORTED'
    return logError(as, reaction, error.message, { retryable })
  }
  if (error instanceof Unanswered) return logError('BROKER_UNREACHABLE', 'retry', `${what}: ${error.message}`, { cause: error.cause })
  return error
}

/** As `asLogError`, where nothing but LogErrors may come out. */
export function asReaction(error: unknown, what: string): LogError {
  const known = asLogError(error, what)
  return known instanceof MillraceError && 'reaction' in known ? (known as LogError) : withReaction(known, 'fatal')
}

/** The same failure with another reaction, where what was being done asks for one. */
export function withReaction(error: unknown, reaction: Reaction): LogError {
  if (error instanceof MillraceError)
    return logError(error.code, reaction, error.message, { cause: error.cause, origin: error.origin, retryable: error.retryable })
  return logError('BROKER_REFUSED', reaction, errorMessage(error), { cause: error })
}

export function closedError(): LogError {
  return logError('CLOSED', 'fatal', 'the connection to Kafka was closed while this was under way')
}

import type { Reaction } from '../log/port.js'
import type { ErrorCode } from '../record/error.js'
import type { ApiName } from './protocol/api.js'

/** What has to be looked up anew before a request is tried again. */
export type Refresh = 'nothing' | 'metadata' | 'coordinator'

/** Of a request that was answered with an error: whether it may have been carried out all the same. */
export type Done = 'no' | 'maybe'

export type ErrorRow = readonly [
  code: number,
  /** What helps, or that trying again is of no use. */
  retry: Refresh | 'give up',
  /** What is thrown, once trying again is over or of no use. */
  as: ErrorCode,
  reaction: Reaction,
  done: Done,
  /** In place of what the code means by itself. */
  reason?: string,
]

export interface ErrorsOfApi {
  /** The reactions to codes that are not listed: to those that pass by themselves, when the time is up, and to all others. */
  readonly otherwise: readonly [passing: Reaction, other: Reaction]
  readonly rows: readonly ErrorRow[]
}

const NO_GROUP_COORDINATOR = 'the group has no coordinator: brokers of __consumer_offsets are down, or too few of them are up to create it'
const GROUP_LOADS = 'the coordinator of the group is still reading __consumer_offsets after a restart or a move'
const GROUP_MOVED = 'the coordinator of the group moved to another broker'
const NO_TRANSACTION_COORDINATOR =
  'the transactional id has no coordinator: brokers of __transaction_state are down, or too few of them are up to create it'
const TRANSACTIONS_LOAD = 'the coordinator of the transactional id is still reading __transaction_state after a restart or a move'
const TRANSACTIONS_MOVED = 'the coordinator of the transactional id moved to another broker'
const NOT_HOSTED = 'this broker does not have the partition: it has moved, or its topic is gone'
const NO_ID = 'the coordinator does not have this producer id for the transactional id: it forgot it, or gave it another'
const NO_WRITE = 'this user may not write to the topic: Write on it is needed'
const NO_DESCRIBE = 'this user may not look into the topic: Describe on it is needed'
const NO_COMMIT = 'this user may not read the topic whose offset is committed: Read on it is needed'

/** What the leader of a partition, or who no longer is, says to those that only read. */
const OF_LEADER: readonly ErrorRow[] = [
  [-1, 'nothing', 'BROKER_REFUSED', 'retry', 'no'],
  [3, 'metadata', 'TIMEOUT', 'retry', 'no', NOT_HOSTED],
  [6, 'metadata', 'TIMEOUT', 'retry', 'no'],
  [7, 'nothing', 'TIMEOUT', 'retry', 'no'],
  [9, 'metadata', 'TIMEOUT', 'retry', 'no'],
  [56, 'metadata', 'TIMEOUT', 'retry', 'no'],
  [74, 'metadata', 'TIMEOUT', 'retry', 'no'],
  [75, 'metadata', 'TIMEOUT', 'retry', 'no'],
  [78, 'nothing', 'TIMEOUT', 'retry', 'no'],
]

/** Of a group's coordinator: what it says once replicas were too slow for what it had written is COORDINATOR_NOT_AVAILABLE. */
function ofGroup(spent: Reaction): readonly ErrorRow[] {
  return [
    [-1, 'nothing', 'BROKER_REFUSED', spent, 'maybe'],
    [7, 'coordinator', 'TIMEOUT', spent, 'maybe'],
    [14, 'nothing', 'TIMEOUT', spent, 'no', GROUP_LOADS],
    [15, 'coordinator', 'TIMEOUT', spent, 'maybe', NO_GROUP_COORDINATOR],
    [16, 'coordinator', 'TIMEOUT', spent, 'maybe', GROUP_MOVED],
    [24, 'give up', 'BROKER_REFUSED', 'fatal', 'no'],
    [30, 'give up', 'UNAUTHORIZED', 'fatal', 'no'],
  ]
}

/** Of a transactional id's coordinator. It says that it loads, or has moved, also of what it has written just before. */
function ofTransaction(spent: Reaction): readonly ErrorRow[] {
  return [
    [-1, 'nothing', 'BROKER_REFUSED', spent, 'maybe'],
    [7, 'coordinator', 'TIMEOUT', spent, 'maybe'],
    [14, 'nothing', 'TIMEOUT', spent, 'maybe', TRANSACTIONS_LOAD],
    [15, 'coordinator', 'TIMEOUT', spent, 'maybe', NO_TRANSACTION_COORDINATOR],
    [16, 'coordinator', 'TIMEOUT', spent, 'maybe', TRANSACTIONS_MOVED],
    [52, 'coordinator', 'TIMEOUT', spent, 'maybe'],
    [53, 'give up', 'UNAUTHORIZED', 'fatal', 'no'],
  ]
}

/** Of a producer that is no longer its transactional id's, or of a transaction that is over: answered after looking and before writing. */
const PRODUCER_GONE: readonly ErrorRow[] = [
  [47, 'give up', 'PRODUCER_FENCED', 'reinit', 'no'],
  [48, 'give up', 'TRANSACTION_ABORTED', 'reinit', 'no'],
  [49, 'give up', 'TRANSACTION_ABORTED', 'reinit', 'no', NO_ID],
  [59, 'give up', 'TRANSACTION_ABORTED', 'reinit', 'no'],
  [90, 'give up', 'PRODUCER_FENCED', 'reinit', 'no'],
  [120, 'give up', 'TRANSACTION_ABORTED', 'abort', 'no'],
]

/** Of a commit of offsets: a member that is out of its group loses the transaction, whatever else that means for it. */
const OFFSETS_REFUSED: readonly ErrorRow[] = [
  [3, 'nothing', 'MISSING_TOPIC', 'abort', 'no'],
  [12, 'give up', 'BROKER_REFUSED', 'fatal', 'no'],
  [22, 'give up', 'MEMBER_LOST', 'lost', 'no'],
  [25, 'give up', 'MEMBER_LOST', 'lost', 'no'],
  [27, 'give up', 'REBALANCE_IN_PROGRESS', 'abort', 'no'],
  [28, 'give up', 'BROKER_REFUSED', 'fatal', 'no'],
  [29, 'give up', 'UNAUTHORIZED', 'fatal', 'no', NO_COMMIT],
  [69, 'give up', 'MEMBER_LOST', 'lost', 'no'],
  [82, 'give up', 'INSTANCE_FENCED', 'lost', 'no'],
  [110, 'give up', 'MEMBER_LOST', 'lost', 'no'],
  [113, 'give up', 'MEMBER_LOST', 'lost', 'no'],
]

/** Of a member: what ends its membership. */
const MEMBER_GONE: readonly ErrorRow[] = [
  [22, 'give up', 'MEMBER_LOST', 'lost', 'no'],
  [25, 'give up', 'MEMBER_LOST', 'lost', 'no'],
  [82, 'give up', 'INSTANCE_FENCED', 'fatal', 'no'],
]

/** Of the controller: one that steps down says that it is not the controller also of what its successor then carries out. */
const OF_CONTROLLER: readonly ErrorRow[] = [
  [-1, 'nothing', 'BROKER_REFUSED', 'retry', 'maybe'],
  [7, 'nothing', 'TIMEOUT', 'retry', 'maybe'],
  [17, 'give up', 'BROKER_REFUSED', 'fatal', 'no'],
  [31, 'give up', 'UNAUTHORIZED', 'fatal', 'no'],
  [41, 'nothing', 'TIMEOUT', 'retry', 'maybe'],
  [42, 'give up', 'BROKER_REFUSED', 'fatal', 'no'],
  [44, 'give up', 'BROKER_REFUSED', 'fatal', 'no'],
  [89, 'nothing', 'TIMEOUT', 'retry', 'no'],
]

/**
 * What an error means, by the request it answers: the same code is a broker to look up anew in one and a topic that does not exist in
 * another, and only some errors prove that nothing was done. From the handlers of the brokers, and of Kafka's Java client:
 * TransactionManager, Sender, AbstractCoordinator, ConsumerCoordinator, FetchCollector.
 */
export const ERRORS_BY_API: Readonly<Record<ApiName, ErrorsOfApi>> = {
  ApiVersions: {
    otherwise: ['retry', 'fatal'],
    rows: [
      [-1, 'nothing', 'BROKER_REFUSED', 'retry', 'no'],
      [35, 'give up', 'BROKER_TOO_OLD', 'fatal', 'no'],
      [42, 'give up', 'BROKER_REFUSED', 'fatal', 'no'],
    ],
  },

  /** Here alone an unknown topic is one that does not exist, as far as the broker has heard. */
  Metadata: {
    otherwise: ['retry', 'fatal'],
    rows: [
      [-1, 'nothing', 'BROKER_REFUSED', 'retry', 'no'],
      [3, 'metadata', 'MISSING_TOPIC', 'retry', 'no'],
      [5, 'metadata', 'TIMEOUT', 'retry', 'no'],
      [7, 'nothing', 'TIMEOUT', 'retry', 'no'],
      [9, 'metadata', 'TIMEOUT', 'retry', 'no'],
      [17, 'give up', 'BROKER_REFUSED', 'fatal', 'no'],
      [29, 'give up', 'UNAUTHORIZED', 'fatal', 'no'],
      [72, 'metadata', 'TIMEOUT', 'retry', 'no'],
    ],
  },

  FindCoordinator: {
    otherwise: ['retry', 'fatal'],
    rows: [
      [-1, 'nothing', 'BROKER_REFUSED', 'retry', 'no'],
      [7, 'nothing', 'TIMEOUT', 'retry', 'no'],
      [14, 'nothing', 'TIMEOUT', 'retry', 'no'],
      [15, 'nothing', 'TIMEOUT', 'retry', 'no'],
      [24, 'give up', 'BROKER_REFUSED', 'fatal', 'no'],
      [30, 'give up', 'UNAUTHORIZED', 'fatal', 'no'],
      [42, 'give up', 'BROKER_REFUSED', 'fatal', 'no'],
      [53, 'give up', 'UNAUTHORIZED', 'fatal', 'no'],
    ],
  },

  Fetch: {
    otherwise: ['retry', 'fatal'],
    rows: [
      ...OF_LEADER,
      [1, 'give up', 'OFFSET_OUT_OF_RANGE', 'fatal', 'no'],
      [2, 'nothing', 'CORRUPT_BATCH', 'retry', 'no', 'a batch in the log fails its CRC on the broker: its disk may be damaged'],
      [29, 'give up', 'UNAUTHORIZED', 'fatal', 'no', 'this user may not read the topic: Read on it is needed'],
      [76, 'give up', 'BROKER_REFUSED', 'fatal', 'no', 'the topic is compressed in a way that this version of Fetch cannot hand out'],
      [100, 'metadata', 'MISSING_TOPIC', 'retry', 'no'],
      [103, 'metadata', 'MISSING_TOPIC', 'retry', 'no'],
      [109, 'nothing', 'TIMEOUT', 'retry', 'no'],
    ],
  },

  ListOffsets: {
    otherwise: ['retry', 'fatal'],
    rows: [
      ...OF_LEADER,
      [5, 'metadata', 'TIMEOUT', 'retry', 'no', 'the new leader of the partition does not know yet how far it is replicated'],
      [29, 'give up', 'UNAUTHORIZED', 'fatal', 'no', NO_DESCRIBE],
      [43, 'give up', 'UNSUPPORTED_FORMAT', 'fatal', 'no'],
    ],
  },

  /** A leader that steps down, or fails, while it waits for replicas answers with an error, but has written the batch. */
  Produce: {
    otherwise: ['abort', 'abort'],
    rows: [
      ...PRODUCER_GONE,
      [-1, 'nothing', 'BROKER_REFUSED', 'abort', 'maybe'],
      [2, 'nothing', 'CORRUPT_BATCH', 'abort', 'no', 'the batch failed its CRC on the broker: it was damaged on its way there'],
      [3, 'metadata', 'TIMEOUT', 'abort', 'maybe', NOT_HOSTED],
      [6, 'metadata', 'TIMEOUT', 'abort', 'maybe'],
      [7, 'nothing', 'TIMEOUT', 'abort', 'maybe'],
      [9, 'metadata', 'TIMEOUT', 'abort', 'maybe'],
      [10, 'give up', 'RECORD_TOO_LARGE', 'abort', 'no'],
      // The leader of the partition asks the coordinator of the transactional id whether the partition belongs to the transaction.
      [13, 'nothing', 'TIMEOUT', 'abort', 'no', 'the leader of the partition cannot reach the coordinator of the transactional id'],
      [14, 'nothing', 'TIMEOUT', 'abort', 'no', TRANSACTIONS_LOAD],
      [15, 'nothing', 'TIMEOUT', 'abort', 'no', NO_TRANSACTION_COORDINATOR],
      [16, 'nothing', 'TIMEOUT', 'abort', 'no', TRANSACTIONS_MOVED],
      [17, 'give up', 'BROKER_REFUSED', 'abort', 'no'],
      [18, 'give up', 'RECORD_TOO_LARGE', 'abort', 'no'],
      [19, 'nothing', 'TIMEOUT', 'abort', 'no'],
      [20, 'nothing', 'TIMEOUT', 'abort', 'maybe'],
      [29, 'give up', 'UNAUTHORIZED', 'abort', 'no', NO_WRITE],
      [31, 'give up', 'UNAUTHORIZED', 'abort', 'no'],
      [32, 'give up', 'INVALID_TIMESTAMP', 'abort', 'no'],
      [42, 'give up', 'BROKER_REFUSED', 'abort', 'no'],
      [43, 'give up', 'UNSUPPORTED_FORMAT', 'abort', 'no'],
      [45, 'give up', 'TRANSACTION_ABORTED', 'reinit', 'no'],
      // Taken for success: the broker has the batch from a try before.
      [46, 'give up', 'TRANSACTION_ABORTED', 'reinit', 'maybe'],
      [51, 'nothing', 'TIMEOUT', 'abort', 'no'],
      [53, 'give up', 'UNAUTHORIZED', 'fatal', 'no'],
      [56, 'metadata', 'TIMEOUT', 'abort', 'maybe'],
      [76, 'give up', 'BROKER_REFUSED', 'abort', 'no'],
      [87, 'give up', 'RECORD_REFUSED', 'abort', 'no'],
    ],
  },

  InitProducerId: {
    otherwise: ['retry', 'fatal'],
    rows: [
      ...ofTransaction('retry'),
      [31, 'give up', 'UNAUTHORIZED', 'fatal', 'no'],
      [42, 'give up', 'BROKER_REFUSED', 'fatal', 'no'],
      [47, 'give up', 'PRODUCER_FENCED', 'reinit', 'no'],
      [49, 'give up', 'TRANSACTION_ABORTED', 'reinit', 'no', NO_ID],
      [50, 'give up', 'INVALID_OPTIONS', 'fatal', 'no'],
      // Also where it has fenced the producer before this one, whose transaction is now being ended.
      [51, 'nothing', 'TIMEOUT', 'retry', 'maybe'],
      [90, 'give up', 'PRODUCER_FENCED', 'reinit', 'no'],
      [120, 'give up', 'TRANSACTION_ABORTED', 'reinit', 'no'],
    ],
  },

  AddPartitionsToTxn: {
    otherwise: ['abort', 'abort'],
    rows: [
      ...ofTransaction('abort'),
      ...PRODUCER_GONE,
      [3, 'metadata', 'MISSING_TOPIC', 'abort', 'no'],
      [29, 'give up', 'UNAUTHORIZED', 'abort', 'no', NO_WRITE],
      [42, 'give up', 'BROKER_REFUSED', 'abort', 'no'],
      [51, 'nothing', 'TIMEOUT', 'abort', 'no'],
      [55, 'give up', 'TRANSACTION_ABORTED', 'abort', 'no'],
    ],
  },

  AddOffsetsToTxn: {
    otherwise: ['abort', 'fatal'],
    rows: [
      ...ofTransaction('abort'),
      ...PRODUCER_GONE,
      [30, 'give up', 'UNAUTHORIZED', 'fatal', 'no'],
      [42, 'give up', 'BROKER_REFUSED', 'fatal', 'no'],
      [51, 'nothing', 'TIMEOUT', 'abort', 'no'],
    ],
  },

  /** Goes to the coordinator of the group, unlike the other requests of a transaction: that is the one to look up again. */
  TxnOffsetCommit: {
    otherwise: ['abort', 'fatal'],
    rows: [
      ...ofGroup('abort'),
      ...OFFSETS_REFUSED,
      ...PRODUCER_GONE,
      [13, 'nothing', 'TIMEOUT', 'abort', 'no', 'the coordinator of the group cannot reach that of the transactional id'],
      [42, 'give up', 'BROKER_REFUSED', 'fatal', 'no'],
      [43, 'give up', 'UNSUPPORTED_FORMAT', 'fatal', 'no'],
      [51, 'nothing', 'TIMEOUT', 'abort', 'no'],
      [53, 'give up', 'UNAUTHORIZED', 'fatal', 'no'],
    ],
  },

  /**
   * The end is decided when the coordinator has it in its log. What it answers when it loses its place, before that or after, does not
   * say which it was. So only what it answers after looking, and before writing, proves that a commit was not carried out.
   */
  EndTxn: {
    otherwise: ['indeterminate', 'indeterminate'],
    rows: [
      ...ofTransaction('indeterminate'),
      ...PRODUCER_GONE,
      [13, 'coordinator', 'TIMEOUT', 'indeterminate', 'maybe'],
      [35, 'give up', 'BROKER_TOO_OLD', 'fatal', 'no'],
      [42, 'give up', 'BROKER_REFUSED', 'fatal', 'no'],
      // What is under way may be the same end.
      [51, 'nothing', 'TIMEOUT', 'indeterminate', 'maybe'],
      [56, 'coordinator', 'TIMEOUT', 'indeterminate', 'maybe'],
    ],
  },

  /** Its answer only says whether to wait: an error says no. */
  DescribeTransactions: { otherwise: ['retry', 'fatal'], rows: [] },

  OffsetCommit: { otherwise: ['abort', 'fatal'], rows: [...ofGroup('abort'), ...OFFSETS_REFUSED] },

  OffsetFetch: {
    otherwise: ['retry', 'fatal'],
    rows: [
      ...ofGroup('retry'),
      // Of one partition: the group has no offset of a topic that is gone.
      [3, 'nothing', 'MISSING_TOPIC', 'retry', 'no'],
      [29, 'give up', 'UNAUTHORIZED', 'fatal', 'no', NO_DESCRIBE],
      [88, 'nothing', 'TIMEOUT', 'retry', 'no'],
    ],
  },

  JoinGroup: {
    otherwise: ['retry', 'fatal'],
    rows: [
      ...ofGroup('retry'),
      ...MEMBER_GONE,
      [23, 'give up', 'BROKER_REFUSED', 'fatal', 'no'],
      [26, 'give up', 'INVALID_OPTIONS', 'fatal', 'no'],
      [27, 'nothing', 'REBALANCE_IN_PROGRESS', 'rejoin', 'no'],
      [79, 'give up', 'MEMBER_LOST', 'lost', 'no'],
      [81, 'give up', 'BROKER_REFUSED', 'fatal', 'no'],
      [111, 'give up', 'INSTANCE_FENCED', 'fatal', 'no'],
    ],
  },

  SyncGroup: {
    otherwise: ['retry', 'fatal'],
    rows: [
      ...ofGroup('retry'),
      ...MEMBER_GONE,
      [23, 'give up', 'BROKER_REFUSED', 'fatal', 'no'],
      [27, 'give up', 'REBALANCE_IN_PROGRESS', 'rejoin', 'no'],
    ],
  },

  Heartbeat: {
    otherwise: ['retry', 'fatal'],
    rows: [...ofGroup('retry'), ...MEMBER_GONE, [27, 'give up', 'REBALANCE_IN_PROGRESS', 'rejoin', 'no']],
  },

  LeaveGroup: { otherwise: ['retry', 'fatal'], rows: [...ofGroup('retry'), ...MEMBER_GONE] },

  CreateTopics: {
    otherwise: ['retry', 'fatal'],
    rows: [
      ...OF_CONTROLLER,
      [29, 'give up', 'UNAUTHORIZED', 'fatal', 'no', 'this user may not create the topic: Create on it, or on the cluster, is needed'],
      [36, 'give up', 'TOPIC_EXISTS', 'fatal', 'no'],
      [37, 'give up', 'BROKER_REFUSED', 'fatal', 'no'],
      [38, 'give up', 'BROKER_REFUSED', 'fatal', 'no'],
      [39, 'give up', 'BROKER_REFUSED', 'fatal', 'no'],
      [40, 'give up', 'BROKER_REFUSED', 'fatal', 'no'],
    ],
  },

  DeleteTopics: {
    otherwise: ['retry', 'fatal'],
    rows: [
      ...OF_CONTROLLER,
      // As good as done.
      [3, 'give up', 'MISSING_TOPIC', 'fatal', 'maybe'],
      [29, 'give up', 'UNAUTHORIZED', 'fatal', 'no', 'this user may not delete the topic: Delete on it is needed'],
      [73, 'give up', 'BROKER_REFUSED', 'fatal', 'no'],
    ],
  },

  DescribeConfigs: {
    otherwise: ['retry', 'fatal'],
    rows: [
      [-1, 'nothing', 'BROKER_REFUSED', 'retry', 'no'],
      [3, 'give up', 'MISSING_TOPIC', 'fatal', 'no'],
      [7, 'nothing', 'TIMEOUT', 'retry', 'no'],
      [17, 'give up', 'BROKER_REFUSED', 'fatal', 'no'],
      [
        29,
        'give up',
        'UNAUTHORIZED',
        'fatal',
        'no',
        'this user may not read the configuration of the topic: DescribeConfigs on it is needed',
      ],
      [31, 'give up', 'UNAUTHORIZED', 'fatal', 'no'],
      [42, 'give up', 'BROKER_REFUSED', 'fatal', 'no'],
    ],
  },
}

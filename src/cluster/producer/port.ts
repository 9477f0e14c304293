import type { ProducerRecord, WrittenRecord } from './options.js'
import type { ProducerTransaction } from './transaction.js'

/** Since the producer was made, or as it is now. */
export interface ProducerStats {
  /** Records taken. */
  readonly sent: number
  /** Of them, those acknowledged, and those whose promise rejected. */
  readonly written: number
  readonly failed: number
  /** Of them, those neither: waiting, encoded or on their way. */
  readonly pending: number
  readonly batches: number
  /** Encoded and not acknowledged, about. */
  readonly bytes: number
}

/**
 * Writes records from anywhere: an HTTP handler, a script, a test. To be kept, and closed at the end.
 *
 * Order: records of one partition, and so of one key, stand in the order of the calls, awaited or not. Each stands in the log once, however
 * often it had to be sent (idempotent, KIP-98); a record whose promise rejects with BROKER_UNREACHABLE or TIMEOUT may be there, as nobody
 * answered. What fails in one partition does not touch the others. Memory: `maxInFlightBytes` encoded; what is sent beyond that waits as it was given,
 * so await, or ask `ready` before more.
 */
export interface Producer<K, V> extends AsyncDisposable {
  /**
   * Resolves with partition and offset when all replicas in sync have the record.
   * @throws MillraceError ENCODE_FAILED, INVALID_TIMESTAMP, RECORD_TOO_LARGE, MISSING_TOPIC, UNAUTHORIZED, TIMEOUT, BROKER_UNREACHABLE, CLOSED
   */
  send(record: ProducerRecord<K, V>): Promise<WrittenRecord>
  /**
   * Several; resolves with where each stands. They are independent: the first that fails rejects the call when all others have ended, and
   * those are written. An array is taken at once; other iterables are asked for more as there is room, and no further after a failure.
   */
  sendBatch(records: Iterable<ProducerRecord<K, V>> | AsyncIterable<ProducerRecord<K, V>>): Promise<readonly WrittenRecord[]>
  /** Resolves when there is room for more. */
  ready(): Promise<void>
  /** Sends what lingers; resolves when all that was sent is written or has failed. */
  flush(): Promise<void>
  /**
   * All records of the function are there together or not at all, for readers of committed records. Transactions of one producer run one
   * after the other, in the order of calls; beside them, `send` goes on. What the function throws aborts, and is thrown.
   * @throws MillraceError as `send`; PRODUCER_FENCED; COMMIT_INDETERMINATE where no answer tells whether it was committed
   */
  transaction<T>(work: (tx: ProducerTransaction<K, V>) => T | PromiseLike<T>): Promise<T>
  readonly stats: ProducerStats
  /** Takes nothing more, flushes, ends. */
  close(): Promise<void>
}

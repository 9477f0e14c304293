import type { Observable, OperatorFunction } from 'rxjs'
import { copiesHint } from '../record/copies.js'
import { MillraceError } from '../record/error.js'
import type { Commit } from '../runtime/commit.js'
import { CommitStream } from '../runtime/commit-stream.js'
import { parseOptions } from '../runtime/options.js'
import { transactionSchema, type TransactionOptions } from '../runtime/settings.js'
import type { RecordStream } from '../runtime/slice-stream.js'
import { PartitionSource } from '../sources/partition-source.js'
import type { PartitionStream } from '../sources/partition-stream.js'

/**
 * Runs `project` over the partitions of a source, in transactions: what its sinks write and the offsets of what it read commit
 * together, or not at all.
 *
 * `project` is called for each slice: the records of one task in one transaction, as a finite observable. A slice is done when
 * the observable it returns completes; then everything in it is finished, whatever operators stand in it. Emits one `Commit` a
 * transaction; completes when the source's signal aborts and the last transaction has committed; unsubscribing stops in the same order.
 *
 * Order: of a partition, as far as the operators keep it. Offsets: what went in, never what came out, so dropping is free.
 * State: RxJS operators that remember (`scan`, `distinct`, `bufferTime`) start afresh in each slice. Memory: the records and
 * outputs of one transaction, see `maxBytes` and `streamBytes`; of two where no operator keeps anything from one to the next, since then
 * the next is processed while the last is being committed. If that fails, both come again.
 *
 * A failing slice runs again, then in parts, until the failing record is alone; then `onError` decides. The other records commit.
 *
 * @throws MillraceError INVALID_OPTIONS, and OUTSIDE_SOURCE if it does not stand first in the pipe of `cluster.source(...)`; as
 * error of the observable: PLAN_FAILED, MISSING_TOPIC, PARTITION_MISMATCH, UNAUTHORIZED, BROKER_UNREACHABLE, RECORD_FAILED,
 * SLICE_COMPLETED_EARLY, SLICE_SUBSCRIBED_LATE, SLICE_STALLED, INSTANCE_FENCED, ...
 * @example
 * cluster.source({ group: 'copy', topics: ['in'] })
 *   .pipe(withTransaction((records) => records.pipe(toTopic({ topic: 'out' })), { every: '100ms' }))
 *   .subscribe((commit) => console.log(commit.records, commit.lag))
 * @see KIP-98 (transactions), KIP-447 (fencing by the group's generation), KIP-890 (one epoch a transaction)
 */
export function withTransaction(
  project: (records: RecordStream) => Observable<unknown>,
  options: TransactionOptions = {},
): OperatorFunction<PartitionStream, Commit> {
  const transaction = parseOptions(transactionSchema, options, 'withTransaction')
  if (typeof project !== 'function') {
    throw new MillraceError(
      'INVALID_OPTIONS',
      'withTransaction: its first argument is a function from the records of a slice to an observable',
    )
  }
  return (source) => {
    if (!(source instanceof PartitionSource)) {
      throw new MillraceError(
        'OUTSIDE_SOURCE',
        `withTransaction stands outside a source: it must be the first operator in the pipe of cluster.source(...), since it takes over reading and offsets. Put other operators inside its project function, or behind it${copiesHint()}`,
      )
    }
    return new CommitStream({ source: source.settings, transaction, project }, source)
  }
}

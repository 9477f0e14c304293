import type { Observable } from 'rxjs'
import type { RecordStream } from '../runtime/slice-stream.js'

/**
 * One task of a source: the records of partition p of all its topics.
 *
 * Inside `withTransaction` it is finite, one slice. Subscribed directly it is a plain long-lived observable: nothing is committed.
 */
export interface PartitionStream extends RecordStream {
  /** Emits once when the partition goes to another member; the stream then completes. */
  readonly revoked: Observable<void>
}

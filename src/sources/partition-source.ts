import { Observable } from 'rxjs'
import type { PipelineHost } from '../runtime/pipeline.js'
import type { SourceSettings } from '../runtime/settings.js'
import type { RecordStream } from '../runtime/slice-stream.js'
import { streamPartitions } from './plain.js'

/**
 * One task of a source: the records of partition p of all its topics.
 *
 * Inside `withTransaction` it is finite, one slice. Subscribed directly it is a plain long-lived observable: nothing is committed.
 */
export interface PartitionStream extends RecordStream {
  /** Emits once when the partition goes to another member; the stream then completes. */
  readonly revoked: Observable<void>
}

/** A source of partition streams: pipe it into `withTransaction`. */
export class PartitionSource extends Observable<PartitionStream> {
  constructor(
    /** @internal */
    readonly settings: SourceSettings,
    /** @internal */
    readonly host: PipelineHost,
  ) {
    super((subscriber) => streamPartitions(settings, host, subscriber))
  }
}

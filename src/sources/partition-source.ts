import { Observable } from 'rxjs'
import type { PipelineHost } from '../runtime/host.js'
import type { SourceSettings } from '../runtime/settings.js'
import type { PartitionStream } from './partition-stream.js'
import { streamPartitions } from './plain.js'

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

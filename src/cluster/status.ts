import type { Observable } from 'rxjs'
import { CommitStream } from '../runtime/commit-stream.js'
import type { PipelineStatus } from '../runtime/status/status.js'
import type { StatusView } from '../runtime/status/view.js'

/**
 * What a pipeline is doing: its member and tasks, where it stands in each partition and how far behind, the transaction under way, what it
 * waits for, stores, retries, dead letters, rates, errors and events. All pipelines of a process: `cluster.status`.
 *
 * Read off the engine when asked, so nothing is done for it per record, and it is true also while nothing commits. Plain data for JSON,
 * without anything out of records. Offsets: those of partitions that no fetch tells of (held topics, all while the pipeline is stuck) are
 * asked of the log in the background while somebody looks on, every 5 s at most.
 *
 * @param pipeline what withTransaction made, or what operators made of that; subscribed several times, the one subscribed last is told of
 * @throws MillraceError OUTSIDE_SOURCE if it does not come from withTransaction
 * @example
 * const commits = cluster.source({ group: 'copy', topics: ['in'] }).pipe(withTransaction(project))
 * commits.subscribe()
 * statusOf(commits).changes({ every: '5s' }).subscribe(({ state, lag }) => console.log(state, lag.records, lag.ms))
 */
export function statusOf(pipeline: Observable<unknown>): StatusView<PipelineStatus> {
  return CommitStream.behind(pipeline, 'statusOf').status
}

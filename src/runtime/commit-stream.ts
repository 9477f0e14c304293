import { Observable } from 'rxjs'
import type { Clock } from '../record/clock.js'
import { MillraceError } from '../record/error.js'
import type { Commit } from './commit.js'
import type { PipelineHost, PipelineSpec } from './host.js'
import { Pipeline } from './pipeline.js'
import { planOf, type Plan } from './plan.js'
import type { SourceSettings } from './settings.js'
import { snapshotOf } from './status/snapshot.js'
import { hasEnded, type PipelineStatus } from './status/status.js'
import { viewOf, type StatusView } from './status/view.js'

/** The observable of commits that `withTransaction` makes; knows its pipeline's plan. */
export class CommitStream extends Observable<Commit> {
  /** Those of its subscriptions that run. */
  private readonly running = new Set<Pipeline>()
  private latest: Pipeline | undefined

  constructor(
    private readonly spec: PipelineSpec,
    private readonly from: { readonly settings: SourceSettings; readonly host: PipelineHost },
  ) {
    super((subscriber) => {
      const source = from
      const { signal } = source.settings
      let pipeline: Pipeline
      try {
        pipeline = new Pipeline(this.spec, source.host, (commit) => subscriber.next(commit))
      } catch (error) {
        subscriber.error(error)
        return
      }
      const stop = (): void => pipeline.stop()
      signal?.addEventListener('abort', stop)
      if (signal?.aborted === true) stop()
      this.running.add(pipeline)
      this.latest = pipeline
      source.host.onPipeline(pipeline)
      const run = pipeline.run().finally(() => this.running.delete(pipeline))
      const ended = run.then(
        () => subscriber.complete(),
        (error: unknown) => {
          if (subscriber.closed) source.host.logger.error({ error }, 'a pipeline failed while it was stopping')
          else subscriber.error(error)
        },
      )
      source.host.onRun(ended)
      return () => {
        signal?.removeEventListener('abort', stop)
        stop()
      }
    })
  }

  /**
   * @internal The one that an observable was made from: RxJS links each to the one before, so operators behind withTransaction are passed
   * over.
   * @throws MillraceError OUTSIDE_SOURCE
   */
  static behind(pipeline: Observable<unknown>, what: string): CommitStream {
    let at: Observable<unknown> | undefined = pipeline
    while (at !== undefined && !(at instanceof CommitStream)) at = (at as { source?: Observable<unknown> }).source
    if (at === undefined)
      throw new MillraceError('OUTSIDE_SOURCE', `${what} takes what withTransaction made: cluster.source(...).pipe(withTransaction(...))`)
    return at
  }

  /** @internal What the pipeline is doing that was subscribed last. */
  get status(): StatusView<PipelineStatus> {
    const { source, transaction } = this.spec
    const { clock } = this.from.host
    const take = (): PipelineStatus =>
      this.latest?.status() ??
      snapshotOf({
        source,
        transaction,
        plan: this.plan(),
        chronicle: undefined,
        now: clock.now(),
        run: undefined,
        ends: undefined,
        standbys: [],
        owners: [],
      })
    return viewOf(take, hasEnded, clock)
  }

  /** @internal */
  get clock(): Clock {
    return this.from.host.clock
  }

  /** @internal Has the steps of one slice in so many timed, until the function that is returned is called. */
  sampleSteps(oneIn: number): () => void {
    return this.latest?.sampleSteps(oneIn) ?? ((): void => {})
  }

  /** @internal */
  get pipelines(): ReadonlySet<Pipeline> {
    return this.running
  }

  /** @internal */
  plan(): Plan & { readonly guarantee: string; readonly everyMs: number } {
    const { source, transaction, project } = this.spec
    return {
      ...planOf(project, source.group, source.topics, transaction.declare),
      guarantee: transaction.guarantee,
      everyMs: transaction.every,
    }
  }
}

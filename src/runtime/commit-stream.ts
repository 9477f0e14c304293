import { Observable } from 'rxjs'
import { MillraceError } from '../record/error.js'
import type { Commit } from './commit.js'
import type { PipelineHost, PipelineSpec } from './host.js'
import { Pipeline } from './pipeline.js'
import { planOf, type Plan } from './plan.js'
import type { SourceSettings } from './settings.js'

/** The observable of commits that `withTransaction` makes; knows its pipeline's plan. */
export class CommitStream extends Observable<Commit> {
  /** Those of its subscriptions that run. */
  private readonly running = new Set<Pipeline>()

  constructor(
    private readonly spec: PipelineSpec,
    source: { readonly settings: SourceSettings; readonly host: PipelineHost },
  ) {
    super((subscriber) => {
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

import type { Observable } from 'rxjs'
import type { LogClient } from '../log/port.js'
import type { Clock } from '../record/clock.js'
import type { Commit } from '../runtime/commit.js'
import { memberContext, type MemberContext } from './member-context.js'
import { forgetRealTimers, waitsForRealTime } from './real-timers.js'

/** A pipeline run by a test kit: one member of its group. */
export interface RunningPipeline {
  /** What it has committed so far. */
  readonly commits: readonly Commit[]
  /** True once its observable has completed or failed. */
  readonly ended: boolean
  /**
   * Stops it in order, as the source's signal does: the open transaction commits, the group is left. The time moves on only as far as that
   * takes.
   * @throws what the pipeline failed with
   */
  stop(): Promise<void>
  /**
   * Breaks its connections, as the end of its process would: what it has sent stays in the broker, a transaction stays open until its
   * timeout, and the group misses the member only when its session ends. Nothing it does afterwards reaches the broker, and its errors
   * are nobody's any more.
   */
  crash(): Promise<void>
}

/** One pipeline under way, as the kit sees it. */
export class PipelineRun {
  readonly commits: Commit[] = []
  ended = false
  private crashed = false
  private readonly stopping = new AbortController()
  private readonly clients = new Set<LogClient>()
  private readonly context: MemberContext

  constructor(clock: Clock, pipeline: Observable<Commit>, onError: (error: unknown) => void) {
    this.context = { clock, signal: this.stopping.signal, clients: this.clients }
    memberContext.run(this.context, () => {
      pipeline.subscribe({
        next: (commit) => {
          this.commits.push(commit)
          forgetRealTimers(this.context)
        },
        error: (error: unknown) => {
          this.ended = true
          if (!this.crashed) onError(error)
        },
        complete: () => {
          this.ended = true
        },
      })
    })
  }

  /** The line of its code that waits for the system's time, which the kit does not move. */
  get waitsForRealTime(): string | undefined {
    return this.ended ? undefined : waitsForRealTime(this.context)
  }

  askToStop(): void {
    this.stopping.abort()
  }

  async crash(): Promise<void> {
    this.crashed = true
    await Promise.all([...this.clients].map((client) => client.close()))
    this.stopping.abort()
  }
}

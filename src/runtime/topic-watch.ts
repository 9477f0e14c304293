import { logError, reactionTo } from '../log/error.js'
import type { LogAdmin, TopicInfo } from '../log/port.js'
import type { Clock } from '../record/clock.js'
import { MillraceError, errorMessage } from '../record/error.js'
import type { Logger } from '../record/logger.js'
import { checkAgain, type PlanTopics } from './plan-check.js'

/** How often to look whether partitions were added. */
const LOOK_MS = 60_000
/** Topics that are missing or do not go with each other for so long are not about to. */
const PATIENCE_MS = 60_000

export interface TopicWatchOptions {
  readonly plan: PlanTopics
  readonly log: LogAdmin
  readonly clock: Clock
  readonly logger: Logger
  /** Told what the topics written to are like now. */
  readonly onOutputs: (infos: readonly TopicInfo[]) => void
  /** Called when a look found that the assignment is to be given back. */
  readonly onNews: () => void
}

/** Looks at the topics of a running pipeline again: partitions are added, topics deleted, while it is busy as while it is idle. */
export class TopicWatch {
  /** When to look next; infinity while it does. */
  private dueAt: number
  /** Whether there are more or fewer tasks than when they were last counted, or the topics do not go with the pipeline any more. */
  news = false
  private failure: { readonly error: unknown } | undefined
  private tasks: number | undefined
  private wrongSince: number | undefined

  constructor(private readonly options: TopicWatchOptions) {
    this.dueAt = options.clock.monotonic() + LOOK_MS
  }

  /** How long to wait at most before it is looked again. */
  get waitMs(): number {
    return Math.max(0, Math.min(LOOK_MS, this.dueAt - this.options.clock.monotonic()))
  }

  /**
   * Asks the log how many tasks there are.
   * @throws MillraceError MISSING_TOPIC, PARTITION_MISMATCH, STATE_MISMATCH; LogError 'retry' while that may pass
   */
  async count(): Promise<number> {
    this.dueAt = Number.POSITIVE_INFINITY
    const { plan, log, clock, onOutputs } = this.options
    try {
      const { tasks, outputInfos, changelogInfos } = await checkAgain(plan, log)
      onOutputs([...outputInfos, ...changelogInfos])
      this.wrongSince = undefined
      this.tasks = tasks
      this.news = false
      return tasks
    } catch (error) {
      throw this.judged(error)
    } finally {
      this.dueAt = clock.monotonic() + LOOK_MS
    }
  }

  /** Looks in the background, if it is time to; `news` tells what came of it. */
  lookIfDue(): void {
    const { clock, logger, onNews } = this.options
    if (clock.monotonic() < this.dueAt) return
    const before = this.tasks
    this.count().then(
      (tasks) => {
        if (tasks === before) return
        logger.info({ before, tasks }, 'the partition count of the inputs changed: the group divides its tasks anew')
        this.news = true
        onNews()
      },
      (error: unknown) => {
        if (reactionTo(error) !== 'fatal') return logger.warn({ error: errorMessage(error) }, 'looking at the topics again failed')
        this.failure = { error }
        this.news = true
        onNews()
      },
    )
  }

  /** @throws what the last look failed with for good */
  raise(): void {
    if (this.failure !== undefined) throw this.failure.error
  }

  /** What is wrong with the inputs may be the middle of a change: partitions are added to one topic after the other. */
  private judged(error: unknown): unknown {
    const passes =
      error instanceof MillraceError && reactionTo(error) === 'retry' && ['MISSING_TOPIC', 'PARTITION_MISMATCH'].includes(error.code)
    if (!passes) return error
    const now = this.options.clock.monotonic()
    this.wrongSince ??= now
    return now - this.wrongSince < PATIENCE_MS ? error : logError(error.code, 'fatal', error.message)
  }
}

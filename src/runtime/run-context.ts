import { reactionTo } from '../log/error.js'
import type { GroupMember, LogClient, LogProducer, LogReader } from '../log/port.js'
import { sleep, type Clock } from '../record/clock.js'
import { MillraceError, errorMessage } from '../record/error.js'
import type { Logger } from '../record/logger.js'
import type { CommitFate } from './commit-fate.js'
import type { Membership } from './group/membership.js'
import type { PipelineSpec } from './host.js'
import type { Outputs } from './outputs.js'
import { taskCount, type CheckedPlan } from './plan.js'
import type { RoundEnvironment } from './round.js'
import type { Task } from './task.js'
import type { Wakeup } from './wakeup.js'

export interface RunParts {
  readonly spec: PipelineSpec
  readonly plan: CheckedPlan
  readonly log: LogClient
  readonly reader: LogReader
  readonly producer: LogProducer
  readonly outputs: Outputs
  readonly membership: Membership
  readonly clock: Clock
  readonly logger: Logger
  readonly wakeup: Wakeup
  readonly stopping: AbortSignal
}

/** The first of a growing row of pauses between attempts, in milliseconds. */
export const RETRY_MS = 200
export const MAX_RETRY_MS = 5_000

/** What the parts of a running pipeline share: what it works with, and what it has of the group right now. */
export class RunContext {
  /** Those of the assignment that is worked on. */
  tasks: Task[] = []
  /** The member and generation that the tasks are held in. Set before there are any. */
  member!: GroupMember
  /** Number of tasks of the pipeline, over all members, as of the last join. */
  taskCount: number
  /** Set where the state in memory may not be what is in the log: it is read again, in the same assignment. */
  stale = false
  private readonly shared = new Map<string, unknown>()
  private assigning = false

  constructor(readonly parts: RunParts) {
    this.taskCount = parts.plan.tasks
  }

  /** What the group, or a stop, asks of the open transaction. */
  demand(): 'none' | 'drain' | 'drop' {
    const { membership, stopping } = this.parts
    const { state } = membership
    if (state === 'lost' || state === 'fatal') return 'drop'
    return state === 'rebalancing' || stopping.aborted ? 'drain' : 'none'
  }

  /** Does something against the log again and again, as long as the assignment holds; in a stop just once, so that it knows what became of its last commit. */
  async whileHeld<T>(action: () => Promise<T>): Promise<T | undefined> {
    const { clock, logger, stopping } = this.parts
    for (let delay = RETRY_MS; this.demand() !== 'drop'; delay = Math.min(MAX_RETRY_MS, delay * 2)) {
      try {
        return await action()
      } catch (error) {
        if (reactionTo(error) === 'fatal') throw error
        if (stopping.aborted) return undefined
        logger.debug({ error: errorMessage(error) }, 'trying again')
        await sleep(clock, delay, stopping)
      }
    }
    return undefined
  }

  /** Tells the reader where the tasks go on. */
  assignReader(): void {
    this.parts.reader.assign(this.tasks.flatMap((task) => task.fetchPositions()))
  }

  /** The same, once for all tasks that change their positions in one turn. */
  assignReaderSoon(): void {
    if (this.assigning) return
    this.assigning = true
    queueMicrotask(() => {
      this.assigning = false
      this.assignReader()
    })
  }

  /** Asks the log how many tasks there are now. @throws MillraceError MISSING_TOPIC, PARTITION_MISMATCH */
  async countTasks(): Promise<number> {
    const { topics } = this.parts.spec.source
    const infos = await this.parts.log.topics(topics)
    const missing = topics.filter((topic) => !infos.has(topic))
    if (missing.length > 0)
      throw new MillraceError('MISSING_TOPIC', `input topics were deleted while they were read: ${missing.join(', ')}`)
    return taskCount(topics, infos)
  }

  /** What a round works with; `before` where the commit before it is under way. */
  roundEnvironment(before?: CommitFate): RoundEnvironment {
    const { spec, outputs, producer, clock, logger, wakeup, log } = this.parts
    const { source, transaction, project } = spec
    return {
      group: source.group,
      taskCount: this.taskCount,
      inputs: source.topics,
      project,
      outputs,
      producer,
      clock,
      logger,
      shared: this.shared,
      standing: {
        generation: this.member.generation,
        get producerId() {
          return producer.id
        },
        held: this.tasks.map(({ partition }) => partition),
        committedOffsets: (group, partitions) => log.committedOffsets(group, partitions),
      },
      wakeup,
      streamBytes: transaction.streamBytes,
      stallAfterMs: transaction.stallAfter,
      drainMs: transaction.drainWithin,
      demand: () => this.demand(),
      before,
    }
  }
}

import type { LogProducer } from '../log/port.js'
import type { Clock } from '../record/clock.js'
import type { Durations } from '../record/durations.js'
import type { Logger } from '../record/logger.js'
import type { CommitFate } from './commit-fate.js'
import type { Standing } from './context.js'
import type { PipelineEffects } from './effects.js'
import type { Outputs } from './outputs.js'
import type { Project } from './slice.js'
import type { StepProfile } from './status/step-profile.js'
import type { TimeLedger } from './status/time-ledger.js'
import type { PipelineTraces } from './tracing/traces.js'
import type { Wakeup } from './wakeup.js'

/** What a round finds around it. */
export interface RoundEnvironment {
  readonly group: string
  /** Number of tasks of the pipeline, over all members. */
  readonly taskCount: number
  readonly inputs: readonly string[]
  readonly project: Project
  readonly outputs: Outputs
  readonly producer: LogProducer
  readonly clock: Clock
  readonly logger: Logger
  /** What operators keep from round to round. */
  readonly shared: Map<string, unknown>
  readonly standing: Standing
  readonly effects: Pick<PipelineEffects, 'get'>
  readonly wakeup: Wakeup
  readonly streamBytes: number
  readonly stallAfterMs: number
  readonly drainMs: number
  /** 'drain': take nothing more, finish within `drainMs`. 'drop': stop at once, the assignment is gone. */
  readonly demand: () => 'none' | 'drain' | 'drop'
  /**
   * The commit of the transaction before, where it is still under way: nothing is sent until it is done, and if it fails this round is
   * over.
   */
  readonly before: CommitFate | undefined
  /** State is kept: what is written of it goes by how the commit before ended. */
  readonly keeps: boolean
  readonly time: TimeLedger
  readonly profile: StepProfile
  /** Set where tracing is on. */
  readonly traces?: PipelineTraces | undefined
  /** Set where somebody is to be told. */
  readonly durations?: Durations | undefined
}

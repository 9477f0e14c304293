import type { Clock } from '../record/clock.js'
import type { Logger } from '../record/logger.js'
import type { Alarms } from './alarms.js'
import type { Meter, Participant, Standing } from './context.js'
import type { PipelineEffects, TopicProgress } from './effects.js'
import type { Outputs } from './outputs.js'
import type { StepProfile } from './status/step-profile.js'
import type { TaskState } from './task-state.js'
import type { RoundTraces } from './tracing/traces.js'

/** What a slice finds around it: the task, the transaction, the pipeline. */
export interface SliceEnvironment {
  readonly group: string
  readonly tasks: number
  readonly state: TaskState
  readonly alarms: Alarms
  readonly outputs: Outputs
  readonly meters: Map<string, Meter>
  readonly shared: Map<string, unknown>
  readonly behind: () => boolean
  readonly standing: Standing
  readonly join: (participant: Participant) => void
  readonly effects: Pick<PipelineEffects, 'get'>
  readonly progress: () => readonly TopicProgress[]
  readonly clock: Clock
  readonly logger: Logger
  /** Has the steps of some slices timed. */
  readonly profile?: StepProfile
  readonly traces?: RoundTraces | undefined
  /** Called once, when the slice is done or has failed. */
  readonly onEnd: () => void
}

import type { LogClient, TraceEvent } from '../log/port.js'
import type { Clock } from '../record/clock.js'
import type { Logger } from '../record/logger.js'
import type { SourceSettings, TransactionSettings } from './settings.js'
import type { Project } from './slice.js'
import type { PipelineStatus } from './status/status.js'
import type { Telemetry } from './telemetry.js'

/** Where a pipeline lives. */
export interface PipelineHost {
  /** With a logger of whoever uses it, which is told in place of the cluster's. */
  readonly openLog: (logger?: Logger) => Promise<LogClient>
  readonly clock: Clock
  readonly logger: Logger
  readonly trace: ((event: TraceEvent) => void) | undefined
  /** Where it tells what it measures, and follows records. */
  readonly telemetry?: Telemetry | undefined
  /** Whether one whose place another process takes by its instance id ends at once. Default: not if that one turns out to be dead. */
  readonly yieldsAtOnce?: boolean
  /** Told of every run, so that closing the cluster can wait for it. Never rejects. */
  readonly onRun: (ended: Promise<void>) => void
  /** Told of every pipeline that is subscribed. */
  readonly onPipeline: (pipeline: PipelineHandle) => void
}

/** A pipeline that was subscribed, for those who look on and give orders. Orders answer whether there was something to do. */
export interface PipelineHandle {
  status(): PipelineStatus
  stop(): void
  pause(partition: number): boolean
  resume(partition: number): boolean
  closeBreaker(step: string): boolean
}

export interface PipelineSpec {
  readonly source: SourceSettings
  readonly transaction: TransactionSettings
  readonly project: Project
}

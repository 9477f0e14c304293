import type { PipelineStatus } from '../../runtime/status/status.js'
import type { Bound, Finding } from './finding.js'
import { findingsOf } from './findings.js'
import { measuresOf } from './measures.js'

export interface Analysis {
  readonly group: string
  /** Of the first finding. */
  readonly bound: Bound
  readonly keepsUp: boolean
  /** What it was observed for. */
  readonly observedMs: number
  readonly members: number
  readonly recordsPerSecond: number
  /** Records it was behind at the beginning and at the end. */
  readonly lag: { readonly before: number; readonly after: number }
  /** The first is what bounds it; the others take a notable part of the time as well. */
  readonly findings: readonly [Finding, ...Finding[]]
}

/**
 * The same as `analyze`, of statuses that were taken before: of each member of one group, in the order of time. What happened between the
 * first and the last is looked at, so two of each are needed at least.
 */
export function analysisOf(members: readonly (readonly PipelineStatus[])[]): Analysis {
  const measures = measuresOf(members.filter((samples) => samples.length > 0))
  const findings = findingsOf(measures)
  const { group, keepsUp, observedMs, recordsPerSecond, lag } = measures
  return { group, bound: findings[0].bound, keepsUp, observedMs, members: measures.members.length, recordsPerSecond, lag, findings }
}

import { measuresOfMember, perSecond, type MemberMeasures } from '../../runtime/status/measures.js'
import type { PipelineStatus } from '../../runtime/status/status.js'

export interface Measures {
  readonly group: string
  readonly members: readonly MemberMeasures[]
  /** Those that do not keep up; all, where all do. */
  readonly slow: readonly MemberMeasures[]
  readonly keepsUp: boolean
  readonly observedMs: number
  readonly recordsPerSecond: number
  readonly lag: { readonly before: number; readonly after: number }
  /** Tasks of the group, over all its members. */
  readonly taskCount: number
}

export function measuresOf(samples: readonly (readonly PipelineStatus[])[]): Measures {
  const members = samples.map(measuresOfMember)
  const behind = members.filter(({ keepsUp }) => !keepsUp)
  const first = samples[0]?.[0]
  const lagAt = (of: (statuses: readonly PipelineStatus[]) => PipelineStatus | undefined): number =>
    samples.reduce((sum, statuses) => sum + (of(statuses)?.lag.records ?? 0), 0)
  return {
    group: first?.group ?? '',
    members,
    slow: behind.length > 0 ? behind : members,
    keepsUp: behind.length === 0,
    observedMs: Math.max(0, ...members.map(({ elapsedMs }) => elapsedMs)),
    recordsPerSecond: members.reduce((sum, { records, elapsedMs }) => sum + perSecond(records, elapsedMs), 0),
    lag: { before: lagAt((statuses) => statuses[0]), after: lagAt((statuses) => statuses.at(-1)) },
    taskCount: Math.max(0, ...members.map(({ last }) => last.taskCount)),
  }
}

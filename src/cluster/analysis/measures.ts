import type { CallStatus, Phase, PipelineStatus, StepStatus } from '../../runtime/status/status.js'

/** What is done within so many seconds is no lag to speak of: transactions are open that long. */
const KEEPS_UP_S = 2

/** What one member did between its first status and its last. */
export interface MemberMeasures {
  readonly last: PipelineStatus
  readonly elapsedMs: number
  readonly phases: Readonly<Record<Phase, number>>
  readonly alone: { readonly ms: number; readonly partition: number | undefined }
  readonly records: number
  readonly outputs: number
  readonly commits: number
  readonly aborted: number
  readonly commitMs: number
  readonly rebalances: number
  readonly gcShare: number
  readonly busyShare: number
  readonly heapShare: number
  readonly steps: readonly StepStatus[]
  readonly calls: readonly CallStatus[]
  /** Steps seen to hold the transaction, and how often, most often first. */
  readonly heldBy: readonly string[]
  readonly keepsUp: boolean
}

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
  const members = samples.map(memberOf)
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

function memberOf(samples: readonly PipelineStatus[]): MemberMeasures {
  const first = samples[0] as PipelineStatus
  const last = samples.at(-1) as PipelineStatus
  const phases = Object.fromEntries(
    (Object.keys(last.time.phases) as Phase[]).map((phase) => [phase, last.time.phases[phase] - first.time.phases[phase]]),
  ) as Record<Phase, number>
  const elapsedMs = sumOf(Object.values(phases))
  const records = last.totals.records - first.totals.records
  // Of a clock that tests move the process knows nothing.
  const upMs = Math.max(elapsedMs, last.process.upMs - first.process.upMs)
  const { heapLiveBytes, heapLimitBytes } = last.process
  const held = new Map<string, number>()
  for (const step of samples.flatMap(({ transaction }) => transaction?.heldBy ?? [])) held.set(step, (held.get(step) ?? 0) + 1)
  return {
    last,
    elapsedMs,
    phases,
    alone: { ms: last.time.alone.ms - first.time.alone.ms, partition: last.time.alone.partition },
    records,
    outputs: last.totals.outputs - first.totals.outputs,
    commits: last.commits.committed - first.commits.committed,
    aborted: last.commits.aborted - first.commits.aborted,
    commitMs: last.commits.commit.sumMs - first.commits.commit.sumMs,
    rebalances: last.rebalances.count - first.rebalances.count,
    gcShare: upMs > 0 ? (last.process.gcMs - first.process.gcMs) / upMs : 0,
    busyShare: upMs > 0 ? (last.process.busyMs - first.process.busyMs) / upMs : 0,
    heapShare: heapLimitBytes > 0 ? heapLiveBytes / heapLimitBytes : 0,
    steps: last.time.steps.map((step) => {
      const before = first.time.steps.find((earlier) => earlier.step === step.step)
      const { items = 0, busyMs = 0, heldMs = 0 } = before ?? {}
      return { ...step, items: step.items - items, busyMs: step.busyMs - busyMs, heldMs: step.heldMs - heldMs }
    }),
    calls: last.time.calls.map((calls) => {
      const before = first.time.calls.find((earlier) => earlier.step === calls.step)
      const { made = 0, timed = 0, timedMs = 0 } = before ?? {}
      return { ...calls, made: calls.made - made, timed: calls.timed - timed, timedMs: calls.timedMs - timedMs }
    }),
    heldBy: [...held].sort((a, b) => b[1] - a[1]).map(([step]) => step),
    keepsUp: isKeepingUp(last, perSecond(records, elapsedMs)),
  }
}

/** Its lag is what is under way anyway. */
function isKeepingUp({ lag, state, tasks }: PipelineStatus, rate: number): boolean {
  if (state === 'failed' || state === 'starting' || state === 'joining' || tasks.some((task) => task.state === 'restoring')) return false
  return lag.records <= Math.max(KEEPS_UP_S * rate, tasks.length)
}

export function perSecond(count: number, ms: number): number {
  return ms > 0 ? (count * 1_000) / ms : 0
}

export function sumOf(numbers: readonly number[]): number {
  return numbers.reduce((sum, n) => sum + n, 0)
}

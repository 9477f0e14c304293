import type { CallStatus, Phase, PipelineStatus, StepStatus } from './status.js'

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
  /** Of what the process may have of the machine's memory; 0 where nothing limits it. */
  readonly residentShare: number
  readonly steps: readonly StepStatus[]
  readonly calls: readonly CallStatus[]
  /** Steps seen to hold the transaction, and how often, most often first. */
  readonly heldBy: readonly string[]
  readonly keepsUp: boolean
}

/** `samples`: its statuses, in the order of time. */
export function measuresOfMember(samples: readonly PipelineStatus[]): MemberMeasures {
  const first = samples[0] as PipelineStatus
  const last = samples.at(-1) as PipelineStatus
  const phases = Object.fromEntries(
    (Object.keys(last.time.phases) as Phase[]).map((phase) => [phase, last.time.phases[phase] - first.time.phases[phase]]),
  ) as Record<Phase, number>
  const elapsedMs = sumOf(Object.values(phases))
  const records = last.totals.records - first.totals.records
  // Of a clock that tests move the process knows nothing.
  const upMs = Math.max(elapsedMs, last.process.upMs - first.process.upMs)
  const { heapLiveBytes, heapLimitBytes, residentBytes, residentLimitBytes } = last.process
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
    aborted: last.commits.aborted + last.commits.unknown - first.commits.aborted - first.commits.unknown,
    commitMs: last.commits.commit.sumMs - first.commits.commit.sumMs,
    rebalances: last.rebalances.count - first.rebalances.count,
    gcShare: upMs > 0 ? (last.process.gcMs - first.process.gcMs) / upMs : 0,
    busyShare: upMs > 0 ? (last.process.busyMs - first.process.busyMs) / upMs : 0,
    heapShare: heapLimitBytes > 0 ? heapLiveBytes / heapLimitBytes : 0,
    residentShare: residentLimitBytes > 0 ? residentBytes / residentLimitBytes : 0,
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

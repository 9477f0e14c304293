import type { Clock } from '../../record/clock.js'
import type { Logger } from '../../record/logger.js'
import type { RoundTook } from '../record-limit.js'
import type { SourceSettings, TransactionSettings } from '../settings.js'
import { measuresOfMember, perSecond } from '../status/measures.js'
import type { LimitsStatus, PipelineStatus } from '../status/status.js'
import type { TuneSettings } from './options.js'
import { NOTHING_SEEN, decide, type Change, type Knob, type Setting, type TuneSample, type Why } from './policy.js'

/** The limits in force: whoever goes by them asks each time. */
export type Limits = { -readonly [name in keyof LimitsStatus]: LimitsStatus[name] }

/** As they are set. */
export function limitsOf({ prefetchBytes }: SourceSettings, { maxRecords, maxBytes }: TransactionSettings): Limits {
  return { prefetchBytes, maxRecords, maxBytes }
}

export interface TunedRun {
  status(): PipelineStatus
  adaptCalls(step: string, concurrency: number): void
}

/** Of fewer transactions the rate is chance. */
const LEAST_ROUNDS = 3
const LONGEST_LOOK = 6

const WHY: Record<Why, string> = {
  memory: 'memory is short',
  calls: 'records wait, and calls are waited for',
  records: 'records wait, and transactions are full of them before their time',
  bytes: 'records wait, and transactions are full of bytes before their time',
  fetch: 'records wait in the log, and what is fetched is waited for',
  slower: 'calls take longer than they did',
  'no gain': 'it did no good',
}

interface Range {
  readonly min: number
  readonly max: number
}

/** Looks every so often at what a pipeline does, and changes its limits by `decide`: between transactions, never in one. */
export class Tuner {
  private state = NOTHING_SEEN
  private before: PipelineStatus | undefined
  private beganAt = 0
  private rounds = { all: 0, fullOfRecords: 0, fullOfBytes: 0 }
  private readonly ranges: Readonly<Record<keyof LimitsStatus, Range>>
  /** What each step was given. */
  private readonly given = new Map<string, number>()

  constructor(
    private readonly settings: TuneSettings,
    readonly limits: Limits,
    private readonly run: TunedRun,
    private readonly clock: Clock,
    private readonly logger: Logger,
  ) {
    this.ranges = {
      prefetchBytes: rangeOf(limits.prefetchBytes, settings.prefetchBytes, 1 / 4, 4),
      maxRecords: rangeOf(limits.maxRecords, settings.maxRecords, 1, 4),
      maxBytes: rangeOf(limits.maxBytes, settings.maxBytes, 1 / 4, 2),
    }
  }

  /** An assignment begins: what was measured is that of other tasks. */
  begin(): void {
    this.before = undefined
    this.state = { ...this.state, trial: undefined }
  }

  /** A transaction is about to be committed. `everyMs`: how long it may take records in. */
  done({ records, bytes, startedAt, endedAt }: RoundTook & { readonly bytes: number }, everyMs: number): void {
    const { rounds, limits } = this
    rounds.all++
    if (endedAt - (startedAt ?? endedAt) > everyMs) return
    if (records >= limits.maxRecords) rounds.fullOfRecords++
    else if (bytes >= limits.maxBytes) rounds.fullOfBytes++
  }

  /** To be called between transactions. */
  lookIfDue(): void {
    const now = this.clock.monotonic()
    const passed = now - this.beganAt
    const { every } = this.settings
    if (this.before !== undefined && (passed < every || (this.rounds.all < LEAST_ROUNDS && passed < LONGEST_LOOK * every))) return
    const status = this.run.status()
    if (this.before !== undefined) this.decide(this.before, status)
    this.before = status
    this.beganAt = now
    this.rounds = { all: 0, fullOfRecords: 0, fullOfBytes: 0 }
  }

  private decide(before: PipelineStatus, status: PipelineStatus): void {
    const { state, change } = decide(this.state, this.sampleOf(before, status), this.knobs(status))
    this.state = state
    if (change !== undefined) this.apply(change)
  }

  private apply({ setting, step, from, to, why }: Change): void {
    if (setting !== 'concurrency') this.limits[setting] = to
    else if (step !== undefined) this.run.adaptCalls(step, to)
    const text = `autoTune ${to > from ? 'raised' : 'lowered'} ${setting}: ${WHY[why]}`
    this.logger.info({ name: setting, ...(step === undefined ? {} : { step }), from, to }, text)
  }

  private sampleOf(before: PipelineStatus, status: PipelineStatus): TuneSample {
    const { elapsedMs, phases, records, keepsUp, heapShare, residentShare, gcShare, calls, last } = measuresOfMember([before, status])
    const { all, fullOfRecords, fullOfBytes } = this.rounds
    const share = (part: number, whole: number): number => (whole > 0 ? part / whole : 0)
    return {
      recordsPerSecond: perSecond(records, elapsedMs),
      keepsUp,
      calling: share(phases.calling, elapsedMs),
      waiting: share(phases.waiting, elapsedMs),
      fullOfRecords: share(fullOfRecords, all),
      fullOfBytes: share(fullOfBytes, all),
      memory: Math.max(heapShare, residentShare),
      collecting: gcShare,
      calls: calls.flatMap(({ step, made, timed, timedMs }) => {
        const meanMs = share(timedMs, timed)
        return timed > 0 ? [{ step, meanMs, allMs: meanMs * made }] : []
      }),
      broken: last.breakers.some(({ state }) => state !== 'closed'),
    }
  }

  private knobs({ time: { calls } }: PipelineStatus): readonly Knob[] {
    const { limits, ranges, given, settings } = this
    const of = (setting: keyof LimitsStatus): Knob => ({ setting, step: undefined, value: limits[setting], ...ranges[setting] })
    return [
      ...(['prefetchBytes', 'maxBytes', 'maxRecords'] as const).map(of),
      ...calls.flatMap(({ step, concurrency }) => {
        const own = given.get(step) ?? concurrency
        given.set(step, own)
        const setting: Setting = 'concurrency'
        // One at a time is how a step is told to keep all in order.
        return own === 1 ? [] : [{ setting, step, value: concurrency, ...rangeOf(own, settings.concurrency, 1 / 4, 4, 2) }]
      }),
    ]
  }
}

/** What was set is allowed in any case. */
function rangeOf(own: number, { min, max }: TuneSettings['concurrency'], least: number, most: number, floor = 1): Range {
  return {
    min: Math.min(own, Math.max(floor, min ?? Math.ceil(own * least))),
    max: Math.max(own, max ?? own * most),
  }
}

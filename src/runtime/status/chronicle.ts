import { MillraceError } from '../../record/error.js'
import type { Clock } from '../../record/clock.js'
import type { Logger } from '../../record/logger.js'
import { WaitBoard } from '../../record/wait-report.js'
import type { Commit } from '../commit.js'
import { DurationHistogram } from './histogram.js'
import { Rate } from './rate.js'
import { StepProfile } from './step-profile.js'
import { TimeLedger } from './time-ledger.js'
import {
  hasEnded,
  type CommitsStatus,
  type ErrorStatus,
  type EventStatus,
  type PipelineState,
  type PipelineStatus,
  type RebalancesStatus,
} from './status.js'

const MOST_EVENTS = 100
const RECENT_MS = 10 * 60_000
/** Fields of log lines whose texts are names that the program gave, never taken from records. */
const NAMES = new Set(['topic', 'group', 'step', 'code', 'reaction', 'memberId', 'onOutOfRange', 'operator', 'store', 'name', 'policy'])

/** What cannot be read off the engine when asked, since it has passed: a few numbers for each commit, rebalance, error and line of log. */
export class Chronicle {
  state: PipelineState = 'starting'
  private stateSince: number
  /** The pipeline's logger, which is listened to. */
  readonly logger: Logger
  readonly waits = new WaitBoard()
  /** What the loop is at. */
  readonly time: TimeLedger
  readonly profile: StepProfile
  lastError: ErrorStatus | undefined
  readonly undone = { aborted: 0, unknown: 0 }
  private readonly events: EventStatus[] = []
  private readonly logged = { warnings: 0, errors: 0 }
  private readonly totals = { records: 0, processed: 0, filtered: 0, duplicate: 0, late: 0, failed: 0, outputs: 0 }
  private readonly written = new Map<string, number>()
  private readonly meters = new Map<string, number>()
  private readonly rates: { readonly records: Rate; readonly outputs: Rate; readonly commits: Rate }
  private readonly duration = new DurationHistogram()
  private readonly commit = new DurationHistogram()
  private last: CommitsStatus['last']
  private rebalancingSince: number | undefined
  private readonly rebalance = new DurationHistogram()
  private rebalances: { readonly at: number; readonly by: number }[] = []

  constructor(
    private readonly clock: Clock,
    logger: Logger,
    sampleSteps?: number,
  ) {
    const now = clock.monotonic()
    this.stateSince = now
    this.time = new TimeLedger(clock)
    this.profile = new StepProfile(clock, sampleSteps)
    this.rates = { records: new Rate(now), outputs: new Rate(now), commits: new Rate(now) }
    this.logger = this.listening(logger)
    WaitBoard.attach(this.logger, this.waits)
  }

  enter(state: PipelineState): void {
    if (state === this.state) return
    this.state = state
    if (hasEnded(this)) this.time.end()
    this.stateSince = this.clock.monotonic()
  }

  get stateMs(): number {
    return this.clock.monotonic() - this.stateSince
  }

  /** The member learned that the group divides its tasks anew. */
  rebalancing(): void {
    this.rebalancingSince ??= this.clock.monotonic()
  }

  assigned(): void {
    const now = this.clock.monotonic()
    this.rebalance.add(now - (this.rebalancingSince ?? now))
    this.rebalancingSince = undefined
    this.rebalances.push({ at: this.clock.now(), by: now })
    if (this.rebalances.length > MOST_EVENTS) this.rebalances.shift()
  }

  /** `written`: records of the transaction by topic. */
  committed(commit: Commit, written: Iterable<readonly [topic: string, records: number]>): void {
    const now = this.clock.monotonic()
    const { totals, rates } = this
    for (const name of Object.keys(totals) as (keyof typeof totals)[]) totals[name] += commit[name]
    for (const [topic, records] of written) this.written.set(topic, (this.written.get(topic) ?? 0) + records)
    for (const [name, count] of Object.entries(commit.meters)) {
      const before = this.meters.get(name) ?? 0
      this.meters.set(name, /\.max[^.]*$/.test(name) ? Math.max(before, count) : before + count)
    }
    rates.records.add(commit.records, now)
    rates.outputs.add(commit.outputs, now)
    rates.commits.add(1, now)
    const { records, outputs, durationMs, commitMs } = commit
    this.duration.add(durationMs)
    this.commit.add(commitMs)
    this.last = { at: this.clock.now(), records, outputs, durationMs, commitMs }
  }

  failed(where: ErrorStatus['where'], error: unknown): void {
    this.lastError = this.described(where, error)
  }

  /** What may be told of an error: texts only where they are the log's. */
  described(where: ErrorStatus['where'], error: unknown): ErrorStatus {
    const code = error instanceof MillraceError ? error.code : undefined
    return {
      at: this.clock.now(),
      where,
      name: error instanceof Error ? error.name : typeof error,
      code,
      message: WaitBoard.sayable(error),
    }
  }

  told(): Pick<
    PipelineStatus,
    'totals' | 'written' | 'meters' | 'rates' | 'logged' | 'events' | 'waits' | 'lastError' | 'commits' | 'time'
  > & {
    readonly rebalances: RebalancesStatus
  } {
    const { rates, rebalances, waits, lastError, undone, last } = this
    const now = this.clock.monotonic()
    return {
      totals: { ...this.totals },
      written: Object.fromEntries(this.written),
      meters: Object.fromEntries(this.meters),
      rates: { records: rates.records.at(now), outputs: rates.outputs.at(now), commits: rates.commits.at(now) },
      logged: { ...this.logged },
      events: [...this.events],
      waits: waits.list(),
      lastError,
      time: { ...this.time.told(), ...this.profile.told(), calls: [] },
      commits: {
        committed: this.commit.result().count,
        ...undone,
        duration: this.duration.result(),
        commit: this.commit.result(),
        last,
      },
      rebalances: {
        count: this.rebalance.result().count,
        duration: this.rebalance.result(),
        lastAt: rebalances.at(-1)?.at,
        recent: rebalances.filter(({ by }) => now - by < RECENT_MS).length,
      },
    }
  }

  private listening(logger: Logger): Logger {
    return {
      debug: (fields, message) => logger.debug(fields, message),
      info: (fields, message) => {
        this.heard('info', fields, message)
        logger.info(fields, message)
      },
      warn: (fields, message) => {
        this.logged.warnings++
        this.heard('warn', fields, message)
        logger.warn(fields, message)
      },
      error: (fields, message) => {
        this.logged.errors++
        this.heard('error', fields, message)
        logger.error(fields, message)
      },
    }
  }

  private heard(level: EventStatus['level'], fields: object, message: string): void {
    const kept: Record<string, number | string | boolean | readonly number[]> = {}
    for (const [name, value] of Object.entries(fields) as [string, unknown][]) {
      if (typeof value === 'number' || typeof value === 'boolean') kept[name] = value
      else if (typeof value === 'string' && NAMES.has(name)) kept[name] = value
      else if (Array.isArray(value) && value.every((item) => typeof item === 'number')) kept[name] = value as number[]
    }
    this.events.push({ at: this.clock.now(), level, message, fields: kept })
    if (this.events.length > MOST_EVENTS) this.events.shift()
  }
}

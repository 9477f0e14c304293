import type { Clock } from '../../record/clock.js'
import type { Phase, TimeStatus } from './status.js'

const NONE: Record<Phase, number> = {
  starting: 0,
  rebalancing: 0,
  restoring: 0,
  waiting: 0,
  working: 0,
  finishing: 0,
  calling: 0,
  sinking: 0,
  sending: 0,
  committing: 0,
  recovering: 0,
}

/** Where the time of a pipeline goes: a look at the clock whenever its loop turns to something else, never for a record. */
export class TimeLedger {
  private readonly spent = { ...NONE }
  private phase: Phase | undefined = 'starting'
  private since: number
  private readonly alone = new Map<number, number>()

  constructor(private readonly clock: Clock) {
    this.since = clock.monotonic()
  }

  enter(phase: Phase): void {
    if (phase === this.phase) return
    this.turn()
    this.phase = phase
  }

  /** Only a commit is waited for, as far as it is. */
  enterCommit(stage: 'sinking' | 'sending' | 'committing'): void {
    if (this.phase === 'sinking' || this.phase === 'sending' || this.phase === 'committing') this.enter(stage)
  }

  /** For so long the slice of one task was waited for, and those of all others were done. */
  waitedFor(partition: number, ms: number): void {
    this.alone.set(partition, (this.alone.get(partition) ?? 0) + ms)
  }

  /** Nothing is counted any more. */
  end(): void {
    this.turn()
    this.phase = undefined
  }

  /** Milliseconds in which records were worked on, so far. */
  get processingMs(): number {
    this.turn()
    const { working, finishing, calling } = this.spent
    return working + finishing + calling
  }

  told(): Pick<TimeStatus, 'phases' | 'alone'> {
    this.turn()
    const partitions = [...this.alone].sort((a, b) => b[1] - a[1])
    return {
      phases: { ...this.spent },
      alone: { ms: partitions.reduce((sum, [, ms]) => sum + ms, 0), partition: partitions[0]?.[0] },
    }
  }

  private turn(): void {
    const now = this.clock.monotonic()
    if (this.phase !== undefined) this.spent[this.phase] += now - this.since
    this.since = now
  }
}

export const NO_TIME: TimeStatus = {
  phases: NONE,
  alone: { ms: 0, partition: undefined },
  sampled: { oneIn: undefined, slices: 0, records: 0, ms: 0 },
  steps: [],
  calls: [],
}

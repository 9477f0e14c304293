import { MillraceError } from '../../record/error.js'
import type { Clock } from '../../record/clock.js'
import type { Logger } from '../../record/logger.js'

export interface ReplacedOptions {
  readonly group: string
  readonly instanceId: string | undefined
  readonly outlastMs: number
  readonly clock: Clock
  readonly logger: Logger
}

/**
 * Another process took the place of this one by its instance id. A join of a process that is dead does so too where it arrives late: that
 * one never beats, so its session ends, and the place is free again. One that lives keeps it. The coordinator tells the two apart, as long
 * as the one that was replaced asks under an id of its own and does not take the place back: asked so, it fences nobody. (KIP-345)
 */
export class Replaced {
  private since: number | undefined

  constructor(private readonly options: ReplacedOptions) {}

  get isWaiting(): boolean {
    return this.since !== undefined
  }

  /** Whether an error says that this one was replaced, and whoever did it may prove to be dead yet. */
  mayPass(error: unknown): boolean {
    const { group, instanceId, outlastMs, clock, logger } = this.options
    if (outlastMs === 0 || !(error instanceof MillraceError) || error.code !== 'INSTANCE_FENCED') return false
    const now = clock.monotonic()
    if (this.since === undefined) {
      this.since = now
      logger.warn(
        { group, instanceId, seconds: Math.ceil(outlastMs / 1_000) },
        'another process joined with the instance id of this one, which works on nothing from here on: it takes its place again if that process turns out to be dead, and ends with INSTANCE_FENCED if it still has the place after so many seconds',
      )
    }
    return now - this.since < outlastMs
  }

  /** It has its place again. */
  over(): void {
    this.since = undefined
  }
}

import type { Clock } from './clock.js'
import { errorMessage } from './error.js'
import type { Logger } from './logger.js'

const FIRST_MS = 5_000
const LARGEST_MS = 5 * 60_000

/**
 * Says what is waited for, and why, once it takes longer than it should: after 5 s, then again after 5 more, 10, 20 ... at most 5 minutes
 * apart.
 */
export class WaitReport {
  private reason: string | undefined
  private readonly began: number
  private cancel: () => void = () => {}

  constructor(
    private readonly clock: Clock,
    private readonly logger: Logger,
    private readonly fields: object,
    private readonly waitsFor: string,
  ) {
    this.began = clock.monotonic()
    this.arm(FIRST_MS)
  }

  /** What the last try ended with. */
  because(error: unknown): void {
    this.reason = errorMessage(error)
    this.logger.debug({ ...this.fields, error: this.reason }, `trying again: ${this.waitsFor}`)
  }

  end(): void {
    this.cancel()
  }

  private arm(ms: number): void {
    this.cancel = this.clock.after(ms, () => {
      const seconds = Math.round((this.clock.monotonic() - this.began) / 1_000)
      this.logger.warn({ ...this.fields, seconds, error: this.reason }, `still waiting: ${this.waitsFor}`)
      this.arm(Math.min(LARGEST_MS, seconds * 1_000))
    })
  }
}

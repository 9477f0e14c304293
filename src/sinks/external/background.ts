import { sleep } from '../../record/clock.js'
import type { Effects, EffectsEnvironment } from '../../runtime/effects.js'
import { HANGS_AFTER_MS } from './waiting.js'

/** Work in an external system that goes on beside the transactions of a pipeline, in none of them, until that ends. */
export abstract class BackgroundWork implements Effects {
  readonly isBeside = true
  private readonly ended = new AbortController()
  private working: Promise<void> = Promise.resolve()

  constructor(protected readonly environment: EffectsEnvironment) {}

  /** Does what is to be done now. Returns in how many milliseconds it is to be called again; undefined for never. Does not reject. */
  protected abstract turn(): Promise<number | undefined>

  start(): void {
    this.working = this.work()
  }

  async commit(): Promise<void> {}

  rollback(): void {}

  /** Waits for what is under way, as long as it answers. */
  async close(): Promise<void> {
    this.ended.abort()
    const done = new AbortController()
    await Promise.race([this.working, sleep(this.environment.clock, HANGS_AFTER_MS, done.signal)])
    done.abort()
  }

  private async work(): Promise<void> {
    const { signal } = this.ended
    while (!signal.aborted) {
      const pause = await this.turn()
      if (pause === undefined) return
      await sleep(this.environment.clock, pause, signal)
    }
  }
}

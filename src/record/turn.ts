import type { Clock } from './clock.js'

/** A stretch of synchronous work, after which sockets, timers and others have theirs. */
export class Turn {
  private began: number

  constructor(
    private readonly clock: Clock,
    private readonly longestMs: number,
  ) {
    this.began = clock.monotonic()
  }

  begin(): void {
    this.began = this.clock.monotonic()
  }

  get isOver(): boolean {
    return this.clock.monotonic() - this.began > this.longestMs
  }
}

import type { Clock } from '../../record/clock.js'
import type { SliceContext } from '../../runtime/context.js'

/** Without an answer for so long a system is taken to hang, which may last: a stop or a rebalance then does not wait for it. */
export const HANGS_AFTER_MS = 5_000

/** A slice waits for something outside: what the watchdog, a stop and a rebalance are told of it. */
export class Waiting {
  private hanging = false
  private readonly cancel: () => void

  constructor(
    private readonly slice: SliceContext,
    clock: Clock,
    private readonly onHang: (why: string) => void,
  ) {
    slice.waits.bounded++
    this.cancel = clock.after(HANGS_AFTER_MS, () => this.hangs(`no answer for ${HANGS_AFTER_MS} ms`))
  }

  hangs(why: string): void {
    if (this.hanging) return
    this.hanging = true
    this.slice.waits.bounded--
    this.slice.waits.outside++
    this.onHang(why)
  }

  end(): void {
    this.cancel()
    if (this.hanging) this.slice.waits.outside--
    else this.slice.waits.bounded--
    this.slice.progress()
  }
}

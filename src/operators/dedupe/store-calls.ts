import { sleep, type Clock } from '../../record/clock.js'
import { MillraceError, errorMessage } from '../../record/error.js'
import type { Logger } from '../../record/logger.js'
import type { SliceContext } from '../../runtime/context.js'

const FIRST_RETRY_MS = 50
const MAX_RETRY_MS = 5_000
/** Without an answer for so long the store is taken to hang, which may last: a stop or a rebalance then does not wait for it. */
const HANGS_AFTER_MS = 1_000

/** Calls to a store outside the log, which may be slow, away or gone: made again until they succeed, with nothing taken in meanwhile. */
export class StoreCalls {
  private telling: Promise<void> = Promise.resolve()

  constructor(
    private readonly what: string,
    private readonly store: string,
    /** What is told is of no use to anybody after this time. */
    private readonly withinMs: number,
    private readonly clock: Clock,
    private readonly logger: Logger,
  ) {}

  /** On behalf of a slice, which waits. @throws MillraceError what the store refuses for good; anything, once the slice is closed */
  async ask<T>(slice: SliceContext, call: () => Promise<T>): Promise<T> {
    const { waits } = slice
    waits.bounded++
    let hanging = false
    const hangs = (why: string): void => {
      if (hanging) return
      hanging = true
      waits.bounded--
      waits.outside++
      this.logger.warn(
        { store: this.store, partition: slice.partition, why },
        `${this.what} waits for its store; nothing more is taken in meanwhile`,
      )
    }
    const cancel = this.clock.after(HANGS_AFTER_MS, () => hangs(`no answer for ${HANGS_AFTER_MS} ms`))
    try {
      const answer = await this.untilDone(
        call,
        () => slice.closed,
        (error) => hangs(errorMessage(error)),
      )
      slice.progress()
      return answer
    } finally {
      cancel()
      if (hanging) waits.outside--
      else waits.bounded--
    }
  }

  /** Something else that ends by itself. */
  async wait<T>(slice: SliceContext, wait: () => Promise<T>): Promise<T> {
    slice.waits.bounded++
    try {
      return await wait()
    } finally {
      slice.waits.bounded--
    }
  }

  /** On nobody's behalf, in the order of the calls; never rejects. For what others can do without. */
  tell(call: () => Promise<void>): Promise<void> {
    const told = this.telling.then(async () => {
      const until = this.clock.monotonic() + this.withinMs
      try {
        await this.untilDone(
          call,
          () => this.clock.monotonic() >= until,
          (error) => this.logger.debug({ store: this.store, error: errorMessage(error) }, `${this.what} tries again`),
        )
      } catch (error) {
        this.logger.warn({ store: this.store, error: errorMessage(error) }, `${this.what} could not tell its store how a transaction ended`)
      }
    })
    this.telling = told
    return told
  }

  private async untilDone<T>(call: () => Promise<T>, over: () => boolean, onError: (error: unknown) => void): Promise<T> {
    for (let pause = FIRST_RETRY_MS; ; pause = Math.min(MAX_RETRY_MS, pause * 2)) {
      try {
        return await call()
      } catch (error) {
        if (over() || (error instanceof MillraceError && !error.retryable)) throw error
        onError(error)
        await sleep(this.clock, pause)
      }
    }
  }
}

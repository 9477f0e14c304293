import { MillraceError } from '../../record/error.js'
import type { SliceContext } from '../../runtime/context.js'
import type { CallCounts } from './call-counts.js'

/** One call of the user's function: its signal, made only if asked for, and its time limit. */
export class Call {
  private controller: AbortController | undefined
  private reason: unknown
  /** Ends it from outside. */
  abandon: (error: unknown) => void = () => {}

  get signal(): AbortSignal {
    if (this.controller === undefined) {
      this.controller = new AbortController()
      if (this.reason !== undefined) this.controller.abort(this.reason)
    }
    return this.controller.signal
  }

  abort(reason: unknown): void {
    this.reason = reason
    this.controller?.abort(reason)
  }
}

/** The calls of one slice that are under way, their time limits, and what else waits for a time. */
export class Calls {
  private readonly open = new Set<Call>()
  private readonly timers = new Set<() => void>()
  private closed = false

  constructor(
    private readonly slice: SliceContext,
    private readonly step: string,
    private readonly timeout: number | undefined,
    private readonly counts: CallCounts,
  ) {}

  /** Tells once how a call ended: by itself, or by its time limit. */
  watch(call: Call, result: PromiseLike<unknown>, onValue: (value: unknown) => void, onError: (error: unknown) => void): void {
    const { timeout, step, counts } = this
    const began = counts.began()
    this.slice.waits.calls++
    let over = false
    let cancelTimer: (() => void) | undefined
    const ended = (): boolean => {
      if (over || this.closed) return false
      over = true
      this.open.delete(call)
      counts.ended(began)
      this.slice.waits.calls--
      if (cancelTimer !== undefined) {
        cancelTimer()
        this.slice.waits.bounded--
      }
      this.slice.progress()
      return true
    }
    this.open.add(call)
    if (timeout !== undefined) {
      this.slice.waits.bounded++
      cancelTimer = this.after(timeout, () => {
        const error = new MillraceError(
          'ATTEMPT_TIMEOUT',
          `${step} took longer than its time limit of ${timeout} ms: raise the timeout, or see why the call is slow`,
          { retryable: true },
        )
        if (!ended()) return
        call.abort(error)
        onError(error)
      })
    }
    result.then(
      (value) => {
        if (ended()) onValue(value)
      },
      (error: unknown) => {
        if (ended()) onError(error)
      },
    )
  }

  /** Returns how to call it off. */
  after(ms: number, fn: () => void): () => void {
    const stop = this.slice.clock.after(ms, () => {
      this.timers.delete(cancel)
      fn()
    })
    const cancel = (): void => {
      this.timers.delete(cancel)
      stop()
    }
    this.timers.add(cancel)
    return cancel
  }

  /** What is still under way counts for nothing. */
  close(): void {
    this.closed = true
    for (const cancel of this.timers) cancel()
    this.timers.clear()
    if (this.open.size === 0) return
    this.counts.dropped(this.open.size)
    const error = new MillraceError(
      'CLOSED',
      'the slice was given up: the pipeline stops, the group rebalances, or another record failed it. Its records come again',
    )
    for (const call of this.open) {
      call.abort(error)
      call.abandon(error)
    }
    this.open.clear()
  }
}

export function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && typeof (value as { readonly then?: unknown }).then === 'function'
}

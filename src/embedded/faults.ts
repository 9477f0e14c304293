import { logError } from '../log/error.js'
import type { LogError, Reaction } from '../log/port.js'
import { sleep, type Clock } from '../record/clock.js'
import { MillraceError, type ErrorCode } from '../record/error.js'

/** The requests a fault can hit. 'end' is the commit of a transaction, 'abort' its abort. */
export type FaultPoint = 'init' | 'produce' | 'offsets' | 'end' | 'abort' | 'join' | 'sync' | 'heartbeat' | 'fetch' | 'committedOffsets'

interface FaultTarget {
  readonly at: FaultPoint
  /** How often. Default 1. */
  readonly times?: number
  /** Let this many calls pass first. Default 0. */
  readonly after?: number
  /** Only calls that have to do with this transactional id, group, topic or 'topic/partition'. */
  readonly of?: string
}

/** The request is answered with an error. */
export interface FailingCall extends FaultTarget {
  readonly reaction: Reaction
  /** Default: what a broker would say with that reaction. */
  readonly code?: ErrorCode
  /** Whether doing the same again may help. Default: unless the reaction is 'fatal'. */
  readonly retryable?: boolean
  /**
   * Whether the request was carried out and only its answer was lost. Default false. Of 'end' with 'indeterminate': committed, or else
   * left open until init() or the transaction timeout ends it.
   */
  readonly tookEffect?: boolean
  /** Time until then, by the broker's clock. Milliseconds. */
  readonly delayMs?: number
}

/** The request takes longer, and is carried out after that. */
export interface SlowCall extends FaultTarget {
  readonly reaction?: undefined
  /** By the broker's clock. Milliseconds. */
  readonly delayMs: number
}

export type Fault = FailingCall | SlowCall

/** A fault under way. */
export interface InjectedFault {
  /** How many calls it hit so far. */
  readonly hits: number
  remove(): void
}

const CODES: Record<Reaction, ErrorCode> = {
  retry: 'TIMEOUT',
  abort: 'TRANSACTION_ABORTED',
  reinit: 'PRODUCER_FENCED',
  rejoin: 'REBALANCE_IN_PROGRESS',
  lost: 'MEMBER_LOST',
  indeterminate: 'COMMIT_INDETERMINATE',
  fatal: 'BROKER_REFUSED',
}

class Armed implements InjectedFault {
  hits = 0
  private calls = 0

  constructor(
    readonly fault: Fault,
    private readonly forget: (armed: Armed) => void,
  ) {}

  /** Counts a call this fault is about. */
  strikes(): boolean {
    const { after = 0, times = 1 } = this.fault
    if (this.calls++ < after) return false
    if (++this.hits === times) this.remove()
    return true
  }

  remove(): void {
    this.forget(this)
  }
}

/** Errors and delays that tests have the broker answer with. */
export class Faults {
  private armed: Armed[] = []

  constructor(readonly clock: Clock) {}

  /**
   * Arms a fault; of several for the same calls, the one injected first has its turn first.
   *
   * @throws MillraceError INVALID_OPTIONS for what no broker could do
   * @example
   * broker.faults.inject({ at: 'end', reaction: 'indeterminate', tookEffect: true })
   */
  inject(fault: Fault): InjectedFault {
    if (fault.reaction === undefined && fault.delayMs === undefined) {
      throw new MillraceError(
        'INVALID_OPTIONS',
        `fault at '${fault.at}': it does nothing. Give a reaction to fail the call, or delayMs to slow it down`,
      )
    }
    if (fault.at === 'end' && fault.reaction !== undefined && fault.reaction !== 'indeterminate' && fault.tookEffect === true) {
      throw new MillraceError(
        'INVALID_OPTIONS',
        `fault at 'end': after '${fault.reaction}' a transaction is certain not to have committed. Only 'indeterminate' can have taken effect`,
      )
    }
    const armed = new Armed(fault, (one) => (this.armed = this.armed.filter((other) => other !== one)))
    this.armed.push(armed)
    return armed
  }

  clear(): void {
    this.armed = []
  }

  /** Carries a request out, unless a fault is due. */
  async run<T>(at: FaultPoint, names: readonly (string | undefined)[], request: () => T | Promise<T>): Promise<T> {
    const fault = this.due(at, names)
    if (fault === undefined) return request()
    if (fault.delayMs !== undefined) await sleep(this.clock, fault.delayMs)
    if (fault.reaction === undefined) return request()
    if (fault.tookEffect === true) await request()
    throw faultError(fault)
  }

  /** The fault that hits this call, if one does. */
  due(at: FaultPoint, names: readonly (string | undefined)[]): Fault | undefined {
    if (this.armed.length === 0) return undefined
    const armed = this.armed.find(({ fault }) => fault.at === at && (fault.of === undefined || names.includes(fault.of)))
    return armed?.strikes() === true ? armed.fault : undefined
  }
}

export function faultError({ at, reaction, code, retryable }: FailingCall): LogError {
  return logError(code ?? CODES[reaction], reaction, `injected fault at '${at}'`, retryable === undefined ? {} : { retryable })
}

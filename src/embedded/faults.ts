import { logError } from '../log/error.js'
import type { Reaction } from '../log/port.js'
import type { ErrorCode } from '../record/error.js'

export type FaultPoint = 'produce' | 'offsets' | 'end' | 'init' | 'join' | 'heartbeat' | 'committedOffsets'

export interface Fault {
  readonly at: FaultPoint
  /** How often. Default 1. */
  readonly times?: number
  /** Let this many calls pass first. Default 0. */
  readonly after?: number
  readonly reaction: Reaction
  /** Of 'end' with 'indeterminate': whether the commit took effect before the answer was lost. Default false. */
  readonly tookEffect?: boolean
  /** Only calls of this transactional id or group. */
  readonly of?: string
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

interface Armed extends Fault {
  passes: number
  left: number
}

/** Errors that tests have the broker answer with. */
export class Faults {
  private armed: Armed[] = []

  inject(fault: Fault): void {
    this.armed.push({ ...fault, passes: fault.after ?? 0, left: fault.times ?? 1 })
  }

  clear(): void {
    this.armed = []
  }

  /** Throws if a fault is due here. */
  async pass(at: FaultPoint, of?: string): Promise<void> {
    const fault = this.due(at, of)
    if (fault !== undefined) throw errorOf(fault)
  }

  async end(of: string | undefined, commit: () => void): Promise<void> {
    const fault = this.due('end', of)
    if (fault === undefined) return commit()
    if (fault.tookEffect === true) commit()
    throw errorOf(fault)
  }

  private due(at: FaultPoint, of?: string): Armed | undefined {
    const fault = this.armed.find((one) => one.at === at && one.left > 0 && (one.of === undefined || one.of === of))
    if (fault === undefined) return undefined
    if (fault.passes-- > 0) return undefined
    fault.left--
    return fault
  }
}

function errorOf(fault: Fault): Error {
  return logError(CODES[fault.reaction], fault.reaction, `injected fault at ${fault.at}`)
}

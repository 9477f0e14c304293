import type { Clock } from './clock.js'
import { MillraceError, errorMessage, type ErrorCode } from './error.js'
import { parentOf, type Logger } from './logger.js'

const FIRST_MS = 5_000
const LARGEST_MS = 5 * 60_000

/** A wait that is under way. */
export interface OpenWait {
  readonly what: string
  readonly forMs: number
  readonly why: string | undefined
}

/** Errors whose texts are of the log and the group, and hold nothing of a record. */
const OF_THE_LOG: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'MISSING_TOPIC',
  'PARTITION_MISMATCH',
  'UNAUTHORIZED',
  'BROKER_UNREACHABLE',
  'BROKER_TOO_OLD',
  'BROKER_REFUSED',
  'TIMEOUT',
  'CLOSED',
  'OFFSET_OUT_OF_RANGE',
  'NO_COMMITTED_OFFSET',
  'STATE_MISMATCH',
  'STATE_TOO_LARGE',
  'SLICE_STALLED',
  'REBALANCE_IN_PROGRESS',
  'MEMBER_LOST',
  'GROUP_MISMATCH',
  'INSTANCE_FENCED',
  'PRODUCER_FENCED',
  'TRANSACTION_ABORTED',
  'COMMIT_INDETERMINATE',
])

/**
 * All that one pipeline waits for right now. Waits are known by the logger they tell: whoever makes one need not know that somebody looks
 * on.
 */
export class WaitBoard {
  private static readonly boards = new WeakMap<Logger, WaitBoard>()
  private readonly open = new Set<WaitReport>()

  static attach(logger: Logger, board: WaitBoard): void {
    this.boards.set(logger, board)
  }

  static of(logger: Logger): WaitBoard | undefined {
    for (let at: Logger | undefined = logger; at !== undefined; at = parentOf(at)) {
      const board = this.boards.get(at)
      if (board !== undefined) return board
    }
    return undefined
  }

  /** The text of an error, if it can hold nothing of a record. */
  static sayable(error: unknown): string | undefined {
    return error instanceof MillraceError && OF_THE_LOG.has(error.code) ? error.message : undefined
  }

  add(report: WaitReport): void {
    this.open.add(report)
  }

  remove(report: WaitReport): void {
    this.open.delete(report)
  }

  /** Something went wrong below, where it is tried again for a while before whoever waits is told. */
  heard(error: unknown): void {
    for (const report of this.open) report.heard(error)
  }

  list(): OpenWait[] {
    return [...this.open].map((report) => report.told())
  }
}

/**
 * Says what is waited for, and why, once it takes longer than it should: after 5 s, then again after 5 more, 10, 20 ... at most 5 minutes
 * apart.
 */
export class WaitReport {
  private reason: string | undefined
  /** What of the reason may be shown where no record may be seen. */
  private sayable: string | undefined
  /** Until there is a reason: what was tried again last. */
  private below: { readonly reason: string; readonly sayable: string | undefined } | undefined
  private readonly began: number
  private readonly board: WaitBoard | undefined
  private cancel: () => void = () => {}

  constructor(
    private readonly clock: Clock,
    private readonly logger: Logger,
    private readonly fields: object,
    private readonly waitsFor: string,
  ) {
    this.began = clock.monotonic()
    this.board = WaitBoard.of(logger)
    this.board?.add(this)
    this.arm(FIRST_MS)
  }

  /** What the last try ended with. */
  because(error: unknown): void {
    this.reason = errorMessage(error)
    this.sayable = WaitBoard.sayable(error)
    this.logger.debug({ ...this.fields, error: this.reason }, `trying again: ${this.waitsFor}`)
  }

  heard(error: unknown): void {
    this.below = { reason: errorMessage(error), sayable: WaitBoard.sayable(error) }
  }

  end(): void {
    this.board?.remove(this)
    this.cancel()
  }

  told(): OpenWait {
    return {
      what: this.waitsFor,
      forMs: this.clock.monotonic() - this.began,
      why: this.sayable ?? (this.reason === undefined ? this.below?.sayable : undefined),
    }
  }

  private arm(ms: number): void {
    this.cancel = this.clock.after(ms, () => {
      const seconds = Math.round((this.clock.monotonic() - this.began) / 1_000)
      this.logger.warn({ ...this.fields, seconds, error: this.reason ?? this.below?.reason }, `still waiting: ${this.waitsFor}`)
      this.arm(Math.min(LARGEST_MS, seconds * 1_000))
    })
  }
}

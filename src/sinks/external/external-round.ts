import type { SliceContext } from '../../runtime/context.js'
import type { ExternalTransaction, ExternalWrite } from './port.js'

/** Records of one slice that go out in one call. */
export interface Chunk<Tx> {
  readonly slice: SliceContext
  readonly sink: string
  readonly write: ExternalWrite<Tx, unknown>
  readonly records: readonly unknown[]
  /** Also those that were written in an earlier transaction: it has to be known of each what becomes of it. */
  readonly every?: true
}

/** What one transaction of the pipeline writes, in one transaction outside. Kept until that has committed, to be written again. */
export class ExternalRound<Tx> {
  /** Writes are done one after the other, over one connection. */
  chain: Promise<void> = Promise.resolve()
  /** Those that hold something new. */
  readonly chunks: Chunk<Tx>[] = []
  tx: ExternalTransaction<Tx> | undefined
  /** How many chunks are written in `tx`. */
  written = 0
  /** Why it cannot commit, where no slice could be told. */
  failure: unknown
  over = false
  /** Calls under way. */
  busy = 0
  /** Resolves when it is given up: what hangs is not waited for then. */
  readonly ended: Promise<void>
  private end!: () => void

  constructor() {
    this.ended = new Promise((resolve) => (this.end = resolve))
  }

  /** Has what is to be done next begin anew, over another connection. */
  drop(hard: boolean): Promise<void> {
    const { tx } = this
    this.tx = undefined
    this.written = 0
    return tx === undefined ? Promise.resolve() : tx.rollback(hard)
  }

  giveUp(): void {
    this.over = true
    this.end()
  }
}

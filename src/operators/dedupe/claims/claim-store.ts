import type { Origin } from '../../../record/origin.js'
import type { Database, SqlTransaction } from '../../../sinks/database/database.js'
import type { ProcessedId } from './processed.js'

/** An id that a record wants to be the first with. */
export interface ClaimRequest {
  readonly id: string
  readonly origin: Origin
  /** Take the id over from this claim, which counts no longer. Refused if it is not the one that holds the id. */
  readonly over?: HeldClaim | undefined
  /** What the record holds, in short: kept with the claim by stores that can. */
  readonly checksum?: string | undefined
}

/** On whose behalf ids are claimed, and for how long. */
export interface ClaimTerms {
  /** Consumer group of the claimant. */
  readonly group: string
  /** Names the transaction that the claims stand or fall with; no other has this name, ever. At most 40 letters, digits, '-', '_', '.'. */
  readonly transaction: string
  /** Generation of the group that the claimant is in. */
  readonly generation: number
  /** How long the id is remembered, in milliseconds. */
  readonly withinMs: number
}

/** A claim as the store has it. */
export interface HeldClaim {
  readonly group: string
  readonly origin: Origin
  readonly transaction: string
  readonly generation: number
  /** How long ago it was made, or taken over, by the store's own clock. Milliseconds. */
  readonly ageMs: number
  /** As the claimant gave it, where the store keeps it. */
  readonly checksum?: string | undefined
}

/** How a transaction ended. */
export type TransactionEnd = 'committed' | 'aborted'

/** Something to remember of an id beside its claim. */
export interface ClaimNote {
  readonly id: string
  /** Further duplicates. */
  readonly duplicates: number
  readonly result?: string | undefined
}

/**
 * Where ids are claimed that several partitions, pipelines or services share: what `dedupe` needs of a store. The cases in
 * `claimStoreContract` of millrace/testing are what an implementation has to pass.
 *
 * The store decides nothing but who came first: whether a claim counts is worked out by those who meet it, from how its transaction ended.
 * So it may lose what it holds, which lets duplicates pass, and never a record.
 *
 * A call that fails is made again until it succeeds, unless it rejects with a MillraceError that is not `retryable`: that ends the
 * pipeline. A call that neither resolves nor rejects stops intake until it does. Calls may come more than once and after one another's
 * answers were lost; calls of one pipeline come in order.
 */
export interface ClaimStore {
  /** For messages and `describe`. */
  readonly name: string
  /**
   * For each request, in order and atomically: where nobody holds the id, or the claim named by `over` does, makes the claim; undefined.
   * Else who holds it: that may be an earlier claim of the same record, in this or another transaction. A claim made in this same
   * transaction by this same record is not told: undefined, since the call may have come before.
   */
  claim(requests: readonly ClaimRequest[], terms: ClaimTerms): Promise<readonly (HeldClaim | undefined)[]>
  /** Remembers for `keepMs` how a transaction ended. The first end stays. */
  end(transaction: string, how: TransactionEnd, keepMs: number): Promise<void>
  /** How transactions ended, in the order asked; undefined for those that have not, or not that is known. */
  ends(transactions: readonly string[]): Promise<readonly (TransactionEnd | undefined)[]>
  /** Adds to what is known of ids that are held; others are passed over. The result given last stays. */
  note(notes: readonly ClaimNote[]): Promise<void>
  /** What is known of an id; 'passed' if its transaction is known to have committed. */
  find(id: string): Promise<ProcessedId | undefined>
  /** Set by stores that `bloom` can stand in front of. */
  readonly exclusive?: ExclusiveIds
  /** Set by stores whose claims are made in the transaction that a pipeline has open in their database. */
  readonly joined?: JoinedClaims
  /** Ends what the store has opened itself. */
  close(): Promise<void>
}

/**
 * Claims that commit with what a pipeline writes to a database, so each that is seen counts: nobody has to work out how its transaction
 * ended. Who meets one that is not committed yet waits in the database.
 */
export interface JoinedClaims {
  /** The database object, as `toDatabase` has it. */
  readonly db: Database
  /** As `ClaimStore.claim`, in this transaction; also the claim of the same record is told. */
  claim(tx: SqlTransaction, requests: readonly ClaimRequest[], terms: ClaimTerms): Promise<readonly (HeldClaim | undefined)[]>
  note(tx: SqlTransaction, notes: readonly ClaimNote[]): Promise<void>
}

export const CLAIM_STORE_METHODS = ['claim', 'end', 'ends', 'note', 'find', 'close'] as const

/** An id that one task alone has to do with, and the record that passed with it. */
export interface ExclusiveId {
  readonly id: string
  readonly origin: Origin
  /** When it passed, by the task's clock, in milliseconds since the epoch. */
  readonly at: number
  /** The stretch of time it belongs to: `at` divided by how long ids are remembered, rounded down. */
  readonly section: number
  /** The transaction that put it: no other has this name. At most 40 letters, digits, '-', '_', '.'. */
  readonly writer: string
  readonly duplicates: number
  readonly result: string | undefined
}

/**
 * Ids that nobody else claims at the same time, so that nothing has to be compared when they are written: what a store needs to have for
 * `bloom`. They lie in sections, which are forgotten whole. `exclusiveIdsContract` of millrace/testing has the cases.
 */
export interface ExclusiveIds {
  /**
   * Writes ids, over what stands there. Their sections are kept for `keepMs` from the last call on; `withinMs`, the length of a section, is
   * for `find`.
   */
  put(ids: readonly ExclusiveId[], keepMs: number, withinMs: number): Promise<void>
  /** In the order asked, from the first of the sections that has it. */
  get(ids: readonly string[], sections: readonly number[]): Promise<readonly (ExclusiveId | undefined)[]>
  /** Takes ids out again, where what this transaction put for this record still stands. */
  remove(ids: readonly ExclusiveId[]): Promise<void>
  forget(section: number): Promise<void>
}

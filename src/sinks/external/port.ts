/**
 * THE PORT of sinks outside the log: what millrace needs of a system that commits what is written to it together with the positions of the
 * records it came of. PostgreSQL and SQLite are it in `sinks/database`; `externalStoreContract` (millrace/testing) holds the cases that
 * each passes.
 *
 * What it promises is small: a transaction's writes and position changes take effect together or not at all; it takes effect only if each
 * row still has the epoch it was taken with, and stands where it was left; and who reads or takes a row waits for whoever is committing it.
 */
export interface ExternalStore<Tx> {
  /** For messages: 'PostgreSQL'. */
  readonly name: string
  /**
   * Takes the rows of these places: gives each the next epoch, and the transactions of whoever had it before are refused from now on. A
   * row that is not there is made, at `start`.
   * @returns the rows in the order asked, as they stand
   */
  take(group: string, places: readonly PlaceToTake[]): Promise<readonly StoredRow[]>
  /** The rows as they stand, when every transaction that was about to change one has ended; undefined where there is none. */
  read(group: string, places: readonly Place[]): Promise<readonly (StoredRow | undefined)[]>
  begin(): Promise<ExternalTransaction<Tx>>
  /** Who is to blame for what one of these functions, or a write, threw. */
  blame(error: unknown): Blame
}

/**
 * 'away': the system cannot be reached, or says it cannot serve now: the same can work later. 'again': it has undone the transaction (a
 * deadlock, a conflict with another), and the same can work at once.
 * 'record': what was written cannot be stored. 'program': no record can, or nobody may. Undefined: not of this system, so of the code
 * that writes.
 */
export type Blame = 'away' | 'again' | 'record' | 'program' | undefined

/** What a row of positions is known by, within its group. */
export interface Place {
  /** The name of the sink. */
  readonly sink: string
  readonly topic: string
  readonly partition: number
}

export interface PlaceToTake extends Place {
  readonly start: number
}

export interface StoredRow {
  /** The next offset to write: all before it are written, but for `gaps`. */
  readonly position: number
  /** Grows each time the row is taken. */
  readonly epoch: number
  /** Offsets before `position` that were read and not written, while it is not known that the log has them committed. */
  readonly gaps: string
  /** Offsets that were written and yet have to come again, out of a retry topic. */
  readonly owed: string
}

export interface RowChange extends Place, StoredRow {
  /** The position that the row was taken with, or left with: where it has another, the system has lost what was committed, or been put back. */
  readonly was: number
}

/** One transaction, over one connection. */
export interface ExternalTransaction<Tx> {
  /** What user code writes with. */
  readonly handle: Tx
  /**
   * Changes the rows that have the epoch of their change, and stand where they were, and commits. False if one does not: then nothing took
   * effect.
   * Where it throws what is 'away', it may have taken effect: `take` tells.
   */
  commit(group: string, changes: readonly RowChange[]): Promise<boolean>
  /** Undoes it, also one whose commit threw. With `hard`, without waiting for what is under way: the connection is given up. Never rejects. */
  rollback(hard: boolean): Promise<void>
}

/** Writes records to an external system. It may be called several times a transaction, and again for the same records. */
export type ExternalWrite<Tx, R> = (tx: Tx, records: readonly R[]) => unknown

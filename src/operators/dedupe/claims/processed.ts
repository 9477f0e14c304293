import type { Origin } from '../../../record/origin.js'

/** What is known of an id: the record that passed with it, and what came of it. */
export interface ProcessedId {
  readonly id: string
  /** 'passed': its transaction is committed. 'pending': it is under way, or it is not known yet how it ended. */
  readonly state: 'passed' | 'pending'
  /** Where the record that passed was read. */
  readonly origin: Origin
  /** When it passed, in milliseconds since the epoch: event time in a task's own store, the clock of the store where it is shared. */
  readonly at: number
  /** From then on the id is new again; by the same clock as `at`. */
  readonly until: number
  /** Records dropped as its duplicates so far. */
  readonly duplicates: number
  /** What `keepResult` stored with it. */
  readonly result: string | undefined
  /** What the record held, in short: where the store keeps it, and was given it. */
  readonly checksum?: string | undefined
}

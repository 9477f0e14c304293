import { randomUUID } from 'node:crypto'
import type { ClaimStore } from '../operators/dedupe/claims/claim-store.js'
import type { Origin } from '../record/origin.js'

/** One thing a claim store must do; `run` rejects where it does not. */
export interface ClaimStoreCase {
  readonly name: string
  /** `open` gives a client of its own on the same store, as another process would have; the caller closes what it opened. */
  run(open: () => ClaimStore): Promise<void>
}

export const origin = (offset: number, partition = 0, topic = 'orders'): Origin => ({ topic, partition, offset })
export const unique = (): string => randomUUID().slice(0, 13)

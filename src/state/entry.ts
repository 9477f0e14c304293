import type { KeyText } from './key.js'

/** A value as it was, encoded: user code may since have changed the object itself. */
export class Snapshot {
  readonly encoded: Buffer | string | null

  constructor(encoded: Uint8Array | string | null) {
    // A serde of bytes hands out the very bytes that are about to change.
    this.encoded = encoded instanceof Uint8Array ? Buffer.from(encoded) : encoded
  }
}

/** The same where its serde answers later: a copy. */
export class Copied<V> {
  constructor(readonly value: V) {}
}

/** What an entry was before either of two transactions that changed it, of which the first is still on its way to the log. */
export class Twice<V> {
  constructor(
    readonly older: Before<V>,
    readonly old: Before<V>,
  ) {}
}

export type Before<V> = V | Snapshot | Copied<V> | undefined

/** One value of a store. It is undefined where it is deleted; such an entry goes with the commit. */
export abstract class Entry<V> {
  abstract readonly key: KeyText
  abstract readonly time: number
  /** Tells those of one key and time apart, where there are several. */
  abstract readonly seq: number
  /** What it was before the transaction `tx`; means something only while that is open, or on its way to the log. */
  old: Before<V> | Twice<V> = undefined
  tx = 0
  /** How many bytes key and value take on the changelog, as of the last commit. */
  bytes = 0
  /** Highest event time put into it in the open transaction. */
  stamp = 0

  constructor(public value: V | undefined) {}
}

/** What it was before the open transaction, which has changed it. */
export function oldOf<V>({ old }: Entry<V>): Before<V> {
  return old instanceof Twice ? (old as Twice<V>).old : old
}

/** What it was at the last commit, if the open transaction or one on its way to the log has changed it. */
export function oldestOf<V>({ old }: Entry<V>): Before<V> {
  return old instanceof Twice ? (old as Twice<V>).older : old
}

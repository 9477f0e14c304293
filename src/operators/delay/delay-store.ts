import { readInt64 } from '../../log/batch/header.js'
import type { Serde } from '../../record/serde.js'
import { DueStore, nextOrder, type DueValue } from '../../state/due-store.js'
import type { StoreSpec } from '../../state/store.js'

/** A record that waits, as bytes; they begin with its time, as eight bytes. */
export interface Waiting extends DueValue {
  readonly bytes: Buffer
}

export function waitingValue(bytes: Buffer): Waiting {
  return { bytes, at: timeOf(bytes), order: nextOrder() }
}

const serde: Serde<Waiting> = {
  name: 'waiting record',
  encode: ({ bytes }) => bytes,
  // Not a part of the fetched batch, which would be kept with it.
  decode: (bytes) => waitingValue(Buffer.from(bytes)),
}

/** What waits, by key. Memory: the records, and about 250 bytes each. */
export type DelayStore = DueStore<Waiting>

export function timeOf(bytes: Buffer): number {
  return readInt64(bytes, 0)
}

export function delayStore(name: string): StoreSpec<DelayStore> {
  return { name, kind: 'delay', version: 1, inner: true, create: () => new DueStore<Waiting>({ serde, timed: false, version: 1 }) }
}

import { readInt64 } from '../../log/batch/header.js'
import type { Serde } from '../../record/serde.js'
import { DueStore, nextOrder, type DueValue } from '../../state/due-store.js'
import { bytesOfKey, keyOfBytes, type KeyText } from '../../state/key.js'
import type { StoreSpec } from '../../state/store.js'

/**
 * A record that waits, as bytes, a character each; they begin with its time, as eight bytes. A buffer that stays for long would keep the pool
 * it lies in.
 */
export interface Waiting extends DueValue {
  readonly bytes: KeyText
}

export function waitingValue(bytes: Buffer): Waiting {
  return { bytes: keyOfBytes(bytes), at: timeOf(bytes), order: nextOrder() }
}

const serde: Serde<Waiting> = {
  name: 'waiting record',
  encode: ({ bytes }) => bytesOfKey(bytes),
  decode: waitingValue,
}

/** What waits, by key. Memory: the records, and about 250 bytes each. */
export type DelayStore = DueStore<Waiting>

export function timeOf(bytes: Buffer): number {
  return readInt64(bytes, 0)
}

export function delayStore(name: string): StoreSpec<DelayStore> {
  return { name, kind: 'delay', version: 1, inner: true, create: () => new DueStore<Waiting>({ serde, timed: false, version: 1 }) }
}

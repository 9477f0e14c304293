import type { DeepReadonly } from '../record/types.js'
import { keyOfBytes, type KeyText } from './key.js'
import type { QueryableStore, StoreExtent } from './store.js'

/** What a topic says of one key: a character a byte, and the value once somebody looked. */
class Row<V> {
  value: V | undefined = undefined
  constructor(readonly bytes: string) {}
}

/**
 * The latest value of each key of a topic that others write. It is decoded when first asked for, so that a value nobody asks for costs only
 * its bytes, and one that cannot be decoded harms nobody else.
 */
export class ViewStore<V> implements QueryableStore {
  readonly dirty = false
  readonly timed = false
  private bytes = 0
  private readonly rows = new Map<KeyText, Row<V>>()

  constructor(private readonly decode: (bytes: Buffer) => V) {}

  /** @throws what decoding throws, each time */
  get(key: KeyText): DeepReadonly<V> | undefined {
    const row = this.rows.get(key)
    if (row === undefined) return undefined
    row.value ??= this.decode(Buffer.from(row.bytes, 'latin1'))
    return row.value as DeepReadonly<V>
  }

  keys(): IterableIterator<KeyText> {
    return this.rows.keys()
  }

  get size(): number {
    return this.rows.size
  }

  queried(key: KeyText): unknown {
    const row = this.rows.get(key)
    // Not the value that joins hand out: who asks from outside may do with it what he likes.
    return row === undefined ? undefined : this.decode(Buffer.from(row.bytes, 'latin1'))
  }

  *queriedEntries(): IterableIterator<readonly [KeyText, unknown, number]> {
    for (const key of this.rows.keys()) yield [key, this.queried(key), 0]
  }

  get extent(): StoreExtent {
    return { keys: this.rows.size, bytes: this.bytes }
  }

  load(key: Buffer, value: Buffer | null): void {
    const text = keyOfBytes(key)
    const before = this.rows.get(text)
    if (before !== undefined) this.bytes -= text.length + before.bytes.length
    if (value !== null) this.bytes += key.length + value.length
    if (value === null) this.rows.delete(text)
    else this.rows.set(text, new Row<V>(value.toString('latin1')))
  }

  // What others committed is no part of our transactions.
  changes(): void {}
  commit(): void {}
  rollback(): void {}
  loaded(): void {}
}

import type { DeepReadonly } from '../record/types.js'
import { isLater } from '../record/serde.js'
import { keyOfBytes, type KeyText } from './key.js'
import { LATER, type QueryableStore, type StoreExtent } from './store.js'

/** What a topic says of one key: a character a byte, and the value once somebody looked. */
class Row<V> {
  value: V | PromiseLike<V> | undefined = undefined
  private answer: { readonly value: V | undefined; readonly error: unknown } | 'asked' | undefined
  constructor(readonly bytes: string) {}

  /** A value for somebody who cannot wait: the one that was asked for before, once it is there. */
  shown(asked: PromiseLike<V>): V | typeof LATER {
    const { answer } = this
    if (typeof answer === 'object') {
      this.answer = undefined
      asked.then(undefined, () => undefined)
      if (answer.error !== undefined) throw answer.error
      return answer.value as V
    }
    this.answer = 'asked'
    asked.then(
      (value) => (this.answer = { value, error: undefined }),
      (error: unknown) => (this.answer = { value: undefined, error }),
    )
    return LATER
  }
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

  constructor(private readonly decode: (bytes: Buffer) => V | PromiseLike<V>) {}

  /** A promise where decoding answers with one. @throws what decoding throws, each time */
  get(key: KeyText): DeepReadonly<V> | PromiseLike<DeepReadonly<V>> | undefined {
    const row = this.rows.get(key)
    return row === undefined ? undefined : (this.valueOf(row) as DeepReadonly<V> | PromiseLike<DeepReadonly<V>>)
  }

  private valueOf(row: Row<V>): V | PromiseLike<V> {
    if (row.value !== undefined) return row.value
    const value = this.decode(Buffer.from(row.bytes, 'latin1'))
    row.value = value
    if (isLater(value))
      value.then(
        (decoded) => {
          row.value = decoded
        },
        // Who asked is told; who asks next asks anew.
        () => {
          row.value = undefined
        },
      )
    return value
  }

  keys(): IterableIterator<KeyText> {
    return this.rows.keys()
  }

  get size(): number {
    return this.rows.size
  }

  queried(key: KeyText): unknown {
    const row = this.rows.get(key)
    if (row === undefined) return undefined
    // Not the value that joins hand out: who asks from outside may do with it what he likes.
    const value = this.decode(Buffer.from(row.bytes, 'latin1'))
    return isLater(value) ? row.shown(value) : value
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

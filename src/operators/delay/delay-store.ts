import { readInt64 } from '../../log/batch/header.js'
import { bytes, type Serde } from '../../record/serde.js'
import { DueHeap } from '../../state/due-heap.js'
import type { KeyText } from '../../state/key.js'
import { MemoryStore } from '../../state/memory-store.js'
import type { StoreSpec } from '../../state/store.js'

/** The keys of one time, in the order they were put. */
interface Bucket {
  keys: KeyText[]
  /** So many of them have been taken. */
  taken: number
}

/** Values that come due: each begins with its time, as eight bytes. Memory: the values, and about 250 bytes each. */
export class DelayStore extends MemoryStore<Buffer> {
  /** Each time there is a bucket for. Also what was deleted or replaced since is there: that is seen when it is taken. */
  private readonly dues = new DueHeap<number>()
  private readonly buckets = new Map<number, Bucket>()
  /** Taken in the open transaction, in order. */
  private popped: { readonly at: number; readonly key: KeyText }[] = []
  /** The buckets have to be made of what was read. */
  private read = false

  constructor() {
    super({ serde: bytes() as Serde<Buffer>, timed: false, version: 1 })
  }

  /** When there is something to take, at the earliest; infinity for never. */
  get nextAt(): number {
    this.build()
    return this.dues.next
  }

  override put(key: KeyText, value: Buffer): void {
    this.build()
    super.put(key, value)
    this.bucketAt(timeOf(value)).keys.push(key)
  }

  /** Takes out what is due, at most so many, in the order of their times; of one time, in the order they were put. */
  takeDue(now: number, most: number): { readonly at: number; readonly value: Buffer }[] {
    this.build()
    const due: { readonly at: number; readonly value: Buffer }[] = []
    for (let at = this.dues.next; at <= now && due.length < most; at = this.dues.next) {
      const bucket = this.buckets.get(at) as Bucket
      const key = bucket.keys[bucket.taken++]
      if (key === undefined) {
        this.dues.pop()
        this.buckets.delete(at)
        continue
      }
      this.popped.push({ at, key })
      const value = this.get(key)
      if (value === undefined || timeOf(value) !== at) continue
      this.delete(key)
      due.push({ at, value })
    }
    return due
  }

  override commit(): void {
    super.commit()
    this.popped = []
  }

  override rollback(): void {
    super.rollback()
    const again = new Map<number, KeyText[]>()
    for (const { at, key } of this.popped) {
      const keys = again.get(at)
      if (keys === undefined) again.set(at, [key])
      else keys.push(key)
    }
    this.popped = []
    for (const [at, keys] of again) {
      const bucket = this.bucketAt(at)
      bucket.keys = [...keys, ...bucket.keys.slice(bucket.taken)]
      bucket.taken = 0
    }
  }

  override load(key: Buffer, value: Buffer | null, version: number): void {
    // Not a part of the fetched batch, which would be kept with it.
    super.load(key, value === null ? null : Buffer.from(value), version)
    this.read = true
  }

  private build(): void {
    if (!this.read) return
    this.read = false
    this.dues.clear()
    this.buckets.clear()
    for (const [key, value] of this) this.bucketAt(timeOf(value)).keys.push(key)
  }

  private bucketAt(at: number): Bucket {
    let bucket = this.buckets.get(at)
    if (bucket === undefined) {
      this.buckets.set(at, (bucket = { keys: [], taken: 0 }))
      this.dues.push(at, at)
    }
    return bucket
  }
}

export function timeOf(value: Buffer): number {
  return readInt64(value, 0)
}

export function delayStore(name: string): StoreSpec<DelayStore> {
  return { name, kind: 'delay', version: 1, create: () => new DelayStore() }
}

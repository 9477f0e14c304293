import { readInt64, writeInt64 } from '../log/batch/header.js'
import { MillraceError } from '../record/error.js'
import type { ChangeWriter, StoreExtent, StoreSpec, TaskStore } from '../state/store.js'

/** Offsets that one entry of the changelog tells of, a bit each. */
const BLOCK = 8_192
const KEY_BYTES = 8

/** Which offsets of a partition were dealt with: one bit each, so that a redrive may leave out some and take them another time. */
export class RedrivenStore implements TaskStore {
  private readonly blocks = new Map<number, Uint8Array>()
  /** Added in the open transaction. */
  private added: number[] = []

  has(offset: number): boolean {
    const at = offset % BLOCK
    return (((this.blocks.get(Math.floor(offset / BLOCK))?.[at >> 3] ?? 0) >> (at & 7)) & 1) === 1
  }

  /** Whether it has one from `start` on and before `end`. */
  hasAny(start: number, end: number): boolean {
    for (let block = Math.floor(start / BLOCK); block * BLOCK < end; block++) {
      if (!this.blocks.has(block)) continue
      for (let offset = Math.max(start, block * BLOCK); offset < Math.min(end, (block + 1) * BLOCK); offset++)
        if (this.has(offset)) return true
    }
    return false
  }

  add(offset: number): void {
    if (this.has(offset)) return
    this.flip(offset)
    this.added.push(offset)
  }

  /** The highest offset in it; -1 if there is none. */
  get highest(): number {
    const last = Math.max(-1, ...[...this.blocks].filter(([, bits]) => bits.some((byte) => byte !== 0)).map(([block]) => block))
    for (let offset = (last + 1) * BLOCK - 1; offset >= 0; offset--) if (this.has(offset)) return offset
    return -1
  }

  get extent(): StoreExtent {
    return { keys: this.blocks.size, bytes: this.blocks.size * (KEY_BYTES + BLOCK / 8) }
  }

  get dirty(): boolean {
    return this.added.length > 0
  }

  changes(write: ChangeWriter): void {
    for (const block of new Set(this.added.map((offset) => Math.floor(offset / BLOCK)))) {
      const key = Buffer.alloc(KEY_BYTES)
      writeInt64(key, 0, block)
      const bits = this.blocks.get(block) as Uint8Array
      let end = bits.length
      while (end > 0 && bits[end - 1] === 0) end--
      write(key, Buffer.from(bits.subarray(0, end)))
    }
  }

  commit(): void {
    this.added = []
  }

  rollback(): void {
    for (const offset of this.added) this.flip(offset)
    this.added = []
  }

  load(key: Buffer, value: Buffer | null): void {
    if (key.length !== KEY_BYTES || (value !== null && value.length > BLOCK / 8))
      throw new MillraceError('CORRUPT_STATE', `expected ${KEY_BYTES} bytes of key and at most ${BLOCK / 8} of value`)
    const bits = new Uint8Array(BLOCK / 8)
    if (value !== null) bits.set(value)
    this.blocks.set(readInt64(key, 0), bits)
  }

  loaded(): void {}

  private flip(offset: number): void {
    const block = Math.floor(offset / BLOCK)
    const at = offset % BLOCK
    let bits = this.blocks.get(block)
    if (bits === undefined) this.blocks.set(block, (bits = new Uint8Array(BLOCK / 8)))
    bits[at >> 3] = (bits[at >> 3] as number) ^ (1 << (at & 7))
  }
}

export const REDRIVEN: StoreSpec<RedrivenStore> = {
  name: 'redriven',
  kind: 'redriven-bits',
  version: 1,
  inner: true,
  create: () => new RedrivenStore(),
}

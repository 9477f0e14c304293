const FIRST_SLOTS = 256
const NONE = -1

/**
 * Finds the row of an id: a hash table with open addressing over typed arrays. Of millions of ids it costs the collector nothing but their
 * texts, and a look-up and the insertion after it go the same way once; a Map of objects takes three times as long.
 */
export class IdIndex {
  /** By row. Empty text where there is none. */
  private readonly ids: string[] = []
  private hashes = new Int32Array(FIRST_SLOTS)
  private slots = new Int32Array(FIRST_SLOTS).fill(NONE)
  private mask = FIRST_SLOTS - 1
  private used = 0
  /** Of the id last looked for. */
  private hash = 0
  private slot = 0
  /** Nobody can choose ids that fall together. */
  private readonly seed = Math.floor(Math.random() * 0x7fff_ffff)

  /**
   * The row of an id, or -1; `put` then takes it without looking again. A hash may be given where there is one already: then always the
   * same.
   */
  find(id: string, hash = this.hashOf(id)): number {
    const { slots, ids, hashes, mask } = this
    let slot = hash & mask
    let row = slots[slot] as number
    while (row >= 0 && !(hashes[row] === hash && ids[row] === id)) {
      slot = (slot + 1) & mask
      row = slots[slot] as number
    }
    this.hash = hash
    this.slot = slot
    return row
  }

  /** Puts a row, in place of the one there is, under the id that `find` was called with last. */
  put(id: string, row: number): void {
    if (row >= this.hashes.length) {
      const larger = new Int32Array(Math.max(row + 1, this.hashes.length * 2))
      larger.set(this.hashes)
      this.hashes = larger
    }
    this.hashes[row] = this.hash
    // In order, so that the array has no holes.
    if (row === this.ids.length) this.ids.push(id)
    else this.ids[row] = id
    if ((this.slots[this.slot] as number) < 0) this.used++
    this.slots[this.slot] = row
    if (this.used * 2 > this.slots.length) this.grow()
  }

  idOf(row: number): string {
    return this.ids[row] as string
  }

  /** Takes an id away whose row `find` has just given. */
  remove(): void {
    const { slots, hashes, mask } = this
    let hole = this.slot
    // What was put further on for want of this slot moves up, or it would not be found.
    for (let at = (hole + 1) & mask; ; at = (at + 1) & mask) {
      const row = slots[at] as number
      if (row < 0) break
      const home = (hashes[row] as number) & mask
      if (((at - home) & mask) < ((at - hole) & mask)) continue
      slots[hole] = row
      hole = at
    }
    slots[hole] = NONE
    this.used--
  }

  /** Forgets the text of a row that stands under no id any more. */
  clear(row: number): void {
    this.ids[row] = ''
  }

  /** Forgets everything, and keeps the room that it took. */
  reset(): void {
    this.slots.fill(NONE)
    this.ids.length = 0
    this.used = 0
  }

  private grow(): void {
    const before = this.slots
    const mask = before.length * 2 - 1
    const slots = new Int32Array(before.length * 2).fill(NONE)
    for (const row of before) {
      if (row < 0) continue
      let slot = (this.hashes[row] as number) & mask
      while ((slots[slot] as number) >= 0) slot = (slot + 1) & mask
      slots[slot] = row
    }
    this.slots = slots
    this.mask = mask
  }

  private hashOf(id: string): number {
    let hash = this.seed
    for (let i = 0; i < id.length; i++) hash = Math.imul(hash ^ id.charCodeAt(i), 0x0100_0193)
    hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b_3c6d)
    return hash ^ (hash >>> 13)
  }
}

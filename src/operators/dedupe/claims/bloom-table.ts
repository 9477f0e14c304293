import { readInt64, writeInt64 } from '../../../log/batch/header.js'
import { MillraceError } from '../../../record/error.js'
import type { Origin } from '../../../record/origin.js'
import { IdFilter, hashId, idHash } from './bloom-filter.js'
import type { ChangeWriter, StoreExtent, StoreSpec, TaskStore } from '../../../state/store.js'

export interface BloomTableOptions {
  readonly withinMs: number
  /** How many ids a section holds before another filter is put beside its first. */
  readonly expected: number
  readonly errorRate: number
}

/** A stretch of time, as long as ids are remembered, and the filters of the ids that came in it. */
interface Section {
  readonly number: number
  readonly filters: IdFilter[]
  /** Records of the changelog that hold its ids. */
  readonly chunks: number[]
}

const KEY_BYTES = 8
const HASH_BYTES = 8
const CHUNK_BYTES = 48 * 1024
const META_KEY = Buffer.alloc(0)
const MAX_FILTER_IDS = 100_000_000

/**
 * Which ids a task has surely not seen within the time: a Bloom filter for the present stretch of time and one for the last.
 *
 * What goes into the filters is on the changelog, 8 bytes an id, in the transaction of its record: so whoever has the task next knows it
 * too. What was added by a transaction that did not commit stays: it makes a look-up more, and nothing wrong.
 *
 * Memory: about 1.2 bytes an id for an error rate of 1 %, for the ids of twice the time.
 */
export class BloomTable implements TaskStore {
  private sections: Section[] = []
  /** The last of them. */
  private current: Section | undefined
  /** Of all of them, the latest first: that is where an id is found. */
  private filters: IdFilter[] = []
  /** By topic, the highest offset seen: what stands before it was passed, dropped or given up. */
  private readonly heads = new Map<string, number>()
  private committedHeads = new Map<string, number>()
  /** What they were when the task came here. */
  private initialHeads: ReadonlyMap<string, number> = new Map<string, number>()
  private headOf = ''
  private head = -1
  /** High and low half of each hash, of the open transaction. */
  private fresh = new Uint32Array(1_024)
  private freshEnd = 0
  /** From where on in it they belong to which section. */
  private runs: { readonly section: number; readonly from: number }[] = []
  private run: Section | undefined
  private nextChunk = 0
  private writing: { readonly section: number; readonly chunk: number }[] = []
  private expired = new Set<number>()
  private readonly scratch = Buffer.allocUnsafe(CHUNK_BYTES + HASH_BYTES)
  private readonly key = Buffer.alloc(KEY_BYTES)

  constructor(private readonly options: BloomTableOptions) {}

  /** The section of a time. */
  sectionAt(now: number): number {
    return Math.floor(now / this.options.withinMs)
  }

  /** The sections there may be ids in that are remembered still, latest first. */
  get numbers(): readonly number[] {
    return this.sections.map(({ number }) => number).reverse()
  }

  /** The section that ids are added to. */
  get section(): number {
    return (this.current as Section).number
  }

  /** Goes on to a section; returns the one that is to be forgotten with it, if it is new. */
  turnTo(number: number): number | undefined {
    if (this.current !== undefined && this.current.number >= number) return undefined
    this.addSection(number)
    return number - 2
  }

  /** Notes that a record of the task was seen. */
  advance(topic: string, offset: number): void {
    if (topic !== this.headOf) {
      this.headOf = topic
      this.head = this.heads.get(topic) ?? -1
    }
    if (offset <= this.head) return
    this.head = offset
    this.heads.set(topic, offset)
  }

  /** Whether a transaction has committed that went past the record. */
  isPast({ topic, offset }: Origin): boolean {
    return offset <= (this.committedHeads.get(topic) ?? -1)
  }

  /** Whether that was before the task came here. */
  wasPast({ topic, offset }: Origin): boolean {
    return offset <= (this.initialHeads.get(topic) ?? -1)
  }

  /** False if the id is surely new; else it has to be looked for. `add` then takes it. */
  has(id: string): boolean {
    hashId(id)
    const { filters } = this
    for (let i = 0; i < filters.length; i++) if ((filters[i] as IdFilter).has()) return true
    return false
  }

  /** Adds the id that `has` was asked for last, or another. */
  add(id?: string): void {
    if (id !== undefined) hashId(id)
    const section = this.current as Section
    this.put(section)
    if (this.run !== section) {
      this.run = section
      this.runs.push({ section: section.number, from: this.freshEnd })
    }
    if (this.freshEnd === this.fresh.length) {
      const larger = new Uint32Array(this.freshEnd * 2)
      larger.set(this.fresh)
      this.fresh = larger
    }
    this.fresh[this.freshEnd++] = idHash.high
    this.fresh[this.freshEnd++] = idHash.low
  }

  /** Whether that was said of it. */
  told = false

  /** Whether more ids came than expected, which takes more memory. */
  get overfull(): boolean {
    return this.sections.some(({ filters }) => filters.length > 1)
  }

  get extent(): StoreExtent {
    const keys = this.filters.reduce((sum, { count }) => sum + count, 0)
    return { keys, bytes: keys * HASH_BYTES }
  }

  get dirty(): boolean {
    if (this.freshEnd > 0 || this.expired.size > 0) return true
    for (const [topic, offset] of this.heads) if (this.committedHeads.get(topic) !== offset) return true
    return false
  }

  /** A chunk: the number of its section, then hashes. */
  changes(write: ChangeWriter): void {
    const { fresh, runs, scratch } = this
    this.writing = []
    runs.forEach(({ section, from }, run) => {
      const end = runs[run + 1]?.from ?? this.freshEnd
      for (let at = from; at < end;) {
        writeInt64(scratch, 0, section)
        let pos = HASH_BYTES
        for (; at < end && pos < CHUNK_BYTES; at++) pos = scratch.writeUInt32BE(fresh[at] as number, pos)
        const chunk = this.nextChunk++
        this.writing.push({ section, chunk })
        write(this.keyOf(chunk), scratch.subarray(0, pos))
      }
    })
    for (const chunk of this.expired) write(this.keyOf(chunk), null)
    write(META_KEY, JSON.stringify([...this.heads]))
  }

  commit(): void {
    // Deleted from the changelog with this transaction.
    this.expired = new Set()
    for (const { section, chunk } of this.writing) {
      const found = this.sections.find(({ number }) => number === section)
      // Of a section that was over before it was committed: deleted with the next one.
      if (found === undefined) this.expired.add(chunk)
      else found.chunks.push(chunk)
    }
    this.committedHeads = new Map(this.heads)
    this.endTransaction()
  }

  rollback(): void {
    this.heads.clear()
    for (const [topic, offset] of this.committedHeads) this.heads.set(topic, offset)
    this.headOf = ''
    this.nextChunk -= this.writing.length
    this.endTransaction()
  }

  load(key: Buffer, value: Buffer | null): void {
    if (key.length === 0) {
      if (value === null) return
      this.committedHeads = new Map(JSON.parse(value.toString('utf8')) as [string, number][])
      for (const [topic, offset] of this.committedHeads) this.heads.set(topic, offset)
      return
    }
    if (key.length !== KEY_BYTES || (value !== null && value.length % HASH_BYTES !== 0))
      throw new MillraceError('CORRUPT_STATE', `a chunk of hashes with a key of ${key.length} bytes and a value of ${value?.length ?? 0}`)
    const chunk = readInt64(key, 0)
    if (chunk >= this.nextChunk) this.nextChunk = chunk + 1
    if (value === null) {
      this.expired.delete(chunk)
      return
    }
    const number = readInt64(value, 0)
    // One that is over: to be deleted with the next transaction, unless that is what comes next.
    if (this.current !== undefined && number < this.current.number - 1) {
      this.expired.add(chunk)
      return
    }
    const section = this.sections.find((one) => one.number === number) ?? this.addSection(number)
    section.chunks.push(chunk)
    for (let pos = HASH_BYTES; pos < value.length; pos += HASH_BYTES) {
      idHash.high = value.readUInt32BE(pos)
      idHash.low = value.readUInt32BE(pos + 4)
      this.put(section)
    }
  }

  loaded(): void {
    this.initialHeads = this.committedHeads
  }

  private setSections(sections: Section[]): void {
    this.sections = sections
    this.current = sections.at(-1)
    this.filters = sections.flatMap(({ filters }) => filters).reverse()
  }

  private put({ filters }: Section): void {
    let filter = filters[filters.length - 1] as IdFilter
    if (filter.count >= filter.expected) {
      // Twice as large, so that their number does not go with that of the ids: each id is looked for in all of them.
      filters.push((filter = new IdFilter(Math.min(2 * filter.expected, MAX_FILTER_IDS), this.options.errorRate)))
      this.setSections(this.sections)
    }
    filter.add()
  }

  /** Sections before the last but one are over with it. */
  private addSection(number: number): Section {
    const { expected, errorRate } = this.options
    const section: Section = { number, filters: [new IdFilter(Math.min(expected, MAX_FILTER_IDS), errorRate)], chunks: [] }
    const all = [...this.sections, section].sort((a, b) => a.number - b.number)
    const latest = (all.at(-1) as Section).number
    this.setSections(all.filter((one) => one.number >= latest - 1))
    for (const { number: old, chunks } of all) if (old < latest - 1) for (const chunk of chunks) this.expired.add(chunk)
    return section
  }

  private endTransaction(): void {
    this.freshEnd = 0
    this.runs = []
    this.run = undefined
    this.writing = []
  }

  private keyOf(chunk: number): Buffer {
    writeInt64(this.key, 0, chunk)
    return this.key
  }
}

export function bloomTable(name: string, options: BloomTableOptions): StoreSpec<BloomTable> {
  return { name, kind: 'dedupe/bloom', version: 1, create: () => new BloomTable(options) }
}

import { originText } from '../../record/origin.js'
import { detoursText, parseDetours, type Detours } from './detours.js'
import { OffsetRanges } from './offset-ranges.js'
import type { Place, StoredRow } from './port.js'

/** What is known of one topic of a task: its row, and what the open transaction did. */
export class TopicMarks {
  position!: number
  private epoch!: number
  /** From here on `gaps` are known; before it, all is done. */
  private base!: number
  private gaps!: OffsetRanges
  private detours!: Detours
  /** Offsets written in the open transaction, and those that count as written. */
  private readonly written: number[] = []
  /** The ids of those of them that came out of a retry topic. */
  private readonly ids = new Map<number, string>()
  /** Written before, and come again in this transaction. */
  private readonly met = new Set<number>()
  private readonly paid = new Set<string>()
  private next: StoredRow | undefined

  constructor(
    private readonly place: Place,
    row: StoredRow,
    /** What the log has. */
    public committed: number,
  ) {
    this.install(row)
  }

  /** Whether what lies there is written already, or counts as done. */
  isDone(offset: number): boolean {
    if (offset >= this.position || this.gaps.has(offset)) return false
    if (offset >= this.base) this.met.add(offset)
    return true
  }

  /** It is written now. `id`: of one that came out of a retry topic. */
  add(offset: number, id: string | undefined): void {
    this.written.push(offset)
    if (id !== undefined) this.ids.set(offset, id)
  }

  get owes(): boolean {
    return this.detours.owed.size > 0
  }

  /** Takes a record off those that are owed; false if it is none of them. */
  pays(id: string): boolean {
    const since = this.detours.owed.get(id)
    if (since === undefined || since > this.committed) return false
    this.paid.add(id)
    return true
  }

  /** The row as the open transaction leaves it. */
  change(position: number): StoredRow {
    const base = Math.max(this.base, this.committed)
    const until = Math.max(this.position, position)
    const gaps = this.gaps
      .from(base)
      .minus(this.written)
      .followedBy(OffsetRanges.without(this.written, Math.max(this.position, base), until))
    const ids = new Map([...this.detours.ids, ...this.ids].filter(([offset]) => offset >= base))
    // Those of a transaction that the log does not have are found among the diverted again.
    const owed = new Map([...this.detours.owed].filter(([id, since]) => since <= this.committed && !this.paid.has(id)))
    if (base < this.position) {
      for (const offset of this.gaps.outside(base, Math.min(position, this.position)))
        if (!this.met.has(offset)) owed.set(this.detours.ids.get(offset) ?? originText({ ...this.place, offset }), position)
    }
    this.next = { position: until, epoch: this.epoch, gaps: gapsText(base, gaps), owed: detoursText({ owed, ids }) }
    return this.next
  }

  /** What was changed is there. */
  commit(): void {
    if (this.next !== undefined) this.install(this.next)
    this.reset()
  }

  reset(): void {
    this.written.length = 0
    this.ids.clear()
    this.met.clear()
    this.paid.clear()
    this.next = undefined
  }

  private install(row: StoredRow): void {
    this.position = row.position
    this.epoch = row.epoch
    const { base, ranges } = parseGaps(row.gaps)
    this.base = base
    this.gaps = ranges
    this.detours = parseDetours(row.owed)
  }
}

function gapsText(base: number, gaps: OffsetRanges): string {
  return gaps.isEmpty ? String(base) : `${base}:${gaps.toString()}`
}

function parseGaps(text: string): { readonly base: number; readonly ranges: OffsetRanges } {
  const colon = text.indexOf(':')
  if (colon < 0) return { base: Number(text), ranges: OffsetRanges.none }
  return { base: Number(text.slice(0, colon)), ranges: OffsetRanges.parse(text.slice(colon + 1)) }
}

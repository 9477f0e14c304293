import type { LogRecord, RawRecord } from '../../record/record.js'
import { json } from '../../record/serde.js'
import { keptKeyOf, type KeyText } from '../../state/key.js'
import { memoryStore, type MemoryStore } from '../../state/memory-store.js'
import type { StoreSpec } from '../../state/store.js'
import type { Gate } from '../../runtime/context.js'
import { doneUpTo, type Line } from './line.js'
import type { LostNotice, VainWaits } from './vain-waits.js'

/** What a slice knows of a key beyond what is stored. */
interface Passage {
  /** The first that goes to a retry topic; -1 for none. What is behind it waits. */
  left: number
  /** Those that went to a retry topic, by themselves or behind another, rising. */
  readonly out: number[]
  /** A record that failed and is on its way to the retry topic; -1 for none. */
  failing: number
}

export function orderStore(name: string): StoreSpec<MemoryStore<Line>> {
  return memoryStore<Line>({ name, kind: 'retry-order', version: 1, serde: json<Line>(), timed: false })
}

/**
 * Lets the records of a key through one behind the other, also where some of them are in retry topics: each of those knows the offset of
 * the one before it, and goes in when that is done.
 *
 * Keys are those the records were read with, apart for each topic; records without one have no order. Memory: one entry for each key
 * that has records in retry topics, however many.
 */
export class RetryOrder implements Gate {
  private readonly passages = new Map<KeyText, Passage>()
  /** The last record of each key that went in. */
  private readonly entered = new Map<KeyText, number>()

  constructor(
    private readonly store: MemoryStore<Line>,
    /** Writes a record to where the first one of its key waits. */
    private readonly park: (record: RawRecord, behind: number, line: Line) => void,
    private readonly vain: VainWaits,
    private readonly lost: Pick<LostNotice, 'add'>,
  ) {}

  admits(given: RawRecord): boolean {
    const record = given as LogRecord<unknown, unknown>
    const key = keyOf(record)
    if (key === undefined) return true
    const line = this.store.get(key)
    const { offset } = record
    const entered = this.entered.get(key) ?? -1
    if (line !== undefined) {
      const passage = this.passageOf(key)
      const behind = before(record, line)
      const { left } = passage
      const waits = left >= 0 && left < offset
      const hasOneBefore = behind > Math.max(line.done, entered)
      // One that went in after the one that left may be on its way still: this one follows, and is put aside behind it.
      const follows = waits && entered <= left
      if (hasOneBefore && !follows && this.vain.isVain(key, line, record)) this.goOnWithout(key, line, behind, record)
      else if (hasOneBefore || follows) {
        // What went in with this slice is done by now, or went out again.
        const last = lastBefore(offset, passage)
        this.parkBehind(record, key, line, behind > entered ? Math.max(behind, last) : last)
        return false
      }
    }
    this.entered.set(key, offset)
    return true
  }

  leftOut(raw: RawRecord): void {
    const record = raw as LogRecord<unknown, unknown>
    const key = keyOf(record)
    if (key === undefined || this.store.get(key) === undefined) return
    this.passageOf(key)
    this.entered.set(key, record.offset)
  }

  failing(record: LogRecord<unknown, unknown>): void {
    const key = keyOf(record)
    if (key === undefined) return
    const passage = this.passageOf(key)
    if (passage.failing < 0) passage.failing = record.offset
  }

  holds(record: LogRecord<unknown, unknown>): boolean {
    const key = keyOf(record)
    if (key === undefined) return false
    const failing = this.passages.get(key)?.failing ?? -1
    return this.waits(record, key) || (failing >= 0 && failing < record.offset)
  }

  /** A record that failed came to the retry topic: true if it goes there only because of one before it. */
  parks(raw: RawRecord): boolean {
    const record = raw as LogRecord<unknown, unknown>
    const key = keyOf(record)
    if (key === undefined) return false
    if (!this.waits(record, key)) return false
    // It had gone in: those between it and the last that went out are done, or were dropped on the way, and do not come again.
    this.parkBehind(record, key, this.store.get(key) as Line, lastBefore(record.offset, this.passages.get(key)))
    return true
  }

  /** A record goes to a retry topic, by itself: what comes behind it waits. */
  leaves(raw: RawRecord, tier: number, due: number): void {
    const record = raw as LogRecord<unknown, unknown>
    const key = keyOf(record)
    if (key === undefined) return
    const { offset } = record
    const passage = this.passageOf(key)
    passage.left = offset
    insert(passage.out, offset)
    passage.failing = -1
    const line = this.store.get(key) ?? { done: offset - 1, tail: -1 }
    this.store.put(key, { ...line, tail: Math.max(line.tail, offset), tier, due })
  }

  /** A record that failed is done with: it passes on. */
  passes(raw: RawRecord): void {
    const key = keyOf(raw as LogRecord<unknown, unknown>)
    const passage = key === undefined ? undefined : this.passages.get(key)
    if (passage !== undefined) passage.failing = -1
  }

  /** All that went in is done or has left. */
  complete(): void {
    for (const [key, passage] of this.passages) {
      const { left } = passage
      const entered = this.entered.get(key) ?? -1
      const line = this.store.get(key)
      if (line === undefined) continue
      const last = lastBefore(entered + 1, passage)
      const dropped = last >= 0 && last < entered ? ([last, entered] as const) : line.dropped
      const next = doneUpTo(line, Math.max(line.done, left >= 0 ? left - 1 : entered), dropped)
      if (next.done >= line.tail) {
        this.store.delete(key)
        this.vain.forget(key)
      } else if (next.done !== line.done || dropped !== line.dropped) this.store.put(key, next)
    }
  }

  private goOnWithout(key: KeyText, line: Line, upTo: number, record: LogRecord<unknown, unknown>): void {
    this.store.put(key, doneUpTo(line, upTo, line.dropped))
    this.lost.add(record as RawRecord, line.done, upTo)
  }

  private waits({ offset }: LogRecord<unknown, unknown>, key: KeyText): boolean {
    const left = this.passages.get(key)?.left ?? -1
    return left >= 0 && left < offset
  }

  private parkBehind(record: LogRecord<unknown, unknown>, key: KeyText, line: Line, behind: number): void {
    insert(this.passageOf(key).out, record.offset)
    if (record.offset > line.tail) this.store.put(key, { ...line, tail: record.offset })
    this.park(record as LogRecord<Buffer | null, Buffer | null>, behind, line)
  }

  private passageOf(key: KeyText): Passage {
    let passage = this.passages.get(key)
    if (passage === undefined) this.passages.set(key, (passage = { left: -1, out: [], failing: -1 }))
    return passage
  }
}

/** Nearly always at the end: records of a key come in their order. */
function insert(rising: number[], offset: number): void {
  let at = rising.length
  while (at > 0 && (rising[at - 1] as number) > offset) at--
  rising.splice(at, 0, offset)
}

/** The last of those that went out before an offset; -1 for none. */
function lastBefore(offset: number, passage: Passage | undefined): number {
  return passage?.out.findLast((one) => one < offset) ?? -1
}

/** The record in a retry topic that this one has to wait for. */
function before({ source }: LogRecord<unknown, unknown>, { tail, dropped }: Line): number {
  const behind = source.retries?.behind ?? tail
  return dropped !== undefined && behind > dropped[0] && behind <= dropped[1] ? dropped[0] : behind
}

/** The topic is part of it: offsets of two topics have no order. Topic names hold no slash. */
function keyOf(record: LogRecord<unknown, unknown>): KeyText | undefined {
  const key = keptKeyOf(record)
  return key === undefined ? undefined : `${record.source.topic}/${key}`
}

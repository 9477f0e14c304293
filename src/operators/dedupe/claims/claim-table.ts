import { readInt64 } from '../../../log/batch/header.js'
import { MillraceError } from '../../../record/error.js'
import type { Clock } from '../../../record/clock.js'
import type { Lineage } from '../../../record/lineage.js'
import { sameOrigin, type Origin } from '../../../record/origin.js'
import type { ChangeWriter, StoreExtent, StoreSpec, TaskStore } from '../../../state/store.js'
import { readChunk } from './chunk-codec.js'
import { placeOf, type Claimant } from './claimant.js'
import { ClaimChunks, KEY_BYTES } from './claim-chunks.js'
import { ClaimRows, FRESH, PAST, SEALED } from './claim-rows.js'
import { ClaimUndo } from './claim-undo.js'
import { IdIndex } from './id-index.js'
import type { ProcessedId } from './processed.js'
import { Chunk, SourceTime } from './source-time.js'

/** How far an input partition had come; the clock is not there where an earlier release wrote it. */
type SavedTime = readonly [topic: string, partition: number, time: number, offset: number, clock?: number | null]

export interface ClaimTableOptions {
  readonly withinMs: number
  /** Beyond it the oldest claims go before their time. */
  readonly maxIds: number
}

const NONE = -1
const META_KEY = Buffer.alloc(0)

/**
 * The ids of one task and who came first with each.
 *
 * Time is, for each input partition, the highest timestamp seen in it. A record without one, or ahead of the clock, says nothing of it:
 * then it goes on as the clock does, so that one wrong record ends no claims, and a partition without times has one all the same. A claim
 * is made at that time and lives until it has gone on by `within`. So a re-run over old records finds what the first run found, memory is
 * bounded by the ids of that span, and late records are compared like others. Claims never change but for their counts, so the changelog
 * holds them many to a record (`ClaimChunks`).
 *
 * Memory: about 120 bytes an id beside its text, of as many as there were at most.
 */
export class ClaimTable implements TaskStore {
  private readonly index = new IdIndex()
  private readonly rows = new ClaimRows()
  private readonly results = new Map<number, string>()
  private readonly sources: SourceTime[] = []
  private current: SourceTime | undefined
  private currentFor: Claimant['source'] | undefined
  private tx = 1
  private live = 0
  /** Of the open transaction, and of the one that goes to the log. */
  private undo = new ClaimUndo()
  private sealed: ClaimUndo | undefined
  /** Claims went that the open transaction had amended. */
  private hasForgotten = false
  private readonly chunks: ClaimChunks
  private clock: Clock | undefined
  private now = Number.NEGATIVE_INFINITY

  constructor(private readonly options: ClaimTableOptions) {
    this.chunks = new ClaimChunks(this.rows, this.index, this.results, options, (row) => {
      this.unlink(row)
      this.live--
      if (this.undo.amended.delete(row)) this.hasForgotten = true
    })
  }

  /** How many claims went before their time, for want of room, since this was asked last. */
  takeEvicted(): number {
    const { evicted } = this.chunks
    this.chunks.evicted = 0
    return evicted
  }

  /** For records that say no time that can be: see `advance`. */
  useClock(clock: Clock): void {
    this.clock = clock
  }

  /** Claims the id for the record; -1 if it may pass, else the claim whose duplicate it is: see `originOf` and `timeOf`. */
  take(id: string, record: Claimant): number {
    const { rows, index } = this
    const from = record.source === this.currentFor ? (this.current as SourceTime) : this.turnTo(record.source)
    // Nothing that was made in its place can be known of what comes on.
    const comesOn = record.offset > from.offset && record.lineage === undefined
    const time = this.advance(record, from)
    const { lineage } = record
    const offset = placeOf(record, lineage)
    const found = index.find(id)
    if (found >= 0) {
      const own = offset < 0 || comesOn ? NONE : this.claimAt(id, found, from, offset, lineage)
      if (own >= 0) {
        if (rows.seen[own] === this.tx) return this.count(own)
        rows.seen[own] = this.tx
        return NONE
      }
      const earlier = this.earlierThan(id, found, time)
      if (earlier >= 0) return this.count(earlier)
    }
    // A record from a retry topic may be older than any claim is kept.
    if (time + this.options.withinMs <= from.time) return NONE
    const row = rows.add(from.index, offset, time, this.tx, found)
    index.put(id, row)
    from.fresh.push(row)
    return NONE
  }

  originOf(row: number): Origin {
    const { topic, partition } = this.sourceOf(row)
    return { topic, partition, offset: this.rows.offset[row] as number }
  }

  /** When a claim was made, in the time of its input partition. */
  timeOf(row: number): number {
    return this.rows.time[row] as number
  }

  /** Stores a result with the claim that the record made, or with the newest on the id. False if there is none. */
  keepResult(id: string, record: Claimant, result: string): boolean {
    const newest = this.index.find(id)
    if (newest < 0) return false
    const { source, lineage } = record
    const own = this.claimAt(id, newest, this.sourceTime(source.topic, source.partition), placeOf(record, lineage), lineage)
    const row = own < 0 ? newest : own
    this.amend(row)
    this.results.set(row, result)
    return true
  }

  /** What the last commit knows of an id. */
  find(id: string): ProcessedId | undefined {
    const { rows } = this
    let row = this.index.find(id)
    while (row >= 0 && (rows.chunk[row] as number) < 0) row = rows.older[row] as number
    if (row < 0) return undefined
    const { withinMs } = this.options
    const at = this.timeOf(row)
    if (at + withinMs <= this.sourceOf(row).committedTime) return undefined
    const { duplicates, result } = this.sealed?.amended.get(row) ??
      this.undo.amended.get(row) ?? {
        duplicates: rows.duplicates[row] as number,
        result: this.results.get(row),
      }
    return { id, state: 'passed', origin: this.originOf(row), at, until: at + withinMs, duplicates, result }
  }

  /** Number of claims as of the last commit, those that are over but not yet swept included. */
  get size(): number {
    return this.live
  }

  get extent(): StoreExtent {
    return { keys: this.live, bytes: this.chunks.bytes }
  }

  get dirty(): boolean {
    return this.sources.some((source) => source.moved || source.fresh.length > 0 || source.amended.length > 0)
  }

  changes(write: ChangeWriter): void {
    if (this.hasForgotten) for (const source of this.sources) source.amended = source.amended.filter((row) => this.undo.amended.has(row))
    this.hasForgotten = false
    this.chunks.changes(this.sources, this.live + this.freshCount, write)
    if (this.sources.some((source) => source.moved)) {
      write(
        META_KEY,
        JSON.stringify(
          this.sources
            .filter(({ offset, time }) => offset >= 0 || time > 0)
            .map(({ topic, partition, time, offset, clock }) => [topic, partition, time, offset, clock]),
        ),
      )
    }
  }

  seal(): void {
    const { rows, sources } = this
    for (const source of sources) {
      for (const row of source.fresh) if (rows.chunk[row] === FRESH) rows.chunk[row] = SEALED
      source.seal()
    }
    this.sealed = this.undo
    this.nextTransaction()
  }

  commit(): void {
    if (this.sealed === undefined) this.seal()
    const { pastCount, past } = this.sealed as ClaimUndo
    this.live += this.sources.reduce((count, { sealed }) => count + sealed.length, -pastCount)
    this.chunks.commit(this.sources)
    for (const rows of past.values()) for (const row of rows) this.release(row)
    for (const source of this.sources) source.commit()
    this.sealed = undefined
  }

  rollback(): void {
    const { sources } = this
    this.undo.takeBack(this.rows, this.results)
    for (const { fresh } of sources) this.unclaim(fresh)
    this.sealed?.takeBack(this.rows, this.results)
    for (const source of sources) {
      this.unclaim(source.sealed)
      source.rollback()
    }
    this.chunks.rollback(sources)
    this.sealed = undefined
    this.nextTransaction()
  }

  load(key: Buffer, value: Buffer | null): void {
    if (key.length === 0) {
      if (value !== null) this.loadTimes(JSON.parse(value.toString('utf8')) as SavedTime[])
      return
    }
    if (key.length !== KEY_BYTES) throw new MillraceError('CORRUPT_STATE', `a key of ${key.length} bytes, where claims have ${KEY_BYTES}`)
    const number = readInt64(key, 0)
    this.chunks.clear(number)
    if (value !== null) this.loadChunk(number, value)
  }

  loaded(): void {
    this.chunks.loaded()
  }

  private get freshCount(): number {
    return this.sources.reduce((count, { fresh }) => count + fresh.length, -this.undo.pastCount)
  }

  /** Of the claims from `newest` on, the one that the record at this offset made, or made where it was first read. */
  private claimAt(id: string, newest: number, from: SourceTime, offset: number, lineage: Lineage | undefined): number {
    const { rows } = this
    const isOwn = (row: number): boolean =>
      (rows.offset[row] === offset && rows.source[row] === from.index) ||
      (lineage !== undefined && sameOrigin(this.originOf(row), lineage.first))
    for (let row = newest; row >= 0; row = rows.older[row] as number) if (isOwn(row)) return row
    return this.undo.past.get(id)?.findLast(isOwn) ?? NONE
  }

  /** The claim whose duplicate a record of this time is, of those from `newest` on. */
  private earlierThan(id: string, newest: number, time: number): number {
    const { rows } = this
    const { withinMs } = this.options
    let after = NONE
    for (let row = newest; row >= 0; row = rows.older[row] as number) {
      const at = rows.time[row] as number
      const isOver = at + withinMs <= this.sourceOf(row).time
      if (!isOver && Math.abs(time - at) < withinMs) return row
      // One that was made in this transaction and is over is of no more use, and would be walked by all that come: an id may repeat any
      // number of times in it.
      if (isOver && after >= 0 && rows.chunk[row] === FRESH) this.setAside(id, row, after)
      else after = row
    }
    return NONE
  }

  private setAside(id: string, row: number, after: number): void {
    const { rows } = this
    rows.older[after] = rows.older[row] as number
    rows.chunk[row] = PAST
    this.undo.setAside(id, row)
  }

  private sourceOf(row: number): SourceTime {
    return this.sources[this.rows.source[row] as number] as SourceTime
  }

  /** Moves the time of the record's partition on; returns the time at which its claim is made. */
  private advance(record: Claimant, from: SourceTime): number {
    let time = record.timestamp
    if (time > this.now || time < 0) {
      this.now = this.clock?.now() ?? Number.POSITIVE_INFINITY
      if (time > this.now || time < 0) time = this.timeBy(from)
    }
    const { offset } = record
    // What comes again through a retry topic is compared at its own time.
    if (offset >= 0 && offset < from.offset) return time < from.time ? time : from.time
    if (offset > from.offset) from.offset = offset
    if (time > from.time) {
      from.time = time
      from.clock = this.now
    }
    return from.time
  }

  /** How far a partition has come whose record does not tell: as much further as the clock is. */
  private timeBy(from: SourceTime): number {
    const { now } = this
    if (from.time === Number.NEGATIVE_INFINITY) return now
    return from.clock === Number.NEGATIVE_INFINITY ? from.time : Math.min(now, from.time + Math.max(0, now - from.clock))
  }

  private turnTo(source: Claimant['source']): SourceTime {
    this.currentFor = source
    return (this.current = this.sourceTime(source.topic, source.partition))
  }

  private sourceTime(topic: string, partition: number): SourceTime {
    let found = this.sources.find((source) => source.topic === topic && source.partition === partition)
    if (found === undefined) this.sources.push((found = new SourceTime(this.sources.length, topic, partition)))
    return found
  }

  private count(row: number): number {
    this.amend(row)
    this.rows.duplicates[row] = (this.rows.duplicates[row] as number) + 1
    return row
  }

  private amend(row: number): void {
    const { rows } = this
    const chunk = rows.chunk[row]
    // Claims of the open transaction are written, or dropped, as a whole.
    if (chunk === FRESH || chunk === PAST || rows.changed[row] === this.tx) return
    rows.changed[row] = this.tx
    this.sourceOf(row).amended.push(row)
    this.undo.amended.set(row, { duplicates: rows.duplicates[row] as number, result: this.results.get(row) })
  }

  private unlink(row: number): void {
    const { rows, index } = this
    const id = index.idOf(row)
    const newest = index.find(id)
    const older = rows.older[row] as number
    if (newest !== row) {
      let at = newest
      while (rows.older[at] !== row) at = rows.older[at] as number
      rows.older[at] = older
    } else if (older >= 0) index.put(id, older)
    else index.remove()
    this.release(row)
  }

  private unclaim(claims: readonly number[]): void {
    for (let i = claims.length - 1; i >= 0; i--) {
      const row = claims[i] as number
      if (this.rows.chunk[row] === PAST) this.release(row)
      else this.unlink(row)
    }
  }

  private release(row: number): void {
    this.index.clear(row)
    this.results.delete(row)
    this.rows.release(row)
  }

  private nextTransaction(): void {
    this.undo = new ClaimUndo()
    this.hasForgotten = false
    this.tx++
    if (this.clock !== undefined) this.now = this.clock.now()
  }

  private loadTimes(times: readonly SavedTime[]): void {
    for (const [topic, partition, time, offset, clock] of times) {
      this.sourceTime(topic, partition).load({ time, offset, clock: clock ?? Number.NEGATIVE_INFINITY })
    }
  }

  private loadChunk(number: number, value: Buffer): void {
    const claims: number[] = []
    let chunk: Chunk | undefined
    readChunk(
      value,
      (topic, partition) => (chunk = new Chunk(number, this.sourceTime(topic, partition), Number.NEGATIVE_INFINITY, value.length)),
      (id, offset, time, duplicates, result) => {
        const read = chunk as Chunk
        const row = this.loadClaim(id, read.from, offset, time)
        this.rows.duplicates[row] = duplicates
        if (result === undefined) this.results.delete(row)
        else this.results.set(row, result)
        claims.push(row)
        if (time > read.newest) read.newest = time
      },
    )
    this.chunks.hold(Object.assign(chunk as unknown as Chunk, { claims }))
  }

  /** The claim as loaded before, if this is its amendment. */
  private loadClaim(id: string, source: SourceTime, offset: number, time: number): number {
    const { rows } = this
    const newest = this.index.find(id)
    for (let row = newest; row >= 0; row = rows.older[row] as number) {
      if (rows.source[row] === source.index && rows.offset[row] === offset && rows.time[row] === time) return row
    }
    const row = rows.add(source.index, offset, time, 0, newest)
    this.index.put(id, row)
    this.live++
    return row
  }
}

/** The spec of a task's claims. */
export function claimTable(name: string, options: ClaimTableOptions): StoreSpec<ClaimTable> {
  return { name, kind: 'dedupe', version: 1, create: () => new ClaimTable(options) }
}

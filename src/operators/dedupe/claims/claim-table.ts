import { readInt64, writeInt64 } from '../../../log/batch/header.js'
import { MillraceError } from '../../../record/error.js'
import type { Clock } from '../../../record/clock.js'
import { placeInPartition, type Lineage } from '../../../record/lineage.js'
import { sameOrigin, type Origin } from '../../../record/origin.js'
import { cursor, readVarint, readVarlong, writeVarint, writeVarlong } from '../../../record/varint.js'
import type { ProcessedId } from './processed.js'
import { IdIndex } from './id-index.js'
import type { ChangeWriter, StoreSpec, TaskStore } from '../../../state/store.js'

/** What a table needs of a record: a LogRecord has it. */
export interface Claimant {
  readonly source: { readonly topic: string; readonly partition: number }
  /** Negative for a record that was not read from a log: such a one is never the same as another. */
  readonly offset: number
  readonly timestamp: number
  /** Of one that was sent back from a dead-letter topic: its claim is that of the record it was. */
  readonly lineage?: Lineage | undefined
}

/** The time of one input partition: that of its newest record, so that a backlog and a live topic each go by their own. */
class SourceTime {
  time = Number.NEGATIVE_INFINITY
  /** The highest offset seen. */
  offset = -1
  /** What the clock said when the time was set last, or earlier. */
  clock = Number.NEGATIVE_INFINITY
  committedTime = Number.NEGATIVE_INFINITY
  committedOffset = -1
  committedClock = Number.NEGATIVE_INFINITY
  /** What was written, oldest first. */
  readonly chunks = new Map<number, Chunk>()
  /** Claims of the open transaction, in order. */
  fresh: number[] = []
  /** Written before, and changed in it. */
  amended: number[] = []

  constructor(
    readonly index: number,
    readonly topic: string,
    readonly partition: number,
  ) {}

  get moved(): boolean {
    return this.time !== this.committedTime || this.offset !== this.committedOffset
  }
}

/** How far an input partition had come; the clock is not there where an earlier release wrote it. */
type SavedTime = readonly [topic: string, partition: number, time: number, offset: number, clock?: number | null]

/** The claims of one record of the changelog: they are dropped together. */
class Chunk {
  claims: ArrayLike<number>
  constructor(
    readonly number: number,
    readonly from: SourceTime,
    /** The newest of them. */
    public newest: number,
    claims: number[],
  ) {
    this.claims = claims
  }
}

/** What is known of each claim, in columns: an object each would cost three times the memory, and the collector's time. */
class Rows {
  source = new Int32Array(FIRST_ROWS)
  offset = new Float64Array(FIRST_ROWS)
  time = new Float64Array(FIRST_ROWS)
  /** The transaction in which its record was last seen: the same again in it is a copy that user code made. */
  seen = new Int32Array(FIRST_ROWS)
  /** The transaction in which it was last amended. */
  changed = new Int32Array(FIRST_ROWS)
  duplicates = new Int32Array(FIRST_ROWS)
  /** Number of the chunk it was last written in; -1 until its transaction commits. */
  chunk = new Float64Array(FIRST_ROWS)
  /** Another claim on the id, further away than `within` in time, or of a topic that is elsewhere in time; -1 for none. */
  older = new Int32Array(FIRST_ROWS)
  private readonly free: number[] = []
  private used = 0

  add(source: number, offset: number, time: number, seen: number, older: number): number {
    const row = this.free.pop() ?? this.used++
    if (row >= this.source.length) this.grow()
    this.source[row] = source
    this.offset[row] = offset
    this.time[row] = time
    this.seen[row] = seen
    this.changed[row] = 0
    this.duplicates[row] = 0
    this.chunk[row] = FRESH
    this.older[row] = older
    return row
  }

  release(row: number): void {
    this.free.push(row)
  }

  private grow(): void {
    this.source = larger(this.source)
    this.offset = larger(this.offset)
    this.time = larger(this.time)
    this.seen = larger(this.seen)
    this.changed = larger(this.changed)
    this.duplicates = larger(this.duplicates)
    this.chunk = larger(this.chunk)
    this.older = larger(this.older)
  }
}

function larger<T extends Int32Array | Float64Array>(column: T): T {
  const twice = new (column.constructor as new (length: number) => T)(column.length * 2)
  twice.set(column)
  return twice
}

export interface ClaimTableOptions {
  readonly withinMs: number
  /** Beyond it the oldest claims go before their time. */
  readonly maxIds: number
}

const FIRST_ROWS = 256
const NONE = -1
const FRESH = -1
/** A record of the changelog is closed at this size. */
const CHUNK_BYTES = 48 * 1024
const META_KEY = Buffer.alloc(0)
const KEY_BYTES = 8

/**
 * The ids of one task and who came first with each.
 *
 * Time is, for each input partition, the highest timestamp seen in it. A record without one, or ahead of the clock, says nothing of it: then it goes on as the clock does, so that
 * one wrong record ends no claims, and a partition without times has one all the same. A claim is made at that time and lives until it has gone on by `within`. So a re-run over old records finds what the first run found, memory is bounded by the ids of that span, and late records are
 * compared like others. Claims never change but for their counts, so the changelog holds them many to a record, in the order they were made; such a
 * record is deleted when all in it are over.
 *
 * Memory: about 120 bytes an id beside its text, of as many as there were at most.
 */
export class ClaimTable implements TaskStore {
  private readonly index = new IdIndex()
  private readonly rows = new Rows()
  private readonly results = new Map<number, string>()
  private readonly sources: SourceTime[] = []
  private current: SourceTime | undefined
  private currentFor: Claimant['source'] | undefined
  private tx = 1
  private nextChunk = 0
  private live = 0
  private writing: Chunk[] = []
  private expiring: Chunk[] = []
  /** Of the amended claims of all sources, what they were. */
  private undo: { readonly row: number; readonly duplicates: number; readonly result: string | undefined }[] = []
  private clock: Clock | undefined
  private now = Number.NEGATIVE_INFINITY
  private scratch = Buffer.allocUnsafe(CHUNK_BYTES + 4096)
  private readonly key = Buffer.alloc(KEY_BYTES)
  /** How many claims went before their time, for want of room. */
  evicted = 0

  constructor(private readonly options: ClaimTableOptions) {}

  /** For records that say no time that can be: see `advance`. */
  useClock(clock: Clock): void {
    this.clock = clock
  }

  /** Claims the id for the record; -1 if it may pass, else the claim whose duplicate it is: see `originOf` and `timeOf`. */
  take(id: string, record: Claimant): number {
    const { rows, index } = this
    const from = record.source === this.currentFor ? (this.current as SourceTime) : this.turnTo(record.source)
    const time = this.advance(record, from)
    const { lineage } = record
    const offset = placeOf(record, lineage)
    const found = index.find(id)
    if (found >= 0) {
      const own = offset < 0 ? NONE : this.claimAt(found, from, offset, lineage)
      if (own >= 0) {
        if (rows.seen[own] === this.tx) return this.count(own)
        rows.seen[own] = this.tx
        return NONE
      }
      const { withinMs } = this.options
      for (let row = found; row >= 0; row = rows.older[row] as number) {
        const at = rows.time[row] as number
        if (at + withinMs > (this.sources[rows.source[row] as number] as SourceTime).time && Math.abs(time - at) < withinMs)
          return this.count(row)
      }
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
    const own = this.claimAt(newest, this.sourceTime(source.topic, source.partition), placeOf(record, lineage), lineage)
    const row = own < 0 ? newest : own
    this.amend(row)
    this.results.set(row, result)
    return true
  }

  /** What the last commit knows of an id. */
  find(id: string): ProcessedId | undefined {
    const { rows } = this
    let row = this.index.find(id)
    while (row >= 0 && rows.chunk[row] === FRESH) row = rows.older[row] as number
    if (row < 0) return undefined
    const { withinMs } = this.options
    const at = this.timeOf(row)
    if (at + withinMs <= this.sourceOf(row).committedTime) return undefined
    const { duplicates, result } = this.undo.find((entry) => entry.row === row) ?? {
      duplicates: rows.duplicates[row] as number,
      result: this.results.get(row),
    }
    return { id, state: 'passed', origin: this.originOf(row), at, until: at + withinMs, duplicates, result }
  }

  /** Number of claims as of the last commit, those that are over but not yet swept included. */
  get size(): number {
    return this.live
  }

  get dirty(): boolean {
    return this.sources.some((source) => source.moved || source.fresh.length > 0 || source.amended.length > 0)
  }

  changes(write: ChangeWriter): void {
    this.writing = []
    for (const source of this.sources) {
      if (source.fresh.length > 0) this.writeClaims(source, source.fresh, write)
      if (source.amended.length > 0) this.writeClaims(source, source.amended, write)
    }
    this.expiring = this.overdue()
    for (const chunk of this.expiring) write(this.keyOf(chunk.number), null)
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

  commit(): void {
    for (const chunk of this.writing) {
      chunk.claims = Int32Array.from(chunk.claims)
      this.assign(chunk)
    }
    for (const source of this.sources) {
      this.live += source.fresh.length
      source.committedTime = source.time
      source.committedClock = source.clock
      source.committedOffset = source.offset
    }
    for (const chunk of this.expiring) this.drop(chunk)
    this.endTransaction()
  }

  rollback(): void {
    for (const { row, duplicates, result } of this.undo) {
      this.rows.duplicates[row] = duplicates
      if (result === undefined) this.results.delete(row)
      else this.results.set(row, result)
    }
    for (const source of this.sources) {
      for (let i = source.fresh.length - 1; i >= 0; i--) this.unlink(source.fresh[i] as number)
      source.time = source.committedTime
      source.clock = source.committedClock
      source.offset = source.committedOffset
    }
    this.nextChunk -= this.writing.length
    this.endTransaction()
  }

  load(key: Buffer, value: Buffer | null): void {
    if (key.length === 0) {
      if (value !== null) this.loadTimes(JSON.parse(value.toString('utf8')) as SavedTime[])
      return
    }
    if (key.length !== KEY_BYTES) throw new MillraceError('CORRUPT_STATE', `a key of ${key.length} bytes, where claims have ${KEY_BYTES}`)
    const number = readInt64(key, 0)
    if (number >= this.nextChunk) this.nextChunk = number + 1
    const earlier = this.sources.map(({ chunks }) => chunks.get(number)).find((chunk) => chunk !== undefined)
    if (earlier !== undefined) this.drop(earlier)
    if (value !== null) this.loadChunk(number, value)
  }

  loaded(): void {}

  /** Of the claims from `newest` on, the one that the record at this offset made, or made where it was first read. */
  private claimAt(newest: number, from: SourceTime, offset: number, lineage: Lineage | undefined): number {
    const { rows } = this
    for (let row = newest; row >= 0; row = rows.older[row] as number) {
      if (rows.offset[row] === offset && rows.source[row] === from.index) return row
      if (lineage !== undefined && sameOrigin(this.originOf(row), lineage.first)) return row
    }
    return NONE
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
    // Claims of the open transaction are written, or dropped, as a whole.
    if (rows.chunk[row] === FRESH || rows.changed[row] === this.tx) return
    rows.changed[row] = this.tx
    this.sourceOf(row).amended.push(row)
    this.undo.push({ row, duplicates: rows.duplicates[row] as number, result: this.results.get(row) })
  }

  private overdue(): Chunk[] {
    const { withinMs, maxIds } = this.options
    const over: Chunk[] = []
    let left = this.live
    for (const source of this.sources) {
      left += source.fresh.length
      for (const chunk of source.chunks.values()) {
        if (chunk.newest + withinMs > source.time) break
        over.push(chunk)
        left -= chunk.claims.length
      }
    }
    if (left <= maxIds) return over
    const gone = new Set(over)
    const rest = this.sources.flatMap(({ chunks }) => [...chunks.values()]).filter((chunk) => !gone.has(chunk))
    for (const chunk of rest.sort((a, b) => a.number - b.number)) {
      if (left <= maxIds) break
      over.push(chunk)
      left -= chunk.claims.length
      this.evicted += chunk.claims.length
    }
    return over
  }

  /** The claims of a chunk live in it from now on. */
  private assign(chunk: Chunk): void {
    const { claims, number, from } = chunk
    for (let i = 0; i < claims.length; i++) this.rows.chunk[claims[i] as number] = number
    from.chunks.set(number, chunk)
  }

  private drop({ claims, number, from }: Chunk): void {
    from.chunks.delete(number)
    for (let i = 0; i < claims.length; i++) {
      const row = claims[i] as number
      // One that was amended since lives in a later chunk; its row may be another claim's by now.
      if (this.rows.chunk[row] !== number) continue
      this.unlink(row)
      this.live--
    }
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
    index.clear(row)
    rows.chunk[row] = FRESH
    this.results.delete(row)
    rows.release(row)
  }

  private endTransaction(): void {
    for (const source of this.sources) {
      if (source.fresh.length > 0) source.fresh = []
      if (source.amended.length > 0) source.amended = []
    }
    this.writing = []
    this.expiring = []
    this.undo = []
    this.tx++
    if (this.clock !== undefined) this.now = this.clock.now()
  }

  /**
   * A chunk: topic and partition; then for each claim its id, offset and time as differences, duplicates, and result.
   */
  private writeClaims(source: SourceTime, claims: readonly number[], write: ChangeWriter): void {
    const { rows } = this
    let chunk: Chunk | undefined
    let into: number[] = []
    let pos = 0
    let offset = 0
    let time = 0
    for (const row of claims) {
      if (chunk !== undefined && pos >= CHUNK_BYTES) {
        write(this.keyOf(chunk.number), this.scratch.subarray(0, pos))
        chunk = undefined
      }
      const claimTime = rows.time[row] as number
      const claimOffset = rows.offset[row] as number
      if (chunk === undefined) {
        into = []
        chunk = new Chunk(this.nextChunk++, source, claimTime, into)
        this.writing.push(chunk)
        pos = this.writeText(0, source.topic)
        pos = writeVarint(this.scratch, pos, source.partition)
        offset = 0
        time = 0
      }
      into.push(row)
      if (claimTime > chunk.newest) chunk.newest = claimTime
      pos = this.writeText(pos, this.index.idOf(row))
      pos = writeVarlong(this.scratch, pos, claimOffset - offset)
      pos = writeVarlong(this.scratch, pos, claimTime - time)
      pos = writeVarint(this.scratch, pos, rows.duplicates[row] as number)
      const result = this.results.size === 0 ? undefined : this.results.get(row)
      if (result === undefined) pos = writeVarint(this.scratch, pos, -1)
      else pos = this.writeText(pos, result)
      offset = claimOffset
      time = claimTime
    }
    if (chunk !== undefined) write(this.keyOf(chunk.number), this.scratch.subarray(0, pos))
  }

  /** Length and UTF-8 of a text, with room for what follows it. */
  private writeText(start: number, text: string): number {
    const most = start + text.length * 3 + 64
    if (most > this.scratch.length) {
      const larger = Buffer.allocUnsafe(most * 2)
      this.scratch.copy(larger, 0, 0, start)
      this.scratch = larger
    }
    const { scratch } = this
    // Mostly one byte a character: the length is written as if, and corrected.
    const at = writeVarint(scratch, start, text.length)
    const length = scratch.write(text, at, 'utf8')
    if (length === text.length) return at + length
    const moved = writeVarint(scratch, start, length)
    return moved + scratch.write(text, moved, 'utf8')
  }

  private loadTimes(times: readonly SavedTime[]): void {
    for (const [topic, partition, time, offset, clock] of times) {
      const source = this.sourceTime(topic, partition)
      source.time = source.committedTime = time
      source.offset = source.committedOffset = offset
      source.clock = source.committedClock = clock ?? Number.NEGATIVE_INFINITY
    }
  }

  private loadChunk(number: number, value: Buffer): void {
    let pos = 0
    const text = (): string | undefined => {
      const length = readVarint(value, pos)
      pos = cursor.pos
      return length < 0 ? undefined : value.toString('utf8', pos, (pos += length))
    }
    const int = (read: (bytes: Uint8Array, at: number) => number): number => {
      const found = read(value, pos)
      pos = cursor.pos
      return found
    }
    const topic = text() ?? ''
    const source = this.sourceTime(topic, int(readVarint))
    const claims: number[] = []
    const chunk = new Chunk(number, source, Number.NEGATIVE_INFINITY, claims)
    let offset = 0
    let time = 0
    while (pos < value.length) {
      const id = text() as string
      offset += int(readVarlong)
      time += int(readVarlong)
      const duplicates = int(readVarint)
      const result = text()
      const row = this.loadClaim(id, source, offset, time)
      this.rows.duplicates[row] = duplicates
      if (result === undefined) this.results.delete(row)
      else this.results.set(row, result)
      claims.push(row)
      if (time > chunk.newest) chunk.newest = time
    }
    if (pos !== value.length) throw new MillraceError('CORRUPT_STATE', `a chunk of claims ends at byte ${pos} of ${value.length}`)
    chunk.claims = Int32Array.from(claims)
    this.assign(chunk)
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

  private keyOf(number: number): Buffer {
    writeInt64(this.key, 0, number)
    return this.key
  }
}

/** The offset under which a record claims. */
function placeOf({ source: { topic, partition }, offset }: Claimant, lineage: Lineage | undefined): number {
  return lineage === undefined ? offset : placeInPartition({ topic, partition, offset }, lineage)
}

/** The spec of a task's claims. */
export function claimTable(name: string, options: ClaimTableOptions): StoreSpec<ClaimTable> {
  return { name, kind: 'dedupe', version: 1, create: () => new ClaimTable(options) }
}

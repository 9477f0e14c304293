import { readInt64, writeInt64 } from '../log/batch/header.js'
import { MillraceError } from '../record/error.js'
import type { Clock } from '../record/clock.js'
import type { Origin } from '../record/record.js'
import { cursor, readVarint, readVarlong, writeVarint, writeVarlong } from '../record/varint.js'
import type { ProcessedId } from './processed.js'
import type { ChangeWriter, StoreSpec, TaskStore } from './store.js'

/** What a table needs of a record: a LogRecord has it. */
export interface Claimant {
  readonly source: { readonly topic: string; readonly partition: number }
  /** Negative for a record that was not read from a log: such a one is never the same as another. */
  readonly offset: number
  readonly timestamp: number
}

/** The time of one input partition: that of its newest record, so that a backlog and a live topic each go by their own. */
class SourceTime {
  time = Number.NEGATIVE_INFINITY
  /** The highest offset seen. */
  offset = -1
  committedTime = Number.NEGATIVE_INFINITY
  committedOffset = -1
  /** What was written, oldest first. */
  readonly chunks = new Map<number, Chunk>()
  /** Claims of the open transaction, in order. */
  fresh: Claim[] = []
  /** Written before, and changed in it. */
  amended: Claim[] = []

  constructor(
    readonly topic: string,
    readonly partition: number,
  ) {}

  get moved(): boolean {
    return this.time !== this.committedTime || this.offset !== this.committedOffset
  }
}

/** The claims of one record of the changelog: they are dropped together. */
class Chunk {
  readonly claims: Claim[] = []
  constructor(
    readonly number: number,
    readonly from: SourceTime,
    /** The newest of them. */
    public newest: number,
  ) {}
}

/** An id and the record that came first with it. */
export class Claim {
  /** The chunk it was last written in; undefined until its transaction commits. */
  chunk: Chunk | undefined = undefined
  duplicates = 0
  result: string | undefined = undefined
  /** The transaction in which its record was last seen: the same again in it is a copy that user code made. */
  seen: number
  /** The transaction in which it was last amended. */
  changed = 0

  constructor(
    readonly id: string,
    readonly from: SourceTime,
    readonly offset: number,
    readonly time: number,
    seen: number,
    /** Another claim on the id, further away than `within` in time or of a topic that is elsewhere in time. */
    public older: Claim | undefined,
  ) {
    this.seen = seen
  }

  get origin(): Origin {
    return { topic: this.from.topic, partition: this.from.partition, offset: this.offset }
  }
}

export interface ClaimTableOptions {
  readonly withinMs: number
  /** Beyond it the oldest claims go before their time. */
  readonly maxIds: number
}

/** A record of the changelog is closed at this size. */
const CHUNK_BYTES = 48 * 1024
const META_KEY = Buffer.alloc(0)
const KEY_BYTES = 8

/**
 * The ids of one task and who came first with each.
 *
 * Time is, for each input partition, the highest timestamp seen in it, never ahead of the clock: a claim is made at that time and lives until it has gone on by
 * `within`. So a re-run over old records finds what the first run found, memory is bounded by the ids of that span, and late records are
 * compared like others. Claims never change but for their counts, so the changelog holds them many to a record, in the order they were made; such a
 * record is deleted when all in it are over.
 *
 * Memory: about 250 bytes an id beside its text.
 */
export class ClaimTable implements TaskStore {
  private readonly claims = new Map<string, Claim>()
  private readonly sources: SourceTime[] = []
  private current: SourceTime | undefined
  private currentFor: Claimant['source'] | undefined
  private tx = 1
  private nextChunk = 0
  private live = 0
  private writing: Chunk[] = []
  private expiring: Chunk[] = []
  /** Of the amended claims of all sources, what they were. */
  private undo: { readonly claim: Claim; readonly duplicates: number; readonly result: string | undefined }[] = []
  private clock: Clock | undefined
  private now = Number.NEGATIVE_INFINITY
  private scratch = Buffer.allocUnsafe(CHUNK_BYTES + 4096)
  private readonly key = Buffer.alloc(KEY_BYTES)
  /** How many claims went before their time, for want of room. */
  evicted = 0

  constructor(private readonly options: ClaimTableOptions) {}

  /** Timestamps ahead of this clock count as its time: one wrong record would end all claims otherwise. */
  useClock(clock: Clock): void {
    this.clock = clock
  }

  /** Claims the id for the record; undefined if it may pass, else the claim whose duplicate it is. */
  take(id: string, record: Claimant): Claim | undefined {
    const from = record.source === this.currentFor ? (this.current as SourceTime) : this.turnTo(record.source)
    const { offset } = record
    const time = this.timeOf(record, from)
    const found = this.claims.get(id)
    if (found !== undefined) {
      if (offset >= 0) {
        for (let claim: Claim | undefined = found; claim !== undefined; claim = claim.older) {
          if (claim.offset !== offset || claim.from !== from) continue
          if (claim.seen === this.tx) return this.count(claim)
          claim.seen = this.tx
          return undefined
        }
      }
      const { withinMs } = this.options
      for (let claim: Claim | undefined = found; claim !== undefined; claim = claim.older) {
        if (claim.time + withinMs > claim.from.time && Math.abs(time - claim.time) < withinMs) return this.count(claim)
      }
    }
    // A record from a retry topic may be older than any claim is kept.
    if (time + this.options.withinMs <= from.time) return undefined
    const claim = new Claim(id, from, offset, time, this.tx, found)
    this.claims.set(id, claim)
    from.fresh.push(claim)
    return undefined
  }

  /** Stores a result with the claim that the record made, or with the newest on the id. False if there is none. */
  keepResult(id: string, record: Claimant, result: string): boolean {
    const newest = this.claims.get(id)
    if (newest === undefined) return false
    const { source, offset } = record
    let claim: Claim | undefined = newest
    while (claim !== undefined && !(claim.offset === offset && claim.from.topic === source.topic && claim.from.partition === source.partition)) claim = claim.older
    claim ??= newest
    this.amend(claim)
    claim.result = result
    return true
  }

  /** What the last commit knows of an id. */
  find(id: string): ProcessedId | undefined {
    let claim = this.claims.get(id)
    while (claim !== undefined && claim.chunk === undefined) claim = claim.older
    if (claim === undefined) return undefined
    const { withinMs } = this.options
    const { from, time, origin } = claim
    if (time + withinMs <= from.committedTime) return undefined
    const { duplicates, result } = this.undo.find((entry) => entry.claim === claim) ?? claim
    return { id, state: 'passed', origin, at: time, until: time + withinMs, duplicates, result }
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
      write(META_KEY, JSON.stringify(this.sources.filter(({ offset, time }) => offset >= 0 || time > 0).map(({ topic, partition, time, offset }) => [topic, partition, time, offset])))
    }
  }

  commit(): void {
    for (const chunk of this.writing) {
      for (const claim of chunk.claims) claim.chunk = chunk
      chunk.from.chunks.set(chunk.number, chunk)
    }
    for (const source of this.sources) {
      this.live += source.fresh.length
      source.committedTime = source.time
      source.committedOffset = source.offset
    }
    for (const chunk of this.expiring) this.drop(chunk)
    this.endTransaction()
  }

  rollback(): void {
    for (const { claim, duplicates, result } of this.undo) {
      claim.duplicates = duplicates
      claim.result = result
    }
    for (const source of this.sources) {
      for (let i = source.fresh.length - 1; i >= 0; i--) this.unlink(source.fresh[i] as Claim)
      source.time = source.committedTime
      source.offset = source.committedOffset
    }
    this.nextChunk -= this.writing.length
    this.endTransaction()
  }

  load(key: Buffer, value: Buffer | null): void {
    if (key.length === 0) {
      if (value !== null) this.loadTimes(JSON.parse(value.toString('utf8')) as [string, number, number, number][])
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

  private timeOf(record: Claimant, from: SourceTime): number {
    let time = record.timestamp
    if (time > this.now || time < 0) {
      this.now = this.clock?.now() ?? Number.POSITIVE_INFINITY
      if (time > this.now || time < 0) time = this.now
    }
    const { offset } = record
    // What comes again through a retry topic is compared at its own time.
    if (offset >= 0 && offset < from.offset) return time < from.time ? time : from.time
    if (offset > from.offset) from.offset = offset
    if (time > from.time) from.time = time
    return from.time
  }

  private turnTo(source: Claimant['source']): SourceTime {
    this.currentFor = source
    return (this.current = this.sourceTime(source.topic, source.partition))
  }

  private sourceTime(topic: string, partition: number): SourceTime {
    let found = this.sources.find((source) => source.topic === topic && source.partition === partition)
    if (found === undefined) this.sources.push((found = new SourceTime(topic, partition)))
    return found
  }

  private count(claim: Claim): Claim {
    this.amend(claim)
    claim.duplicates++
    return claim
  }

  private amend(claim: Claim): void {
    // Claims of the open transaction are written, or dropped, as a whole.
    if (claim.chunk === undefined || claim.changed === this.tx) return
    claim.changed = this.tx
    claim.from.amended.push(claim)
    this.undo.push({ claim, duplicates: claim.duplicates, result: claim.result })
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

  private drop(chunk: Chunk): void {
    chunk.from.chunks.delete(chunk.number)
    for (const claim of chunk.claims) {
      // One that was amended since lives in a later chunk.
      if (claim.chunk !== chunk) continue
      this.unlink(claim)
      this.live--
    }
  }

  private unlink(claim: Claim): void {
    const newest = this.claims.get(claim.id)
    if (newest === claim) {
      if (claim.older === undefined) this.claims.delete(claim.id)
      else this.claims.set(claim.id, claim.older)
      return
    }
    for (let at = newest; at !== undefined; at = at.older) {
      if (at.older !== claim) continue
      at.older = claim.older
      return
    }
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
  }

  /**
   * A chunk: topic, partition, time of the first claim; then for each claim its id, offset and time as differences, duplicates, and result.
   */
  private writeClaims(source: SourceTime, claims: readonly Claim[], write: ChangeWriter): void {
    let chunk: Chunk | undefined
    let pos = 0
    let offset = 0
    let time = 0
    for (const claim of claims) {
      if (chunk !== undefined && pos >= CHUNK_BYTES) {
        write(this.keyOf(chunk.number), this.scratch.subarray(0, pos))
        chunk = undefined
      }
      if (chunk === undefined) {
        chunk = new Chunk(this.nextChunk++, source, claim.time)
        this.writing.push(chunk)
        pos = this.writeText(0, source.topic)
        pos = writeVarint(this.scratch, pos, source.partition)
        offset = 0
        time = 0
      }
      chunk.claims.push(claim)
      if (claim.time > chunk.newest) chunk.newest = claim.time
      pos = this.writeText(pos, claim.id)
      pos = writeVarlong(this.scratch, pos, claim.offset - offset)
      pos = writeVarlong(this.scratch, pos, claim.time - time)
      pos = writeVarint(this.scratch, pos, claim.duplicates)
      if (claim.result === undefined) pos = writeVarint(this.scratch, pos, -1)
      else pos = this.writeText(pos, claim.result)
      ;({ offset, time } = claim)
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

  private loadTimes(times: readonly [string, number, number, number][]): void {
    for (const [topic, partition, time, offset] of times) {
      const source = this.sourceTime(topic, partition)
      source.time = source.committedTime = time
      source.offset = source.committedOffset = offset
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
      const number = read(value, pos)
      pos = cursor.pos
      return number
    }
    const topic = text() ?? ''
    const source = this.sourceTime(topic, int(readVarint))
    const chunk = new Chunk(number, source, Number.NEGATIVE_INFINITY)
    let offset = 0
    let time = 0
    while (pos < value.length) {
      const id = text() as string
      offset += int(readVarlong)
      time += int(readVarlong)
      const duplicates = int(readVarint)
      const result = text()
      const claim = this.loadClaim(id, source, offset, time)
      claim.duplicates = duplicates
      claim.result = result
      claim.chunk = chunk
      chunk.claims.push(claim)
      if (time > chunk.newest) chunk.newest = time
    }
    if (pos !== value.length) throw new MillraceError('CORRUPT_STATE', `a chunk of claims ends at byte ${pos} of ${value.length}`)
    source.chunks.set(number, chunk)
  }

  /** The claim as loaded before, if this is its amendment. */
  private loadClaim(id: string, source: SourceTime, offset: number, time: number): Claim {
    const newest = this.claims.get(id)
    for (let claim = newest; claim !== undefined; claim = claim.older) {
      if (claim.from === source && claim.offset === offset && claim.time === time) return claim
    }
    const claim = new Claim(id, source, offset, time, 0, newest)
    this.claims.set(id, claim)
    this.live++
    return claim
  }

  private keyOf(number: number): Buffer {
    writeInt64(this.key, 0, number)
    return this.key
  }
}

/** The spec of a task's claims. */
export function claimTable(name: string, options: ClaimTableOptions): StoreSpec<ClaimTable> {
  return { name, kind: 'dedupe', version: 1, create: () => new ClaimTable(options) }
}

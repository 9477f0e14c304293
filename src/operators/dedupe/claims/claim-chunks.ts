import { writeInt64 } from '../../../log/batch/header.js'
import type { ChangeWriter } from '../../../state/store.js'
import { ChunkWriter } from './chunk-codec.js'
import { PAST, type ClaimRows } from './claim-rows.js'
import type { IdIndex } from './id-index.js'
import { Chunk, FAN_IN, type SourceTime } from './source-time.js'

export const KEY_BYTES = 8

/**
 * Which claims stand in which record of the changelog.
 *
 * A transaction writes its new claims in chunks of their own. Claims that changed go into a new chunk too, or their chunk is written anew
 * under its number where most of it changed, so that an id met over and over is one record to compaction. Eight chunks of about one size
 * become one, as far as they end at about the same time: each claim is written some three times, and their number does not grow with that
 * of transactions.
 */
export class ClaimChunks {
  /** Oldest first. */
  private held = new Map<number, Chunk>()
  /** Of those held. */
  bytes = 0
  private next = 0
  private fresh = 0
  private writing: Chunk[] = []
  private readonly expiring = new Set<Chunk>()
  /** Those that claims leave. */
  private left: Chunk[] = []
  private evicting = 0
  private readonly writer = new ChunkWriter()
  private readonly key = Buffer.alloc(KEY_BYTES)
  /** How many claims went before their time, for want of room. */
  evicted = 0

  constructor(
    private readonly rows: ClaimRows,
    private readonly index: IdIndex,
    private readonly results: ReadonlyMap<number, string>,
    private readonly options: { readonly withinMs: number; readonly maxIds: number },
    /** Forgets a claim. */
    private readonly forget: (row: number) => void,
  ) {}

  /** Writes what the transaction changed. `live` is how many claims there are with it. */
  changes(sources: readonly SourceTime[], live: number, write: ChangeWriter): void {
    this.expire(sources, live)
    for (const source of sources) {
      if (source.fresh.length > 0) this.write(source, source.fresh, write)
      if (source.amended.length > 0) this.writeAmended(source, write)
      for (const small of source.chunks.small) if (small.size >= FAN_IN) this.merge(source, small, write)
    }
    for (const chunk of this.expiring) write(this.keyOf(chunk.number), null)
  }

  commit(sources: readonly SourceTime[]): void {
    // Backwards, as the first of several may take the number of the one whose claims they all had.
    for (let i = this.writing.length - 1; i >= 0; i--) this.hold(this.writing[i] as Chunk)
    for (const chunk of this.expiring) this.drop(chunk)
    this.evicted += this.evicting
    this.end()
    for (const { chunks } of sources) chunks.due.commit(this.held.size)
  }

  rollback(sources: readonly SourceTime[]): void {
    this.next -= this.fresh
    this.end()
    for (const { chunks } of sources) chunks.due.rollback(this.held.size)
  }

  /** Makes room for a chunk that is read, in place of what has its number. */
  clear(number: number): void {
    if (number >= this.next) this.next = number + 1
    const before = this.held.get(number)
    if (before !== undefined) this.drop(before)
  }

  /** A chunk is in the log, and its claims live in it from now on. */
  hold(chunk: Chunk): void {
    const { rows, held } = this
    const { claims, number, from } = chunk
    chunk.claims = Int32Array.from(claims)
    chunk.live = claims.length
    chunk.isHeld = true
    for (let i = 0; i < claims.length; i++) {
      const row = claims[i] as number
      const before = held.get(rows.chunk[row] as number)
      if (before !== undefined) before.live--
      rows.chunk[row] = number
    }
    const before = held.get(number)
    if (before !== undefined) this.leave(before)
    held.set(number, chunk)
    this.bytes += chunk.bytes
    from.chunks.due.push(chunk, chunk.newest)
    from.chunks.small[chunk.size]?.add(chunk)
  }

  /** All were read: those written anew came out of turn. */
  loaded(): void {
    this.held = new Map([...this.held].sort(([a], [b]) => a - b))
  }

  /** What is over, and then the oldest of what is too much. */
  private expire(sources: readonly SourceTime[], live: number): void {
    const { withinMs, maxIds } = this.options
    let left = live
    for (const { chunks, time } of sources) {
      for (let chunk = chunks.due.take(time - withinMs); chunk !== undefined; chunk = chunks.due.take(time - withinMs)) {
        this.expiring.add(chunk)
        left -= chunk.live
      }
    }
    if (left <= maxIds) return
    for (const chunk of this.held.values()) {
      if (left <= maxIds) break
      if (this.expiring.has(chunk)) continue
      this.expiring.add(chunk)
      left -= chunk.live
      this.evicting += chunk.live
    }
  }

  private writeAmended(source: SourceTime, write: ChangeWriter): void {
    const { rows } = this
    const byChunk = new Map<Chunk, number[]>()
    for (const row of source.amended) {
      const chunk = this.held.get(rows.chunk[row] as number) as Chunk
      if (this.expiring.has(chunk)) continue
      const of = byChunk.get(chunk)
      if (of === undefined) byChunk.set(chunk, [row])
      else of.push(row)
    }
    const rest: number[] = []
    for (const [chunk, changed] of byChunk) {
      if (2 * changed.length >= chunk.live) this.write(source, this.liveIn(chunk), write, chunk.number)
      else for (const row of changed) rest.push(row)
    }
    if (rest.length > 0) this.write(source, rest, write)
  }

  /** Makes one chunk of the first ones of a size, unless the first would then have to wait too long for the last. */
  private merge(source: SourceTime, small: Set<Chunk>, write: ChangeWriter): void {
    const chunks: Chunk[] = []
    let looked = 0
    for (const chunk of small) {
      if (chunks.length === FAN_IN || ++looked > 2 * FAN_IN) break
      if (chunk.leaving === 0 && !this.expiring.has(chunk)) chunks.push(chunk)
    }
    const first = chunks[0]
    if (first === undefined || chunks.length < FAN_IN) return
    const ends = chunks.map(({ newest }) => newest)
    if (Math.max(...ends) - Math.min(...ends) > this.options.withinMs / FAN_IN) small.delete(first)
    else {
      const claims = chunks.flatMap((chunk) => this.liveIn(chunk))
      this.write(source, claims, write, first.number)
    }
  }

  private liveIn({ claims, number }: Chunk): number[] {
    const live: number[] = []
    for (let i = 0; i < claims.length; i++) if (this.rows.chunk[claims[i] as number] === number) live.push(claims[i] as number)
    return live
  }

  /** Writes claims into chunks, the first of them in place of the one of this number. */
  private write(source: SourceTime, claims: readonly number[], write: ChangeWriter, instead?: number): void {
    const { rows, writer, results, index } = this
    let number = instead
    let into: number[] = []
    let chunk: Chunk | undefined
    const close = (): void => {
      if (chunk === undefined) return
      chunk.bytes = writer.bytes.length
      write(this.keyOf(chunk.number), writer.bytes)
    }
    for (const row of claims) {
      if (rows.chunk[row] === PAST) continue
      if (chunk !== undefined && writer.isFull) {
        close()
        chunk = undefined
      }
      const time = rows.time[row] as number
      if (chunk === undefined) {
        if (number === undefined) {
          number = this.next++
          this.fresh++
        }
        chunk = new Chunk(number, source, time)
        number = undefined
        chunk.claims = into = []
        this.writing.push(chunk)
        writer.begin(source.topic, source.partition)
      }
      into.push(row)
      if (time > chunk.newest) chunk.newest = time
      writer.add(
        index.idOf(row),
        rows.offset[row] as number,
        time,
        rows.duplicates[row] as number,
        results.size === 0 ? undefined : results.get(row),
      )
      const before = this.held.get(rows.chunk[row] as number)
      // The last of its claims leaves it: it goes, unless it is the one that is written anew.
      if (before === undefined) continue
      if (before.leaving++ === 0) this.left.push(before)
      if (before.leaving === before.live && before.number !== instead) this.expiring.add(before)
    }
    close()
  }

  private drop(chunk: Chunk): void {
    const { claims, number } = chunk
    this.leave(chunk)
    if (this.held.get(number) === chunk) this.held.delete(number)
    for (let i = 0; i < claims.length; i++) {
      const row = claims[i] as number
      // One that was amended since lives in a later chunk; its row may be another claim's by now.
      if (this.rows.chunk[row] === number) this.forget(row)
    }
  }

  private leave(chunk: Chunk): void {
    if (chunk.isHeld) this.bytes -= chunk.bytes
    chunk.isHeld = false
    chunk.from.chunks.small[chunk.size]?.delete(chunk)
  }

  private end(): void {
    for (const chunk of this.left) chunk.leaving = 0
    this.left = []
    this.writing = []
    this.expiring.clear()
    this.fresh = 0
    this.evicting = 0
  }

  private keyOf(number: number): Buffer {
    writeInt64(this.key, 0, number)
    return this.key
  }
}

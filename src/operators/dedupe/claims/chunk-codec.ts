import { MillraceError } from '../../../record/error.js'
import { cursor, readVarint, readVarlong, writeVarint, writeVarlong } from '../../../record/varint.js'

/** A record of the changelog is closed at this size. */
export const CHUNK_BYTES = 48 * 1024

/** Writes a chunk: topic and partition; then for each claim its id, offset and time as differences, duplicates, and result. */
export class ChunkWriter {
  private scratch = Buffer.allocUnsafe(CHUNK_BYTES + 4096)
  private pos = 0
  private offset = 0
  private time = 0

  get isFull(): boolean {
    return this.pos >= CHUNK_BYTES
  }

  /** What was written since `begin`; valid until the next one. */
  get bytes(): Uint8Array {
    return this.scratch.subarray(0, this.pos)
  }

  begin(topic: string, partition: number): void {
    this.pos = 0
    this.text(topic)
    this.pos = writeVarint(this.scratch, this.pos, partition)
    this.offset = 0
    this.time = 0
  }

  add(id: string, offset: number, time: number, duplicates: number, result: string | undefined): void {
    this.text(id)
    this.pos = writeVarlong(this.scratch, this.pos, offset - this.offset)
    this.pos = writeVarlong(this.scratch, this.pos, time - this.time)
    this.pos = writeVarint(this.scratch, this.pos, duplicates)
    if (result === undefined) this.pos = writeVarint(this.scratch, this.pos, -1)
    else this.text(result)
    this.offset = offset
    this.time = time
  }

  /** Length and UTF-8 of a text, with room for what follows it. */
  private text(text: string): void {
    const start = this.pos
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
    if (length === text.length) this.pos = at + length
    else {
      const moved = writeVarint(scratch, start, length)
      this.pos = moved + scratch.write(text, moved, 'utf8')
    }
  }
}

/** Reads a chunk: hands out where its claims are of, then each of them. */
export function readChunk(
  value: Buffer,
  begin: (topic: string, partition: number) => void,
  claim: (id: string, offset: number, time: number, duplicates: number, result: string | undefined) => void,
): void {
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
  begin(topic, int(readVarint))
  let offset = 0
  let time = 0
  while (pos < value.length) {
    const id = text() as string
    offset += int(readVarlong)
    time += int(readVarlong)
    const duplicates = int(readVarint)
    claim(id, offset, time, duplicates, text())
  }
  if (pos !== value.length) throw new MillraceError('CORRUPT_STATE', `a chunk of claims ends at byte ${pos} of ${value.length}`)
}

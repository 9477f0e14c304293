import { cursor, readVarint, varintSize, writeVarint } from './varint.js'

/** One header's value; a list where the record carries the name more than once, in the record's order. */
export type HeaderValue = Buffer | null | readonly (Buffer | null)[]

/** A record's headers as a plain map. It has no prototype, so a header named `__proto__` is a header like any other. */
export type Headers = Readonly<Record<string, HeaderValue>>

/** What may be given where headers are written: text is stored as UTF-8. */
export type HeadersInput = Readonly<
  Record<string, string | Uint8Array | null | readonly (string | Uint8Array | null)[]>
>

export const NO_HEADERS: Headers = Object.freeze(Object.create(null) as Record<string, HeaderValue>)

export function readHeaders(bytes: Buffer, start: number): Headers {
  const count = readVarint(bytes, start)
  if (count === 0) return NO_HEADERS
  const headers = Object.create(null) as Record<string, HeaderValue>
  let pos = cursor.pos
  for (let i = 0; i < count; i++) {
    const nameLength = readVarint(bytes, pos)
    const nameStart = cursor.pos
    const name = bytes.toString('utf8', nameStart, nameStart + nameLength)
    const valueLength = readVarint(bytes, nameStart + nameLength)
    pos = cursor.pos
    const value = valueLength < 0 ? null : bytes.subarray(pos, pos + valueLength)
    if (valueLength > 0) pos += valueLength
    const earlier = headers[name]
    headers[name] =
      earlier === undefined ? value : Array.isArray(earlier) ? [...(earlier as readonly (Buffer | null)[]), value] : [earlier as Buffer | null, value]
  }
  return headers
}

type Entry = readonly [name: Buffer, value: Uint8Array | null]

function toEntries(headers: HeadersInput): Entry[] {
  const entries: Entry[] = []
  for (const name of Object.keys(headers)) {
    const given = headers[name]
    if (given === undefined) continue
    const nameBytes = Buffer.from(name, 'utf8')
    for (const value of Array.isArray(given) ? given : [given]) {
      entries.push([nameBytes, typeof value === 'string' ? Buffer.from(value, 'utf8') : (value as Uint8Array | null)])
    }
  }
  return entries
}

/** The header section of a record, its count first, ready to be copied into a batch. */
export function encodeHeaders(headers: HeadersInput): Buffer {
  return encodeEntries(toEntries(headers))
}

/**
 * The header section that begins at `start` of `bytes`, with what it has of `names` taken out and `added` put behind.
 * All else stays as it is, bytes, order and repeated names included.
 */
export function replaceHeaders(bytes: Buffer, start: number, names: ReadonlySet<string>, added: HeadersInput): Buffer {
  const entries: Entry[] = []
  const count = readVarint(bytes, start)
  for (let i = 0, pos = cursor.pos; i < count; i++) {
    const nameLength = readVarint(bytes, pos)
    const name = bytes.subarray(cursor.pos, cursor.pos + nameLength)
    const valueLength = readVarint(bytes, cursor.pos + nameLength)
    pos = cursor.pos + Math.max(0, valueLength)
    if (!names.has(name.toString('utf8'))) entries.push([name, valueLength < 0 ? null : bytes.subarray(cursor.pos, pos)])
  }
  return encodeEntries([...entries, ...toEntries(added)])
}

/**
 * Cuts a header section before the last header of a name: what stands before it, as a section of its own and byte for byte, and the rest
 * as a map. Undefined where there is no such header.
 */
export function splitHeaders(bytes: Buffer, start: number, name: string): { readonly front: Buffer; readonly rest: Headers } | undefined {
  const wanted = Buffer.from(name, 'utf8')
  const count = readVarint(bytes, start)
  const first = cursor.pos
  let before = -1
  let cut = first
  let pos = first
  for (let i = 0; i < count; i++) {
    const at = pos
    const nameLength = readVarint(bytes, pos)
    const nameAt = cursor.pos
    const valueLength = readVarint(bytes, nameAt + nameLength)
    pos = cursor.pos + Math.max(0, valueLength)
    if (nameLength !== wanted.length || bytes.compare(wanted, 0, nameLength, nameAt, nameAt + nameLength) !== 0) continue
    before = i
    cut = at
  }
  if (before < 0) return undefined
  return { front: section(before, bytes.subarray(first, cut)), rest: readHeaders(section(count - before, bytes.subarray(cut, pos)), 0) }
}

/** A header section of so many headers, which are there as bytes. */
function section(count: number, headers: Buffer): Buffer {
  const out = Buffer.allocUnsafe(varintSize(count) + headers.length)
  headers.copy(out, writeVarint(out, 0, count))
  return out
}

function encodeEntries(entries: readonly Entry[]): Buffer {
  let size = varintSize(entries.length)
  for (const [name, value] of entries) {
    size += varintSize(name.length) + name.length + varintSize(value === null ? -1 : value.length) + (value?.length ?? 0)
  }
  const out = Buffer.allocUnsafe(size)
  let pos = writeVarint(out, 0, entries.length)
  for (const [name, value] of entries) {
    pos = writeVarint(out, pos, name.length)
    out.set(name, pos)
    pos = writeVarint(out, pos + name.length, value === null ? -1 : value.length)
    if (value !== null) {
      out.set(value, pos)
      pos += value.length
    }
  }
  return out
}

/** The last value of a header as it stands in a record's bytes, without reading the others; undefined if it is null or not there. */
export function lastHeaderText(bytes: Buffer, start: number, name: Buffer): string | undefined {
  const count = readVarint(bytes, start)
  let pos = cursor.pos
  let from = -1
  let to = -1
  for (let i = 0; i < count; i++) {
    const nameLength = readVarint(bytes, pos)
    const nameStart = cursor.pos
    const valueLength = readVarint(bytes, nameStart + nameLength)
    pos = cursor.pos
    const same = nameLength === name.length && name.compare(bytes, nameStart, nameStart + nameLength) === 0
    if (same) from = valueLength < 0 ? -1 : pos
    if (valueLength > 0) pos += valueLength
    if (same) to = pos
  }
  return from < 0 ? undefined : bytes.toString('utf8', from, to)
}

import { MillraceError } from './error.js'
import { kindOf } from './kind-of.js'
import { cursor, readVarint, varintSize, writeVarint } from './varint.js'

/** One header's value; a list where the record carries the name more than once, in the record's order. */
export type HeaderValue = Buffer | null | readonly (Buffer | null)[]

/** A record's headers as a plain map. It has no prototype, so a header named `__proto__` is a header like any other. */
export type Headers = Readonly<Record<string, HeaderValue>>

/** What may be given where headers are written: text is stored as UTF-8. */
export type HeadersInput = Readonly<Record<string, string | Uint8Array | null | readonly (string | Uint8Array | null)[]>>

export const NO_HEADERS: Headers = Object.freeze(Object.create(null) as Record<string, HeaderValue>)

/**
 * The headers of the section that begins at `start` and ends by `end`. @throws MillraceError DECODE_FAILED where they do not fit in there
 */
export function readHeaders(bytes: Buffer, start: number, end = bytes.length): Headers {
  const count = readVarint(bytes, start)
  if (count === 0) return NO_HEADERS
  const headers = Object.create(null) as Record<string, HeaderValue>
  let pos = cursor.pos
  for (let i = 0; i < count; i++) {
    const nameLength = readVarint(bytes, pos)
    const nameStart = cursor.pos
    if (nameLength < 0 || nameStart + nameLength > end) throw beyondEnd()
    const name = bytes.toString('utf8', nameStart, nameStart + nameLength)
    const valueLength = readVarint(bytes, nameStart + nameLength)
    pos = cursor.pos + Math.max(0, valueLength)
    if (pos > end) throw beyondEnd()
    const value = valueLength < 0 ? null : bytes.subarray(cursor.pos, pos)
    const earlier = headers[name]
    if (earlier === undefined) headers[name] = value
    else if (Array.isArray(earlier)) (earlier as (Buffer | null)[]).push(value)
    else headers[name] = [earlier as Buffer | null, value]
  }
  return headers
}

function beyondEnd(): MillraceError {
  return new MillraceError('DECODE_FAILED', 'the headers of a record go beyond its end: whoever wrote it wrote it wrong')
}

type Entry = readonly [name: Buffer, value: Uint8Array | null]

/** @throws MillraceError ENCODE_FAILED for what would be stored as something else than was meant */
function toEntries(headers: HeadersInput): Entry[] {
  // A Map, the Headers of fetch and a promise have no properties: they would be stored as no headers at all.
  if (typeof headers !== 'object' || headers === null || Symbol.iterator in headers || 'then' in headers) {
    throw new MillraceError(
      'ENCODE_FAILED',
      `headers are an object of names and values, got ${kindOf(headers)}: Object.fromEntries makes one of entries`,
    )
  }
  const entries: Entry[] = []
  for (const name of Object.keys(headers)) {
    const given = headers[name]
    if (given === undefined) continue
    const nameBytes = Buffer.from(name, 'utf8')
    if (Array.isArray(given)) for (const value of given as readonly unknown[]) entries.push([nameBytes, headerBytes(name, value)])
    else entries.push([nameBytes, headerBytes(name, given)])
  }
  return entries
}

function headerBytes(name: string, value: unknown): Uint8Array | null {
  if (typeof value === 'string') return Buffer.from(value, 'utf8')
  if (value === null || value instanceof Uint8Array) return value
  throw new MillraceError(
    'ENCODE_FAILED',
    `header '${name}': a value is text, bytes, null, or a list of these, got ${kindOf(value)}. Make text of it, e.g. String(value) or JSON.stringify(value)`,
  )
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
    if (nameLength < 0 || pos > bytes.length) throw beyondEnd()
    if (!names.has(name.toString('utf8'))) entries.push([name, valueLength < 0 ? null : bytes.subarray(cursor.pos, pos)])
  }
  return encodeEntries([...entries, ...toEntries(added)])
}

/** Where a header stands in a section. */
export interface HeaderPlace {
  /** How many headers stand before it, and where the first of all and it itself begin. */
  readonly before: number
  readonly first: number
  readonly at: number
  readonly value: number
  readonly end: number
}

/** The last header of a name in the section that begins at `start`; undefined where there is none, or its value is null. */
export function findHeader(bytes: Buffer, start: number, name: Buffer): HeaderPlace | undefined {
  const count = readVarint(bytes, start)
  const first = cursor.pos
  let [before, at, value, end] = [0, -1, 0, -1]
  for (let i = 0, pos = first; i < count; i++) {
    const began = pos
    const nameLength = readVarint(bytes, pos)
    const nameAt = cursor.pos
    const length = readVarint(bytes, nameAt + nameLength)
    const valueAt = cursor.pos
    pos = valueAt + Math.max(0, length)
    if (nameLength < 0 || pos > bytes.length) throw beyondEnd()
    if (nameLength !== name.length || bytes.compare(name, 0, nameLength, nameAt, nameAt + nameLength) !== 0) continue
    ;[before, at, value, end] = [i, began, valueAt, length < 0 ? -1 : pos]
  }
  return end < 0 ? undefined : { before, first, at, value, end }
}

/** The record body from `start` up to where its headers begin, and of these what stands before a place. */
export function cutHeaders(bytes: Buffer, start: number, headersStart: number, { before, first, at }: HeaderPlace): Buffer {
  const out = Buffer.allocUnsafe(headersStart - start + varintSize(before) + at - first)
  const pos = writeVarint(out, bytes.copy(out, 0, start, headersStart), before)
  bytes.copy(out, pos, first, at)
  return out
}

/**
 * Headers to be put behind those that a record has, as they stand in a section, a character a byte: one text is written much quicker than
 * twenty small buffers.
 */
export interface AddedHeaders {
  readonly count: number
  readonly text: string
}

/** For names in ASCII. */
export function addedHeaders(headers: Readonly<Record<string, string | Buffer>>): AddedHeaders {
  const names = Object.keys(headers)
  return { count: names.length, text: names.map((name) => headerText(name, headers[name] as string | Buffer)).join('') }
}

function headerText(name: string, value: string | Buffer): string {
  const piece =
    typeof value !== 'string' ? value.toString('latin1') : isAscii(value) ? value : Buffer.from(value, 'utf8').toString('latin1')
  return lengthText(name.length) + name + lengthText(piece.length) + piece
}

/** A length as it stands in a section, a character a byte. */
function lengthText(length: number): string {
  if (length < 0x40) return String.fromCharCode(length * 2)
  let raw = length * 2
  let text = ''
  for (; raw >= 0x80; raw = Math.floor(raw / 0x80)) text += String.fromCharCode((raw & 0x7f) | 0x80)
  return text + String.fromCharCode(raw)
}

export function isAscii(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) >= 0x80) return false
  return true
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
export function lastHeader(bytes: Buffer, start: number, name: Buffer): Buffer | undefined {
  const place = findHeader(bytes, start, name)
  return place === undefined ? undefined : bytes.subarray(place.value, place.end)
}

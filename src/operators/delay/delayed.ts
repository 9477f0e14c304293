import { writeInt64 } from '../../log/batch/header.js'
import type { Encoded } from '../../log/batch/write.js'
import { encodeHeaders, readHeaders } from '../../record/headers.js'
import { lineageText, parseLineage } from '../../record/lineage.js'
import { RecordSource, type Retries } from '../../record/record-source.js'
import { LogRecord, RAW_ALL, RAW_HEADERS, RAW_KEY, RAW_VALUE, type RecordPatch } from '../../record/record.js'
import { isLater, withNext, type AnySerdeFor } from '../../record/serde.js'
import { traceHeaders, type TraceHeaders } from '../../record/tracing.js'
import { cursor, readVarint, varintSize, writeVarint } from '../../record/varint.js'
import { encodeSoon } from '../../runtime/encode.js'

type AnyRecord = LogRecord<unknown, unknown>

/** How the parts of a record that are no longer bytes are kept. */
export interface DelaySerdes {
  readonly key: AnySerdeFor<unknown>
  readonly value: AnySerdeFor<unknown>
}

/** What is known of a kept record besides its bytes. */
interface Meta {
  readonly topic: string
  readonly partition: number
  readonly offset: number
  readonly timestamp: number
  /** Which parts are not those it was read with: they follow its bytes. */
  readonly changed: number
  readonly retries?: Retries
  /** Where it came from before, if it was sent back from a dead-letter topic. */
  readonly from?: string
  /** The trace it goes on in, where it is followed. */
  readonly trace?: TraceHeaders
}

const TIME_BYTES = 8

/**
 * The key or the value of a record as it is kept: what was put in place of the bytes it was read with, else null. A promise where its serde
 * answers with one.
 *
 * @throws MillraceError ENCODE_FAILED, LOSSY_SERDE
 */
export function changedPart(operator: string, record: AnyRecord, serdes: DelaySerdes, part: 'key' | 'value'): Encoded | Promise<Encoded> {
  if ((record.raw & (part === 'key' ? RAW_KEY : RAW_VALUE)) !== 0) return null
  return encodeSoon(operator, serdes[part], record[part], record, part)
}

/** A record as it is kept until `at`: the time, what is known of it, its bytes as they were read, and what was put in their place since. */
export function delayedBytes(record: AnyRecord, at: number, key: Encoded, value: Encoded, trace?: TraceHeaders): Buffer {
  const { source, offset, timestamp, raw, lineage } = record
  const { topic, partition, retries } = source
  const changed = RAW_ALL & ~raw
  const headers = (changed & RAW_HEADERS) === 0 ? NOTHING : encodeHeaders(record.headers)
  // What the program made itself was never bytes: it is kept as if it had been read so.
  const body = record.start < 0 ? bodyOf(key, value, headers) : source.bytes.subarray(record.start, record.end)
  const known: Meta = {
    topic,
    partition,
    offset,
    timestamp,
    changed,
    ...(retries === undefined ? {} : { retries }),
    ...(lineage === undefined ? {} : { from: lineageText(lineage) }),
    ...(trace === undefined ? {} : { trace }),
  }
  const meta = Buffer.from(JSON.stringify(known), 'utf8')
  const parts = [
    section(meta),
    section(body),
    ...(changed & RAW_KEY ? [section(key)] : []),
    ...(changed & RAW_VALUE ? [section(value)] : []),
    headers,
  ]
  const time = Buffer.allocUnsafe(TIME_BYTES)
  writeInt64(time, 0, at)
  return Buffer.concat([time, ...parts])
}

/**
 * The record that was kept; a promise where a serde answers with one. It is part of no batch, so what becomes of it is counted nowhere.
 */
export function delayedRecord(bytes: Buffer, serdes: DelaySerdes): AnyRecord | Promise<AnyRecord> {
  let pos = TIME_BYTES
  const next = (): Buffer | null => {
    const length = readVarint(bytes, pos)
    const from = cursor.pos
    pos = from + Math.max(0, length)
    return length < 0 ? null : bytes.subarray(from, pos)
  }
  const { topic, partition, offset, timestamp, changed, retries, from, trace } = JSON.parse((next() as Buffer).toString('utf8')) as Meta
  const body = next() as Buffer
  const record = new LogRecord<unknown, unknown>(
    new RecordSource({
      topic,
      partition,
      bytes: body,
      retries,
      lineage: from === undefined ? undefined : parseLineage(from),
      carried: traceHeaders(trace),
    }),
    offset,
    timestamp,
    -1,
    0,
    body.length,
    RAW_ALL,
    undefined,
    undefined,
    undefined,
  )
  if (changed === 0) return record
  const keyPart = changed & RAW_KEY ? next() : null
  const valuePart = changed & RAW_VALUE ? next() : null
  const key = decoded(keyPart, serdes.key)
  // Two promises only where one answered with one.
  if (serdes.value.async === true || isLater(key)) {
    const both = withNext(key, () => decoded(valuePart, serdes.value))
    return isLater(both)
      ? both.then((found) => restored(record, bytes, pos, changed, ...found))
      : restored(record, bytes, pos, changed, ...both)
  }
  return restored(record, bytes, pos, changed, key, decoded(valuePart, serdes.value))
}

function restored(record: AnyRecord, bytes: Buffer, headersAt: number, changed: number, key: unknown, value: unknown): AnyRecord {
  const patch: { -readonly [part in keyof RecordPatch<unknown, unknown>]: RecordPatch<unknown, unknown>[part] } = {}
  if (changed & RAW_KEY) patch.key = key
  if (changed & RAW_VALUE) patch.value = value
  if (changed & RAW_HEADERS) patch.headers = readHeaders(bytes, headersAt)
  return record.with(patch)
}

/** Where it was read, without the rest of it. */
export function delayedOrigin(bytes: Buffer): { readonly topic: string; readonly partition: number; readonly offset: number } {
  const length = readVarint(bytes, TIME_BYTES)
  return JSON.parse(bytes.toString('utf8', cursor.pos, cursor.pos + length)) as Meta
}

const NOTHING = Buffer.alloc(0)

function decoded(part: Buffer | null, serde: AnySerdeFor<unknown>): unknown {
  return part === null ? null : serde.decode(part)
}

function bodyOf(key: Encoded, value: Encoded, headers: Buffer): Buffer {
  return Buffer.concat([section(key), section(value), headers.length > 0 ? headers : Buffer.from([0])])
}

function section(part: Encoded): Buffer {
  if (part === null) return Buffer.from([1])
  const bytes = typeof part === 'string' ? Buffer.from(part, 'utf8') : part
  const out = Buffer.allocUnsafe(varintSize(bytes.length) + bytes.length)
  out.set(bytes, writeVarint(out, 0, bytes.length))
  return out
}

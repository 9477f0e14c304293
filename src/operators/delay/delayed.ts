import { writeInt64 } from '../../log/batch/header.js'
import type { Encoded } from '../../log/batch/write.js'
import { encodeHeaders, readHeaders } from '../../record/headers.js'
import { lineageText, parseLineage } from '../../record/lineage.js'
import { RecordSource, type Retries } from '../../record/record-source.js'
import { LogRecord, RAW_ALL, RAW_HEADERS, RAW_KEY, RAW_VALUE, type RecordPatch } from '../../record/record.js'
import type { SerdeFor } from '../../record/serde.js'
import { traceHeaders, type TraceHeaders } from '../../record/tracing.js'
import { cursor, readVarint, varintSize, writeVarint } from '../../record/varint.js'
import { encodePart } from '../../runtime/encode.js'

type AnyRecord = LogRecord<unknown, unknown>

/** How the parts of a record that are no longer bytes are kept. */
export interface DelaySerdes {
  readonly key: SerdeFor<unknown>
  readonly value: SerdeFor<unknown>
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

/** A record as it is kept until `at`: the time, what is known of it, its bytes as they were read, and what was put in their place since. */
export function delayedBytes(operator: string, record: AnyRecord, at: number, serdes: DelaySerdes, trace?: TraceHeaders): Buffer {
  const { source, offset, timestamp, raw, lineage } = record
  const { topic, partition, retries } = source
  const changed = RAW_ALL & ~raw
  const key = (changed & RAW_KEY) === 0 ? null : encodePart(operator, serdes.key, record.key, record, 'key')
  const value = (changed & RAW_VALUE) === 0 ? null : encodePart(operator, serdes.value, record.value, record, 'value')
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

/** The record that was kept. It is part of no batch, so what becomes of it is counted nowhere. */
export function delayedRecord(bytes: Buffer, serdes: DelaySerdes): AnyRecord {
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
  const patch: { -readonly [part in keyof RecordPatch<unknown, unknown>]: RecordPatch<unknown, unknown>[part] } = {}
  if (changed & RAW_KEY) patch.key = decoded(next(), serdes.key)
  if (changed & RAW_VALUE) patch.value = decoded(next(), serdes.value)
  if (changed & RAW_HEADERS) patch.headers = readHeaders(bytes, pos)
  return record.with(patch)
}

/** Where it was read, without the rest of it. */
export function delayedOrigin(bytes: Buffer): { readonly topic: string; readonly partition: number; readonly offset: number } {
  const length = readVarint(bytes, TIME_BYTES)
  return JSON.parse(bytes.toString('utf8', cursor.pos, cursor.pos + length)) as Meta
}

const NOTHING = Buffer.alloc(0)

function decoded(part: Buffer | null, serde: SerdeFor<unknown>): unknown {
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

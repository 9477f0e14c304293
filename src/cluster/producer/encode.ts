import { singleBatchSize, type Encoded } from '../../log/batch/write.js'
import { partitionOfKey } from '../../log/partitioner.js'
import type { TopicInfo } from '../../log/port.js'
import { MillraceError, errorMessage } from '../../record/error.js'
import { NO_HEADERS, encodeHeaders, replaceHeaders, type HeadersInput } from '../../record/headers.js'
import { kindOf } from '../../record/kind-of.js'
import { unspread, wholeMs } from '../../record/record.js'
import { isLater } from '../../record/serde.js'
import type { TraceHeaders } from '../../record/tracing.js'
import type { ProducerRecord, ProducerSettings } from './options.js'

/** A record as it goes into a batch. */
export interface EncodedRecord {
  readonly key: Encoded
  readonly value: Encoded
  /** A finished header section, or none. */
  readonly headers: HeadersInput | Buffer
  readonly headerBytes: number
  /** The same without headers of a trace, where it has some. */
  readonly bare: EncodedRecord | undefined
}

type GivenRecord = ProducerRecord<unknown, unknown>

/** `what` names the record in errors. @throws MillraceError ENCODE_FAILED, SPREAD_RECORD, INVALID_TIMESTAMP: a program's mistake, told by its place */
export function checkRecord(given: unknown, what: string): asserts given is GivenRecord {
  unspread(given, what)
  if (typeof given !== 'object' || given === null)
    throw new MillraceError('ENCODE_FAILED', `${what} is ${kindOf(given)}: expected { key, value, headers, timestamp, partition }`)
  if ((given as GivenRecord).timestamp !== undefined) wholeMs((given as GivenRecord).timestamp as number, what)
}

/** Later where a serde answers later. @throws MillraceError ENCODE_FAILED, SERDE_UNAVAILABLE and others of a serde */
export function encodeRecord(
  { key: keySerde, value: valueSerde }: ProducerSettings,
  given: GivenRecord,
  what: string,
  traced?: TraceHeaders,
): EncodedRecord | Promise<EncodedRecord> {
  const key = encodePart(keySerde, given.key ?? null, 'key', what)
  const value = encodePart(valueSerde, given.value, 'value', what)
  const { headers } = given
  const section = headers === undefined ? NO_HEADERS : headerSection(headers, what)
  const whole = (keyPart: unknown, valuePart: unknown): EncodedRecord => {
    const bare = withHeaders(plain(keyPart, 'key', what, keySerde), plain(valuePart, 'value', what, valueSerde), section, undefined)
    return traced === undefined ? bare : withHeaders(bare.key, bare.value, tracedSection(section, traced), bare)
  }
  if (isLater(key) || isLater(value))
    return Promise.all([key, value]).then(
      ([keyPart, valuePart]) => whole(keyPart, valuePart),
      (error: unknown) => {
        throw encodeFailed(error, what)
      },
    )
  return whole(key, value)
}

function withHeaders(key: Encoded, value: Encoded, headers: HeadersInput | Buffer, bare: EncodedRecord | undefined): EncodedRecord {
  return { key, value, headers, headerBytes: Buffer.isBuffer(headers) ? headers.length : 1, bare }
}

function tracedSection(section: HeadersInput | Buffer, traced: TraceHeaders): Buffer {
  return Buffer.isBuffer(section) ? replaceHeaders(section, 0, new Set(), traced) : encodeHeaders(traced)
}

function encodePart(serde: ProducerSettings['key'], part: unknown, name: string, what: string): unknown {
  if (serde === undefined || part === null) return part
  try {
    return serde.encode(part)
  } catch (error) {
    throw encodeFailed(error, `${what}: its ${name}`)
  }
}

function headerSection(headers: HeadersInput, what: string): Buffer {
  try {
    return encodeHeaders(headers)
  } catch (error) {
    throw encodeFailed(error, `${what}: its headers`)
  }
}

function encodeFailed(error: unknown, what: string): MillraceError {
  if (error instanceof MillraceError) return error
  return new MillraceError('ENCODE_FAILED', `${what}: ${errorMessage(error)}`, { cause: error })
}

function plain(part: unknown, name: string, what: string, serde: ProducerSettings['key']): Encoded {
  if (part === null || typeof part === 'string' || part instanceof Uint8Array) return part
  throw new MillraceError(
    'ENCODE_FAILED',
    serde === undefined
      ? `${what}: its ${name} is ${kindOf(part)}, not text, bytes or null: give a producer a serde, producer({ ${name}: json() }), or write objects as text, ${name}: JSON.stringify(...)`
      : `${what}: the serde '${serde.name}' made ${kindOf(part)} of its ${name}, not text, bytes or null`,
  )
}

function lengthOf(part: Encoded): number {
  return part === null ? 0 : typeof part === 'string' ? Buffer.byteLength(part, 'utf8') : part.length
}

/** Bytes that a record has in a batch of its own, beyond the batch's header, nearly. */
export function sizeOf({ key, value, headerBytes }: EncodedRecord): number {
  return lengthOf(key) + lengthOf(value) + headerBytes + 20
}

/** A record that fits without the headers of a trace is not refused for their sake. */
export function fitting(record: EncodedRecord, { maxMessageBytes }: TopicInfo): EncodedRecord {
  const { bare } = record
  return bare === undefined || maxMessageBytes === undefined || sizeOf(record) + 100 <= maxMessageBytes ? record : bare
}

/** @throws MillraceError RECORD_TOO_LARGE; compression is not foreseen, so that what is compressed is judged by the broker */
export function checkFits(record: EncodedRecord, size: number, { topic, maxMessageBytes }: TopicInfo, what: string): void {
  // Near the limit alone is it worth counting.
  if (maxMessageBytes === undefined || size + 100 <= maxMessageBytes) return
  const exact = singleBatchSize(bytesOf(record.key), bytesOf(record.value), record.headerBytes)
  if (exact > maxMessageBytes)
    throw new MillraceError(
      'RECORD_TOO_LARGE',
      `${what} takes ${exact} bytes, more than '${topic}' takes (max.message.bytes=${maxMessageBytes}): raise the topic's limit, make the record smaller, or set compression`,
    )
}

/** @throws MillraceError ENCODE_FAILED */
export function partitionFor(
  settings: ProducerSettings,
  given: GivenRecord,
  key: Encoded,
  { topic, partitions }: TopicInfo,
  turn: () => number,
  what: string,
): number {
  const chosen = given.partition ?? settings.partitioner?.(given, partitions)
  if (chosen === undefined) {
    if (key === null) return turn() % partitions
    const bytes = bytesOf(key) as Uint8Array
    return partitionOfKey(bytes, 0, bytes.length, partitions)
  }
  if (!Number.isInteger(chosen) || chosen < 0 || chosen >= partitions)
    throw new MillraceError('ENCODE_FAILED', `${what}: partition ${String(chosen)} does not exist, '${topic}' has ${partitions}`)
  return chosen
}

function bytesOf(part: Encoded): Uint8Array | null {
  return typeof part === 'string' ? Buffer.from(part, 'utf8') : part
}

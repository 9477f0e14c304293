import { isUtf8 } from 'node:buffer'
import { createHash } from 'node:crypto'
import { MillraceError } from '../../record/error.js'
import { isAscii, lastHeader } from '../../record/headers.js'
import { RAW_HEADERS, type LogRecord } from '../../record/record.js'
import { cursor, readVarint } from '../../record/varint.js'
import { bytesOfKey } from '../../state/key.js'
import { grouping } from '../../runtime/grouping.js'

type AnyLogRecord = LogRecord<unknown, unknown>

/** Where the id of a record stands, for `by`: made by `header`, `contentHash` and `recordKey`. */
export interface IdRule {
  /** For messages. */
  readonly name: string
  /** Whether records of one id are in one partition by what the rule is. */
  readonly partitioned: boolean
  /** @internal The id, or what is there instead of one. */
  idOf(record: AnyLogRecord): unknown
}

class Rule implements IdRule {
  constructor(
    readonly name: string,
    readonly partitioned: boolean,
    readonly idOf: (record: AnyLogRecord) => unknown,
  ) {}
}

export function isIdRule(given: unknown): given is IdRule {
  return given instanceof Rule
}

export function ruleOfFunction(by: (record: never) => unknown): IdRule {
  return new Rule('a function', false, by as unknown as (record: AnyLogRecord) => unknown)
}

/**
 * The id is the text (UTF-8) of a header; of its last value where it is there more than once. Bytes that are no UTF-8, such as a raw UUID,
 * are the id 'base64:' and their base64.
 *
 * @throws MillraceError INVALID_OPTIONS
 * @example
 * dedupe({ by: header('idempotency-key'), within: '1h' })
 */
export function header(name: string): IdRule {
  if (typeof name !== 'string' || name === '') throw new MillraceError('INVALID_OPTIONS', 'header: its argument is the name of a header')
  const bytes = Buffer.from(name, 'utf8')
  return new Rule(`header '${name}'`, false, (record) => {
    if ((record.raw & RAW_HEADERS) !== 0) {
      const found = lastHeader(record.source.bytes, record.headersStart(), bytes)
      return found === undefined ? undefined : idOfBytes(found)
    }
    const value = record.headers[name]
    const last = Array.isArray(value) ? (value as readonly (Buffer | null)[]).at(-1) : (value as Buffer | null | undefined)
    return last === undefined || last === null ? undefined : idOfBytes(last)
  })
}

/** Two ids of bytes that no text has would be one, if what is not UTF-8 were replaced. */
function idOfBytes(bytes: Buffer): string {
  const text = bytes.toString('utf8')
  return text.includes('\ufffd') && !isUtf8(bytes) ? `base64:${bytes.toString('base64')}` : text
}

/**
 * The id is the record's own key, which also decides its partition: a task sees all records of an id. It is the key as text (UTF-8); of one
 * that is none, 'base64:' and its base64.
 */
export function recordKey(): IdRule {
  const keyOf = grouping<AnyLogRecord>('recordKey', undefined)
  return new Rule('the record key', true, (record) => {
    const key = keyOf(record)
    return isAscii(key) ? key : idOfBytes(bytesOfKey(key))
  })
}

const LENGTH_BYTES = 4
const NULL_LENGTH = 0xffff_ffff
let scratch = Buffer.allocUnsafe(4096)

/**
 * The id is the SHA-256 of key and value, each with its length before it (4 bytes, big-endian; 0xffffffff for null), as base64url.
 *
 * Of a record that was read from a topic it is that of the bytes it was read as, whatever operators have made of them since. About 2 µs a
 * record.
 */
export function contentHash(): IdRule {
  return new Rule('the content', false, (record) => {
    let pos = 0
    if (record.start >= 0) {
      const { bytes } = record.source
      const keyLength = readVarint(bytes, record.start)
      pos = put(pos, bytes, cursor.pos, keyLength)
      const valueLength = readVarint(bytes, record.valueStart())
      pos = put(pos, bytes, cursor.pos, valueLength)
    } else {
      for (const part of [record.key, record.value]) {
        const bytes = typeof part === 'string' ? Buffer.from(part, 'utf8') : part
        if (bytes !== null && !(bytes instanceof Uint8Array)) return undefined
        pos = put(pos, bytes, 0, bytes?.length ?? -1)
      }
    }
    return createHash('sha256').update(scratch.subarray(0, pos)).digest('base64url')
  })
}

function put(pos: number, bytes: Uint8Array | null, start: number, length: number): number {
  const size = Math.max(0, length)
  const end = pos + LENGTH_BYTES + size
  if (end > scratch.length) {
    const larger = Buffer.allocUnsafe(end * 2)
    scratch.copy(larger, 0, 0, pos)
    scratch = larger
  }
  scratch.writeUInt32BE(length < 0 ? NULL_LENGTH : length, pos)
  if (bytes !== null && size > 0) scratch.set(bytes.subarray(start, start + size), pos + LENGTH_BYTES)
  return end
}

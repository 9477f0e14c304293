import { failureHeaders, readFailure, type Failure, type FailureHeaders } from './failure-headers.js'
import { replaceHeaders, splitHeaders, type Headers } from './headers.js'
import { LogRecord, RAW_ALL, type RecordSource, type Retries } from './record.js'

/** What the headers of a record in a retry topic tell. */
export interface Hop extends Omit<Retries, 'tries'> {
  /** The last failure, with where the record was first read and all tries so far. */
  readonly failure: Failure
}

export interface ReadHop {
  readonly hop: Hop
  /** The header section the record had before. */
  readonly headers: Buffer
}

export type HopRecord = LogRecord<Buffer | null, Buffer | null>

/** Whose names the headers have. Kafka Streams has no retry topics: there only the failure goes under its names. */
interface Names {
  readonly attempt: string
  readonly due: string
  readonly numbers: { write(value: number): string | Buffer; read(value: Buffer): number | undefined }
  /** Written besides, for readers of that kind. */
  readonly timestamp?: string
}

const FIRST_ERROR = 'millrace.retry.first-error'
const FIRST_MESSAGE = 'millrace.retry.first-message'
const BEHIND = 'millrace.retry.behind'

const decimal: Names['numbers'] = {
  write: (value) => String(value),
  read: (value) => (/^-?\d{1,16}$/.test(value.toString('latin1')) ? Number(value.toString('latin1')) : undefined),
}

/** Java's BigInteger.toByteArray: two's complement, big-endian, as short as it goes. Reads an int of four bytes just as well. */
const bigInteger: Names['numbers'] = {
  write(value) {
    const bytes = Buffer.alloc(8)
    bytes.writeBigInt64BE(BigInt(value))
    const sign = value < 0 ? 0xff : 0
    let start = 0
    while (start < 7 && bytes[start] === sign && ((bytes[start + 1] as number) & 0x80) === (sign & 0x80)) start++
    return bytes.subarray(start)
  },
  read: (value) => (value.length > 0 && value.length <= 8 ? Number(BigInt.asIntN(8 * value.length, BigInt(`0x${value.toString('hex')}`))) : undefined),
}

const int32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32BE(value)
  return bytes
}

const OURS: Names = { attempt: 'millrace.retry.attempt', due: 'millrace.retry.due', numbers: decimal }
const NAMES: Readonly<Record<FailureHeaders, Names>> = {
  millrace: OURS,
  streams: OURS,
  spring: { attempt: 'retry_topic-attempts', due: 'retry_topic-backoff-timestamp', numbers: bigInteger, timestamp: 'retry_topic-original-timestamp' },
}
const NONE: ReadonlySet<string> = new Set()

/**
 * The header section of a record on its way into a retry topic: its own headers as they are, and behind them those of the hop. The first of
 * these is the attempt, by which `readHop` finds where they begin.
 */
export function hopHeaders(raw: LogRecord<unknown, unknown>, { attempt, due, firstError, firstMessage, behind, failure }: Hop, preset: FailureHeaders): Buffer {
  const names = NAMES[preset]
  const added: Record<string, string | Buffer> = {
    [names.attempt]: names === OURS ? String(attempt) : int32(attempt),
    [names.due]: names.numbers.write(due),
    ...(names.timestamp === undefined ? {} : { [names.timestamp]: names.numbers.write(failure.timestamp) }),
    ...failureHeaders(failure, preset),
    [FIRST_ERROR]: firstError,
    [FIRST_MESSAGE]: firstMessage,
    ...(behind < 0 ? {} : { [BEHIND]: String(behind) }),
  }
  return replaceHeaders(raw.source.bytes, raw.headersStart(), NONE, added)
}

/** A record of a retry topic, taken apart. Undefined where something else wrote it. */
export function readHop(record: HopRecord, preset: FailureHeaders): ReadHop | undefined {
  const names = NAMES[preset]
  const split = splitHeaders(record.source.bytes, record.headersStart(), names.attempt)
  if (split === undefined) return undefined
  const { front, rest } = split
  const failure = readFailure(rest)
  const number = (name: string, { read }: Names['numbers']): number | undefined => {
    const value = valueOf(rest, name)
    return value === undefined ? undefined : read(value)
  }
  const attempt = number(names.attempt, names.numbers)
  if (failure === undefined || attempt === undefined) return undefined
  return {
    hop: {
      attempt,
      due: number(names.due, names.numbers) ?? 0,
      failure,
      firstError: valueOf(rest, FIRST_ERROR)?.toString('utf8') ?? failure.error,
      firstMessage: valueOf(rest, FIRST_MESSAGE)?.toString('utf8') ?? failure.message,
      behind: number(BEHIND, decimal) ?? -1,
    },
    headers: front,
  }
}

function valueOf(headers: Headers, name: string): Buffer | undefined {
  const value = headers[name]
  return value instanceof Buffer ? value : undefined
}

/**
 * The record that a record of a retry topic was made from: where it was first read, its own time, its bytes and headers. What becomes
 * of it counts for the record of the retry topic.
 */
export function originalOf(record: HopRecord, { hop, headers }: ReadHop): HopRecord {
  const { attempt, due, firstError, firstMessage, behind, failure } = hop
  const { topic, partition, offset } = failure.origin
  const bytes = Buffer.concat([record.source.bytes.subarray(record.start, record.headersStart()), headers])
  const source: RecordSource = { topic, partition, bytes, marks: record.source.marks, retries: { attempt, tries: failure.attempts, due, firstError, firstMessage, behind } }
  return new LogRecord<Buffer | null, Buffer | null>(source, offset, failure.timestamp, record.seq, 0, bytes.length, RAW_ALL, undefined, undefined, undefined)
}

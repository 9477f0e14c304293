import { errorMessage } from './error.js'
import { inLog, type FailedRecord } from './failed-record.js'
import type { Headers } from './headers.js'
import { LINEAGE_HEADER, lineageText, parseLineage, type Lineage } from './lineage.js'
import { originText, type Origin } from './origin.js'

/** What the headers of a failed record tell: where it came from and why it failed. */
export interface Failure {
  /** Where the record was read. */
  readonly origin: Origin
  /**
   * The record's `id`: where it was first read, which is another place than `origin` if it was sent back from a dead-letter topic before.
   */
  readonly id: string
  /** The record's own time, in milliseconds since the epoch; -1 if it has none. */
  readonly timestamp: number
  /** Name of the step that failed. */
  readonly step: string
  /** Class of the error; of what is no Error, its type. */
  readonly error: string
  /** The error's `code`, if it has one: that of a MillraceError, ECONNREFUSED, ... */
  readonly code: string | undefined
  readonly message: string
  /** Stack of the error and of its causes, cut to what the writer allowed; '' if there is none. */
  readonly stack: string
  /** How often the step was tried. */
  readonly attempts: number
}

/** Whose header names are written: millrace's own, those of Spring Kafka, or those of Kafka Streams (KIP-1034). */
export type FailureHeaders = 'millrace' | 'spring' | 'streams'

/** A failure as headers hold it. */
export interface FailureNote extends Omit<Failure, 'id'> {
  /** Where the record came from before, if it had been sent back from a dead-letter topic. */
  readonly lineage?: Lineage | undefined
}

type Draft = { -readonly [name in keyof FailureNote]: FailureNote[name] }

/** One header: what goes in, and what is learnt from it. `write` gives undefined where there is nothing to tell. */
interface Column {
  readonly name: string
  write(failure: FailureNote): string | Buffer | undefined
  read(value: Buffer, draft: Draft): void
}

/** Names, codes and messages beyond this say nothing more. */
const MAX_NAME_BYTES = 200
const MAX_MESSAGE_BYTES = 1_000
const MAX_CAUSES = 5

type TextField = 'step' | 'error' | 'message' | 'stack'

const text = (name: string, field: TextField): Column => ({
  name,
  write: (failure) => (failure[field] === '' ? undefined : failure[field]),
  read: (value, draft) => void (draft[field] = value.toString('utf8')),
})

const code = (name: string): Column => ({
  name,
  write: (failure) => failure.code,
  read: (value, draft) => void (draft.code = value.toString('utf8')),
})

/** A whole number as the preset writes it. */
interface NumberForm {
  write(value: number): string | Buffer
  read(value: Buffer): number | undefined
}

const decimal: NumberForm = {
  write: (value) => String(value),
  read: (value) => (/^-?\d{1,16}$/.test(value.toString('latin1')) ? Number(value.toString('latin1')) : undefined),
}

const int32: NumberForm = {
  write(value) {
    const bytes = Buffer.alloc(4)
    bytes.writeInt32BE(value)
    return bytes
  },
  read: (value) => (value.length === 4 ? value.readInt32BE() : undefined),
}

const int64: NumberForm = {
  write(value) {
    const bytes = Buffer.alloc(8)
    bytes.writeBigInt64BE(BigInt(value))
    return bytes
  },
  read: (value) => (value.length === 8 ? Number(value.readBigInt64BE()) : undefined),
}

const number = (name: string, field: 'timestamp' | 'attempts', form: NumberForm): Column => ({
  name,
  write: (failure) => form.write(failure[field]),
  read: (value, draft) => void (draft[field] = form.read(value) ?? draft[field]),
})

const topic = (name: string): Column => ({
  name,
  write: (failure) => failure.origin.topic,
  read: (value, draft) => void (draft.origin = { ...draft.origin, topic: value.toString('utf8') }),
})

const coordinate = (name: string, field: 'partition' | 'offset', form: NumberForm): Column => ({
  name,
  write: (failure) => form.write(failure.origin[field]),
  read: (value, draft) => void (draft.origin = { ...draft.origin, [field]: form.read(value) ?? draft.origin[field] }),
})

const constant = (name: string, value: string): Column => ({ name, write: () => value, read: () => {} })

/** "topic/partition/offset", the id that messages and logs show: topic names hold no slash. */
const origin = (name: string): Column => ({
  name,
  write: ({ origin }) => originText(origin),
  read(value, draft) {
    const match = /^([^/]*)\/(-?\d+)\/(-?\d+)$/.exec(value.toString('utf8'))
    if (match !== null) draft.origin = { topic: match[1] as string, partition: Number(match[2]), offset: Number(match[3]) }
  },
})

/**
 * It counts with that origin only: whoever makes headers up cannot know where the record will lie. Behind the origin in each preset, as it
 * is read in that order.
 */
const sentBack: Column = {
  name: LINEAGE_HEADER,
  write: ({ origin, lineage }) => (lineage === undefined ? undefined : `${lineageText(lineage)} at ${originText(origin)}`),
  read(value, draft) {
    const [lineage = '', at] = value.toString('utf8').split(' at ')
    if (at === originText(draft.origin)) draft.lineage = parseLineage(lineage)
  },
}

/** Each preset is the whole set of headers it may write; what it has no name for goes under ours. */
const PRESETS: Readonly<Record<FailureHeaders, readonly Column[]>> = {
  millrace: [
    origin('millrace.origin'),
    sentBack,
    number('millrace.timestamp', 'timestamp', decimal),
    text('millrace.step', 'step'),
    text('millrace.error', 'error'),
    code('millrace.code'),
    text('millrace.message', 'message'),
    text('millrace.stack', 'stack'),
    number('millrace.attempts', 'attempts', decimal),
  ],
  // KafkaHeaders and DeadLetterPublishingRecoverer of Spring Kafka: numbers are big-endian binary.
  spring: [
    topic('kafka_dlt-original-topic'),
    coordinate('kafka_dlt-original-partition', 'partition', int32),
    coordinate('kafka_dlt-original-offset', 'offset', int64),
    sentBack,
    number('kafka_dlt-original-timestamp', 'timestamp', int64),
    constant('kafka_dlt-original-timestamp-type', 'CreateTime'),
    text('kafka_dlt-exception-fqcn', 'error'),
    text('kafka_dlt-exception-message', 'message'),
    text('kafka_dlt-exception-stacktrace', 'stack'),
    number('kafka_deliveryAttempt', 'attempts', int32),
    text('millrace.step', 'step'),
    code('millrace.code'),
  ],
  // ExceptionHandlerUtils of Kafka Streams: everything is text.
  streams: [
    topic('__streams.errors.topic'),
    coordinate('__streams.errors.partition', 'partition', decimal),
    coordinate('__streams.errors.offset', 'offset', decimal),
    sentBack,
    {
      ...text('__streams.errors.exception', 'error'),
      // Streams writes Throwable.toString(): the class, then ": " and the message.
      read: (value, draft) => void (draft.error = value.toString('utf8').split(': ', 1)[0] as string),
    },
    text('__streams.errors.message', 'message'),
    text('__streams.errors.stacktrace', 'stack'),
    number('millrace.timestamp', 'timestamp', decimal),
    text('millrace.step', 'step'),
    code('millrace.code'),
    number('millrace.attempts', 'attempts', decimal),
  ],
}

const NAMES = Object.fromEntries(
  Object.entries(PRESETS).map(([preset, columns]) => [preset, new Set(columns.map(({ name }) => name))]),
) as unknown as Readonly<Record<FailureHeaders, ReadonlySet<string>>>

/** Every header that a preset may write: what a hop takes out before it writes its own. */
export function failureHeaderNames(preset: FailureHeaders): ReadonlySet<string> {
  return NAMES[preset]
}

export function failureHeaders(failure: FailureNote, preset: FailureHeaders): Record<string, string | Buffer> {
  const headers: Record<string, string | Buffer> = {}
  for (const column of PRESETS[preset]) {
    const value = column.write(failure)
    if (value !== undefined) headers[column.name] = value
  }
  return headers
}

/**
 * What the headers of a dead letter tell, whether millrace, Spring Kafka or Kafka Streams wrote them; undefined where there are none.
 *
 * What the writer left out is '', undefined, or -1 for numbers; `attempts` is then 1. Where a header stands more than once, the last one
 * counts.
 *
 * @example
 * for await (const letter of cluster.read({ topic: 'orders.dead' })) console.log(readFailure(letter.headers)?.message)
 */
export function readFailure(headers: Headers): Failure | undefined {
  const note = readNote(headers)
  if (note === undefined) return undefined
  const { lineage, ...failure } = note
  return { ...failure, id: originText(lineage?.first ?? failure.origin) }
}

/** What such headers hold. */
export function readNote(headers: Headers): FailureNote | undefined {
  for (const columns of Object.values(PRESETS)) {
    // The first column says where the record came from, under a name that no other preset has.
    if ((columns[0] as Column).name in headers) return readWith(columns, headers)
  }
  return undefined
}

function readWith(columns: readonly Column[], headers: Headers): FailureNote {
  const draft: Draft = {
    origin: { topic: '', partition: -1, offset: -1 },
    lineage: undefined,
    timestamp: -1,
    step: '',
    error: '',
    code: undefined,
    message: '',
    stack: '',
    attempts: 1,
  }
  for (const { name, read } of columns) {
    const found = headers[name]
    const value = Array.isArray(found) ? (found as readonly (Buffer | null)[]).at(-1) : (found as Buffer | null | undefined)
    if (value instanceof Buffer) read(value, draft)
  }
  return draft
}

/** A failed record's failure, every part of it bounded. */
export function failureOf(failed: FailedRecord, maxStackBytes: number): FailureNote {
  const { error, step, attempts } = failed
  const record = inLog(failed)
  const { origin, lineage } = record
  return {
    origin,
    lineage,
    timestamp: record.timestamp,
    step: cut(step, MAX_NAME_BYTES),
    error: cut(classOf(error), MAX_NAME_BYTES),
    code: codeOf(error),
    message: cut(errorMessage(error), MAX_MESSAGE_BYTES),
    // Asking for it is what makes the text of a stack, at many times the cost of the error.
    stack: maxStackBytes === 0 ? '' : cut(stackOf(error), maxStackBytes),
    attempts,
  }
}

/**
 * The failure as `encode` makes it, shortened until it is not too large, as far as that goes. `excessOf` tells the bytes it has too many.
 */
export function fitted<T>(failure: FailureNote, encode: (failure: FailureNote) => T, excessOf: (encoded: T) => number): T {
  for (let at = failure; ;) {
    const encoded = encode(at)
    const excess = excessOf(encoded)
    if (excess <= 0 || (at.stack === '' && at.message === '')) return encoded
    at = shortened(at, excess)
  }
}

/** The same with `excess` bytes less: of the stack first, then of the message. */
function shortened(failure: FailureNote, excess: number): FailureNote {
  const stackBytes = Buffer.byteLength(failure.stack)
  if (stackBytes > 0) return { ...failure, stack: cut(failure.stack, Math.max(0, stackBytes - excess)) }
  return { ...failure, message: cut(failure.message, Math.max(0, Buffer.byteLength(failure.message) - excess)) }
}

/** At most so many bytes of UTF-8, no character cut in two. */
function cut(value: string, maxBytes: number): string {
  if (value.length * 3 <= maxBytes) return value
  const bytes = Buffer.from(value, 'utf8')
  if (bytes.length <= maxBytes) return value
  let end = maxBytes
  while (end > 0 && ((bytes[end] as number) & 0xc0) === 0x80) end--
  return bytes.toString('utf8', 0, end)
}

/** Classes seldom set `name`: then that of the constructor says more than "Error". */
function classOf(error: unknown): string {
  if (!(error instanceof Error)) return error === null ? 'null' : typeof error
  return error.name !== 'Error' ? String(error.name) : error.constructor.name || 'Error'
}

function codeOf(error: unknown): string | undefined {
  const code = typeof error === 'object' && error !== null ? (error as { readonly code?: unknown }).code : undefined
  return typeof code === 'string' || typeof code === 'number' ? cut(String(code), MAX_NAME_BYTES) : undefined
}

function stackOf(error: unknown): string {
  const stacks: string[] = []
  for (let at = error; at instanceof Error && stacks.length < MAX_CAUSES; at = at.cause) stacks.push(String(at.stack ?? ''))
  return stacks.join('\nCaused by: ')
}

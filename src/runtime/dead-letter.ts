import { MillraceError } from '../record/error.js'
import { inLog, type FailedRecord } from '../record/failed-record.js'
import { failureHeaderNames, failureHeaders, failureOf, fitted, type FailureHeaders } from '../record/failure-headers.js'
import { encodeHeaders, replaceHeaders, type HeadersInput } from '../record/headers.js'
import type { LogRecord } from '../record/record.js'
import { Mark, mark } from './accounting.js'
import type { TopicOutput } from './outputs.js'

/** Enough for the frames of user code and a cause or two. */
export const DEFAULT_STACK_BYTES = 4_096

/** How a dead letter says what happened: under the names of a preset, or with headers of the user's own making. */
export type DeadLetterHeaders<F extends FailedRecord = FailedRecord> = FailureHeaders | ((failed: F) => HeadersInput)

/**
 * Writes a failed record as it was read, key, value and headers byte for byte, and behind its headers those that tell of the failure.
 * Earlier ones of the same names are taken out, so that a record that fails again and again does not grow.
 *
 * The stack, then the message are cut until the record fits the topic.
 *
 * @throws MillraceError RECORD_TOO_LARGE where it does not fit even so; ENCODE_FAILED if it was never read from a log and is not bytes
 */
export function writeDeadLetter(
  output: TopicOutput,
  failed: FailedRecord,
  headers: DeadLetterHeaders = 'millrace',
  maxStackBytes = DEFAULT_STACK_BYTES,
): void {
  const raw = failed.raw as LogRecord<Buffer | null, Buffer | null>
  const key = bytesOf(raw.key, 'key', raw)
  const value = bytesOf(raw.value, 'value', raw)
  const { partition } = raw.source
  const section =
    headers instanceof Function
      ? ownHeaders(raw, headers(failed))
      : fitted(
          failureOf(failed, maxStackBytes),
          (failure) => withHeaders(raw, failureHeaderNames(headers), failureHeaders(failure, headers)),
          (tried) => output.excessBytes(raw, key, value, tried),
        )
  const to = partition < 0 ? output.partitionOf(raw, key) : partition % output.partitions
  try {
    output.appendWhole(raw, to, key, value, section)
  } catch (error) {
    if (error instanceof MillraceError && error.code === 'RECORD_TOO_LARGE') lettersRefused.add(error)
    throw error
  }
  mark(inLog(failed), Mark.failed)
}

const lettersRefused = new WeakSet<MillraceError>()

/**
 * Whether an error is that of a dead letter which does not fit its topic. To go on without that record would be to lose it without a trace.
 */
export function isLetterTooLarge(error: unknown): boolean {
  return error instanceof MillraceError && lettersRefused.has(error)
}

function ownHeaders(raw: LogRecord<unknown, unknown>, headers: HeadersInput): Buffer {
  // What is none is refused as it is encoded.
  return withHeaders(raw, new Set(Object.keys((headers as HeadersInput | null | undefined) ?? {})), headers)
}

function withHeaders(raw: LogRecord<unknown, unknown>, names: ReadonlySet<string>, added: HeadersInput): Buffer {
  return raw.start < 0
    ? replaceHeaders(encodeHeaders(raw.headers), 0, names, added)
    : replaceHeaders(raw.source.bytes, raw.headersStart(), names, added)
}

/** What was read is bytes; only records that user code made can be anything else. */
function bytesOf(part: unknown, name: string, record: LogRecord<unknown, unknown>): Uint8Array | null {
  if (part === null || part instanceof Uint8Array) return part
  if (typeof part === 'string') return Buffer.from(part, 'utf8')
  throw new MillraceError(
    'ENCODE_FAILED',
    `the ${name} of ${record.id}, which failed, is a ${typeof part} and was never read from a topic, so there are no bytes to store: derive records with record.with({ ... }) instead of record({ ... })`,
    { origin: record.origin },
  )
}

import { MillraceError, errorMessage } from '../record/error.js'
import type { HeadersInput } from '../record/headers.js'
import type { RawRecord } from '../record/record.js'

/** Longer messages are cut, so that a dead letter never outgrows what the broker takes. */
const MESSAGE_LIMIT = 1_000

/** Headers of a dead letter: where it came from and why. One bounded set, overwritten if the record has been here before. */
export function deadLetterHeaders(record: RawRecord, error: unknown, step: string): HeadersInput {
  const { topic, partition, offset } = record.origin
  return {
    ...record.headers,
    'millrace.origin': `${topic}/${partition}/${offset}`,
    'millrace.step': step,
    'millrace.error': error instanceof MillraceError ? error.code : error instanceof Error ? error.name : typeof error,
    'millrace.message': errorMessage(error).slice(0, MESSAGE_LIMIT),
  }
}

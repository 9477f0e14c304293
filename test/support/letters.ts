import { failureHeaders } from '../../src/record/failure-headers.js'
import type { FailureHeaders, HeadersInput, ProduceRecord } from '../../src/index.js'

export const LETTER_TIME = Date.UTC(2026, 0)

export interface LetterInit {
  /** Where it came from. */
  readonly topic?: string
  readonly partition?: number
  readonly error?: string
  readonly message?: string
  readonly step?: string
  readonly preset?: FailureHeaders
  readonly headers?: HeadersInput
  readonly key?: string
  /** Partition of the dead-letter topic. */
  readonly into?: number
}

/** A dead letter as a pipeline would have written it. */
export function letter(
  value: string,
  {
    topic = 'in',
    partition = 0,
    error = 'TypeError',
    message = 'no',
    step = 'charge',
    preset = 'millrace',
    headers = {},
    key = `k-${value}`,
    into = 0,
  }: LetterInit = {},
): ProduceRecord & { readonly value: string } {
  const failure = {
    origin: { topic, partition, offset: 0 },
    timestamp: LETTER_TIME,
    step,
    error,
    code: undefined,
    message,
    stack: 'stack',
    attempts: 1,
  }
  return { key, value, headers: { ...headers, ...failureHeaders(failure, preset) }, timestamp: LETTER_TIME, partition: into }
}

import { failureHeaderNames, type FailureHeaders } from './failure-headers.js'
import type { Headers } from './headers.js'

/** How often a record was sent back from a dead-letter topic; stays on it when it fails again. */
export const REDRIVEN_HEADER = 'millrace.redriven'

const PRESETS: readonly FailureHeaders[] = ['millrace', 'spring', 'streams']
const NAMES = new Set(PRESETS.flatMap((preset) => [...failureHeaderNames(preset)]))
/**
 * Whole families, since writers have more of them than are read here. What Spring's retry topics count attempts in would make the record
 * its last attempt at once.
 */
const PREFIXES = ['millrace.', '__streams.errors.', 'kafka_dlt-', 'retry_topic-', 'springDeserializerException']

/** True for headers that tell of a failure: the original record did not have them. */
export function isFailureHeader(name: string): boolean {
  return NAMES.has(name) || PREFIXES.some((prefix) => name.startsWith(prefix))
}

export function timesRedriven(headers: Headers): number {
  const found = headers[REDRIVEN_HEADER]
  const last = Array.isArray(found) ? (found as readonly (Buffer | null)[]).at(-1) : (found as Buffer | null | undefined)
  const text = last?.toString('latin1') ?? ''
  return /^\d{1,9}$/.test(text) ? Number(text) : 0
}

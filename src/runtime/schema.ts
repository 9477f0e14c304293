import type { StandardSchemaV1 } from '@standard-schema/spec'
import { MillraceError } from '../record/error.js'

export function isStandardSchema(given: unknown): given is StandardSchemaV1 {
  const standard = (given as Partial<StandardSchemaV1> | null | undefined)?.['~standard']
  return typeof standard?.validate === 'function'
}

/** What a schema found wrong, as text. */
export function issuesText(issues: readonly StandardSchemaV1.Issue[]): string {
  const problems = issues.map(({ message, path }) => {
    const at = (path ?? []).map((part) => String(typeof part === 'object' ? part.key : part)).join('.')
    return at === '' ? message : `${at}: ${message}`
  })
  return problems.join('; ')
}

/** What a schema made of a value. @throws MillraceError DECODE_FAILED where it does not fit */
export function validValue<V>(result: StandardSchemaV1.Result<unknown>): V {
  if (result.issues === undefined) return result.value as V
  throw new MillraceError('DECODE_FAILED', `it does not fit its schema: ${issuesText(result.issues)}`, { cause: result.issues })
}

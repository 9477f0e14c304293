import type { StandardSchemaV1 } from '@standard-schema/spec'

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

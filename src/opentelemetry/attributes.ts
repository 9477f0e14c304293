/** Semantic conventions for messaging, v1.44. */
export const KAFKA = { 'messaging.system': 'kafka' } as const

/** A class of error, of which there are few: its code, or the name of its class. */
export function errorType(error: unknown): string {
  const code = typeof error === 'object' && error !== null ? (error as { readonly code?: unknown }).code : undefined
  if (typeof code === 'string' && code.length <= 64) return code
  if (!(error instanceof Error)) return '_OTHER'
  return error.name !== 'Error' ? error.name : error.constructor.name
}

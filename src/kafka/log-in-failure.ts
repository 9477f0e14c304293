import { logError } from '../log/error.js'
import { MillraceError, errorMessage } from '../record/error.js'
import { NoToken, ProviderFailed, type Credentials } from './credentials.js'
import { Unanswered } from './errors.js'

/** Answers that end a log-in for good; any other may pass. */
const REFUSALS: ReadonlySet<unknown> = new Set(['UNSUPPORTED_SASL_MECHANISM', 'ILLEGAL_SASL_STATE', 'SASL_AUTHENTICATION_FAILED'])

/** A log-in that failed, and what was seen of it. */
export interface FailedLogIn {
  /** Name of the broker. */
  readonly name: string
  readonly error: unknown
  /** What the connection ended with, if it has. */
  readonly ended: Error | undefined
  /** What its last request failed with, if that was it. */
  readonly requestError: unknown
  readonly credentials: Credentials | undefined
}

/**
 * What broke on the way may pass, and so may what the program's provider of tokens failed with; a refusal does not. No cause: it could hold
 * secrets.
 */
export function logInFailure({ name, error, ended, requestError, credentials }: FailedLogIn): Error {
  const what = `log-in to ${name}`
  const said = (cause: unknown): string => credentials?.redact(errorMessage(cause)) ?? errorMessage(cause)
  if (ended !== undefined) return ended instanceof MillraceError ? ended : new Unanswered(`${what}: ${said(ended)}`, false)
  if (error instanceof ProviderFailed) return new Unanswered(`${what}: sasl.oauthBearerProvider failed: ${said(error)}`, false, error.cause)
  if (error instanceof NoToken) return logError('UNAUTHORIZED', 'fatal', `${what}: ${said(error)}`)
  const answered = requestError === undefined || REFUSALS.has((requestError as { type?: unknown }).type)
  if (!answered) return new Unanswered(`${what}: ${said(requestError)}`, false)
  return logError('UNAUTHORIZED', 'fatal', `${what} refused: ${said(error)}. Check mechanism, user and password in sasl`)
}

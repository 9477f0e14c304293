import { logError } from '../log/error.js'
import type { LogError, Reaction } from '../log/port.js'
import { MillraceError, errorMessage, type ErrorCode } from '../record/error.js'
import { ERROR, ERROR_CODES } from './error-codes.js'
import { ERRORS_BY_API, type Done, type ErrorRow, type Refresh } from './error-table.js'
import type { ApiName } from './protocol/api.js'

export { ERROR } from './error-codes.js'
export type { Refresh } from './error-table.js'

/** What an error means as the answer to one kind of request. */
export interface KafkaErrorInfo {
  readonly code: number
  readonly name: string
  /** Tried again inside the port, after this was looked up; undefined where that cannot help. */
  readonly retry: Refresh | undefined
  /** What is thrown, once trying again is over or of no use. */
  readonly as: ErrorCode
  readonly reaction: Reaction
  /** Whether the request may have been carried out all the same. */
  readonly done: Done
  /** What happened, the likely cause, what to do. */
  readonly reason: string
}

const TABLE: ReadonlyMap<string, ReadonlyMap<number, KafkaErrorInfo>> = new Map(
  Object.entries(ERRORS_BY_API).map(([api, { rows }]) => [api, new Map(rows.map((row) => [row[0], infoOf(row)]))]),
)

export function kafkaErrorInfo(api: ApiName, code: number): KafkaErrorInfo {
  return TABLE.get(api)?.get(code) ?? unlisted(api, code)
}

function infoOf([code, retry, as, reaction, done, reason]: ErrorRow): KafkaErrorInfo {
  const known = ERROR_CODES.get(code)
  return {
    code,
    name: known?.name ?? `error ${code}`,
    retry: retry === 'give up' ? undefined : retry,
    as,
    reaction,
    done,
    reason: reason ?? known?.reason ?? 'the broker answers with an error this client does not know',
  }
}

/** Nothing is known of what was done: brokers of later versions may answer with what those of today do not. */
function unlisted(api: ApiName, code: number): KafkaErrorInfo {
  const [passing, other] = ERRORS_BY_API[api].otherwise
  return ERROR_CODES.get(code)?.passes === true
    ? infoOf([code, 'nothing', 'TIMEOUT', passing, 'maybe'])
    : infoOf([code, 'give up', 'BROKER_REFUSED', other, 'maybe'])
}

/** A request that a broker answered with an error. Inside the port only. */
export class Refused extends Error {
  readonly info: KafkaErrorInfo

  constructor(
    /** Which request. */
    api: { readonly name: ApiName },
    code: number,
    /** What was asked for, to start the message with. */
    readonly what: string,
    /** What the broker says of it. */
    readonly detail?: string | null,
  ) {
    const info = kafkaErrorInfo(api.name, code)
    super(`${what}: ${info.reason}${detail == null ? '' : ` (${detail})`} [${info.name}]`)
    this.info = info
  }
}

/** A connection that could not be made, broke, or gave no answer in time. Inside the port only. */
export class Unanswered extends Error {
  constructor(
    message: string,
    /** Whether the request was given to the socket: if so, the broker may have carried it out. */
    readonly sent: boolean,
    cause?: unknown,
  ) {
    super(message, { cause })
  }
}

/** @throws Refused */
export function check(api: { readonly name: ApiName }, code: number, what: string, detail?: string | null): void {
  if (code !== ERROR.none) throw new Refused(api, code, what, detail)
}

/** @throws Refused */
export function checkEach(
  api: { readonly name: ApiName },
  results: Iterable<{ readonly topic: string; readonly partition: number; readonly error: number }>,
  what: string,
): void {
  for (const { topic, partition, error } of results) check(api, error, `${what} of ${topic}/${partition}`)
}

/** How to go on after an error inside the port: what to look up before the next try, or undefined if another try is of no use. */
export function refreshAfter(error: unknown): Refresh | undefined {
  if (error instanceof Unanswered) return 'coordinator'
  return error instanceof Refused ? error.info.retry : undefined
}

/** Whether what was asked for may have been done although the request failed. */
export function mayBeDone(error: unknown): boolean {
  if (error instanceof Unanswered) return error.sent
  return error instanceof Refused && error.info.done === 'maybe'
}

/** The error as it leaves the port. */
export function asLogError(error: unknown, what: string): unknown {
  if (error instanceof Refused) {
    const { retry, as, reaction } = error.info
    const retryable =
      retry !== undefined || reaction === 'reinit' || reaction === 'lost' || reaction === 'rejoin' || as === 'TRANSACTION_ABORTED'
    return logError(as, reaction, error.message, { retryable })
  }
  if (error instanceof Unanswered) return logError('BROKER_UNREACHABLE', 'retry', `${what}: ${error.message}`, { cause: error.cause })
  return error
}

/** As `asLogError`, where nothing but LogErrors may come out. */
export function asReaction(error: unknown, what: string): LogError {
  const known = asLogError(error, what)
  return known instanceof MillraceError && 'reaction' in known ? (known as LogError) : withReaction(known, 'fatal')
}

/** The same failure with another reaction, where what was being done asks for one. */
export function withReaction(error: unknown, reaction: Reaction): LogError {
  if (error instanceof MillraceError)
    return logError(error.code, reaction, error.message, { cause: error.cause, origin: error.origin, retryable: error.retryable })
  return logError('BROKER_REFUSED', reaction, errorMessage(error), { cause: error })
}

/** As `asReaction`, of a step without which a transaction cannot go on: what may pass later ends it all the same. */
export function givesTransactionUp(error: unknown, what: string): LogError {
  const failure = asReaction(error, what)
  return failure.reaction === 'retry' || failure.reaction === 'rejoin' ? withReaction(failure, 'abort') : failure
}

export function closedError(): LogError {
  return logError('CLOSED', 'fatal', 'the connection to Kafka was closed while this was under way')
}

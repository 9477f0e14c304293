import type { Encoded } from '../log/batch/write.js'
import { MillraceError, errorMessage } from '../record/error.js'
import { FailedRecord } from '../record/failed-record.js'
import { isSpread } from '../record/record-source.js'
import { LogRecord, unspread } from '../record/record.js'
import { isLater, type AnySerde } from '../record/serde.js'
import { isNobodys, isUnavailable } from './blame.js'

type Encoder = Pick<AnySerde<unknown>, 'name' | 'encode'>

/**
 * Key or value of a record as it will be written; a promise of it where the serde answers with one, or cannot be asked now.
 *
 * @throws MillraceError ENCODE_FAILED, LOSSY_SERDE
 */
export function encodeSoon(
  operator: string,
  serde: Encoder,
  given: unknown,
  record: LogRecord<unknown, unknown>,
  part: string,
): Encoded | Promise<Encoded> {
  let encoded: ReturnType<Encoder['encode']>
  try {
    encoded = serde.encode(given)
  } catch (error) {
    if (isUnavailable(error)) return Promise.reject(error as Error)
    throw encodeFailure(serde, error, record, part)
  }
  if (encoded === null || typeof encoded === 'string' || encoded instanceof Uint8Array) return encoded
  if (!isLater<Encoded>(encoded)) throw notEncoded(operator, encoded, record, part)
  return Promise.resolve(encoded).then(
    (found) => {
      if (found === null || typeof found === 'string' || found instanceof Uint8Array) return found
      throw notEncoded(operator, found, record, part)
    },
    (error: unknown) => {
      throw encodeFailure(serde, error, record, part)
    },
  )
}

/** What a serde answered that has not said that it answers later. @throws MillraceError INVALID_OPTIONS where it did all the same */
export function atOnce<T>(answer: T | PromiseLike<T>, what: string): T {
  if (!isLater(answer)) return answer
  // Nobody waits for it.
  answer.then(undefined, () => undefined)
  throw new MillraceError('INVALID_OPTIONS', `${what}: its serde answered with a promise: one that answers later says so (async: true)`)
}

function encodeFailure({ name }: Encoder, error: unknown, record: LogRecord<unknown, unknown>, part: string): unknown {
  // No record is to blame for that.
  if (isSpread(error) || isNobodys(error)) return error
  return new MillraceError('ENCODE_FAILED', `the ${part} made from ${record.id} cannot be written as ${name}: ${errorMessage(error)}`, {
    origin: record.origin,
    cause: error,
  })
}

function notEncoded(operator: string, encoded: unknown, record: LogRecord<unknown, unknown>, part: string): MillraceError {
  return new MillraceError(
    'ENCODE_FAILED',
    `the ${part} made from ${record.id} is ${encoded === undefined ? 'undefined' : `a ${typeof encoded}`}, not bytes, text or null: give ${operator} a serde for it, e.g. ${part}: json()`,
    { origin: record.origin },
  )
}

/** What is to be written as the record it has to be. @throws MillraceError ENCODE_FAILED for a FailedRecord and for what is none */
export function asWritable(operator: string, item: unknown): LogRecord<unknown, unknown> {
  if (item instanceof LogRecord) return item as LogRecord<unknown, unknown>
  unspread(item, `what ${operator} was given`)
  throw item instanceof FailedRecord
    ? new MillraceError(
        'ENCODE_FAILED',
        `${operator} was given a FailedRecord (${item.record.id}, step ${item.step}): handle failures before it, e.g. with deadLetter() or dropFailed()`,
        { origin: item.record.origin, cause: item.error },
      )
    : new MillraceError(
        'ENCODE_FAILED',
        `${operator} was given ${item === null ? 'null' : `a ${typeof item}`} that is not a record: derive records with record.with({ ... }), or make one with record({ ... })`,
      )
}

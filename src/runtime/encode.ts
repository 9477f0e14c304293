import type { Encoded } from '../log/batch/write.js'
import { MillraceError, errorMessage } from '../record/error.js'
import { FailedRecord } from '../record/failed-record.js'
import { isSpread } from '../record/record-source.js'
import { LogRecord, unspread } from '../record/record.js'
import type { Serde } from '../record/serde.js'

/**
 * Key or value of a record as it will be written.
 *
 * @throws MillraceError ENCODE_FAILED, LOSSY_SERDE
 */
export function encodePart(
  operator: string,
  serde: Pick<Serde<unknown>, 'name' | 'encode'>,
  given: unknown,
  record: LogRecord<unknown, unknown>,
  part: string,
): Encoded {
  let encoded: Encoded
  try {
    encoded = serde.encode(given)
  } catch (error) {
    // No record is to blame for that.
    if (isSpread(error) || (error instanceof MillraceError && error.code === 'LOSSY_SERDE')) throw error
    throw new MillraceError(
      'ENCODE_FAILED',
      `the ${part} made from ${record.id} cannot be written as ${serde.name}: ${errorMessage(error)}`,
      { origin: record.origin, cause: error },
    )
  }
  if (encoded === null || typeof encoded === 'string' || encoded instanceof Uint8Array) return encoded
  throw new MillraceError(
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

import { z } from 'zod'
import { MillraceError } from '../record/error.js'
import type { LogRecord, StreamRecord } from '../record/record.js'
import { keptKeyOf, keyOfBytes, keyOfText, rawKeyOf, type KeyText } from '../state/key.js'
import { functionOption } from './options.js'

type AnyRecord = StreamRecord<unknown, unknown>

/** Without `key`, by the record's own. */
export interface ByRecordKey {
  readonly key?: never
  readonly partitioned?: never
}

/** By something else, which the inputs have to be partitioned by. */
export interface ByFunction<R> {
  /** What to go by instead of the record's key. */
  readonly key: (record: NoInfer<R>) => string
  /** Says that all records of one such key are in one partition. Where they are not, use `repartition` and leave `key` out. */
  readonly partitioned: true
}

/** The fields of both in a schema, to be refined by `saysPartitioned`. */
export const groupingFields = {
  key: functionOption<(record: AnyRecord) => string>('a function from the record to text').optional(),
  partitioned: z.literal(true).optional(),
}

/** Refinement of a schema with `groupingFields`: `key` and `partitioned` come together. `doing` says what goes wrong without. */
export function saysPartitioned(
  doing: string,
): [(options: { readonly key?: unknown; readonly partitioned?: true | undefined }) => boolean, { path: string[]; message: string }] {
  return [
    (options) => (options.key === undefined) === (options.partitioned === undefined),
    {
      path: ['key'],
      message: `${doing}: put repartition({ ... }) before it and leave key out, or, if all records of such a key are in one partition anyway, say so with partitioned: true`,
    },
  ]
}

/**
 * What records are grouped by: their own key, or what a function gives.
 *
 * By the record's key the groups of a task are whole, since the topic is partitioned by it. A function's groups are only where
 * the user says so: `partitioned`. With `anywhere` it does not matter where a group is, so the key may be another one than it was read with.
 */
export function grouping<R extends AnyRecord>(
  operator: string,
  key: ((record: R) => string) | undefined,
  anywhere = false,
): (record: R) => KeyText {
  if (key === undefined) return (record) => ownKey(operator, record as unknown as LogRecord<unknown, unknown>, anywhere)
  return (record) => {
    const text = key(record)
    if (typeof text !== 'string')
      throw new MillraceError(
        'MISSING_KEY',
        `${operator}: the key function gave ${text === null ? 'null' : `a ${typeof text}`} for ${record.id}, not text`,
        { origin: record.origin },
      )
    return keyOfText(text)
  }
}

function ownKey(operator: string, record: LogRecord<unknown, unknown>, anywhere: boolean): KeyText {
  const raw = rawKeyOf(record)
  if (raw !== undefined) return raw
  const { key } = record
  if (key === null || key === undefined) {
    throw new MillraceError(
      'MISSING_KEY',
      `${operator} groups by key, and ${record.id} has none: drop such records with filter, or give them a key and repartition`,
      { origin: record.origin },
    )
  }
  const text = typeof key === 'string' ? keyOfText(key) : key instanceof Uint8Array ? keyOfBytes(key) : undefined
  if (text === undefined)
    throw new MillraceError('MISSING_KEY', `${operator} groups by key, and that of ${record.id} is a ${typeof key}, not bytes or text`, {
      origin: record.origin,
    })
  const kept = keptKeyOf(record)
  if (!anywhere && kept !== undefined && kept !== text) {
    throw new MillraceError(
      'NOT_REPARTITIONED',
      `${operator}: the key of ${record.id} was changed since it was read, so records of one key may be in several partitions, and each would have a part of the result. Put repartition({ ... }) before it`,
      { origin: record.origin },
    )
  }
  return text
}

import { MillraceError } from '../record/error.js'
import type { LogRecord, StreamRecord } from '../record/record.js'
import { keptKeyOf, keyOfBytes, keyOfText, rawKeyOf, type KeyText } from '../state/key.js'

type AnyRecord = StreamRecord<unknown, unknown>

/**
 * What records are grouped by: their own key, or what a function gives.
 *
 * By the record's key the groups of a task are whole, since the topic is partitioned by it. A function's groups are only where
 * the user says so: `partitioned`.
 */
export function grouping<R extends AnyRecord>(operator: string, key: ((record: R) => string) | undefined): (record: R) => KeyText {
  if (key === undefined) return (record) => ownKey(operator, record as unknown as LogRecord<unknown, unknown>)
  return (record) => {
    const text = key(record)
    if (typeof text !== 'string') throw new MillraceError('MISSING_KEY', `${operator}: the key function gave ${text === null ? 'null' : `a ${typeof text}`} for ${record.id}, not text`, { origin: record.origin })
    return keyOfText(text)
  }
}

function ownKey(operator: string, record: LogRecord<unknown, unknown>): KeyText {
  const raw = rawKeyOf(record)
  if (raw !== undefined) return raw
  const { key } = record
  if (key === null || key === undefined) {
    throw new MillraceError('MISSING_KEY', `${operator} groups by key, and ${record.id} has none: drop such records with filter, or give them a key and repartition`, { origin: record.origin })
  }
  const text = typeof key === 'string' ? keyOfText(key) : key instanceof Uint8Array ? keyOfBytes(key) : undefined
  if (text === undefined) throw new MillraceError('MISSING_KEY', `${operator} groups by key, and that of ${record.id} is a ${typeof key}, not bytes or text`, { origin: record.origin })
  const kept = keptKeyOf(record)
  if (kept !== undefined && kept !== text) {
    throw new MillraceError(
      'NOT_REPARTITIONED',
      `${operator}: the key of ${record.id} was changed since it was read, so records of one key may be in several partitions, and each would have a part of the result. Put repartition({ ... }) before it`,
      { origin: record.origin },
    )
  }
  return text
}

import { record, type StreamRecord } from '../../record/record.js'

/** A row of the outbox as a record: its key the aggregate's id, its value the payload as JSON text, headers `id`, `type`, `aggregatetype`. */
export type OutboxRecord = StreamRecord<string | null, string | null>

export interface OutboxRow {
  readonly id: string
  readonly aggregatetype: string
  readonly aggregateid: string | null
  readonly type: string | null
  readonly payload: string | null
  /** Milliseconds since the epoch. */
  readonly at: number
}

export function newRecordOf({ id, aggregatetype, aggregateid, type, payload, at }: OutboxRow): OutboxRecord {
  return record({
    key: aggregateid,
    value: payload === 'null' ? null : payload,
    headers: { id, aggregatetype, ...(type === null ? {} : { type }) },
    timestamp: at,
  })
}

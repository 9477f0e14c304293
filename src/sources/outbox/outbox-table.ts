import { z } from 'zod'
import { parseOptions } from '../../runtime/options.js'
import { tableName } from '../../sinks/database/table-name.js'

/** What happened, as a row of the outbox tells it: the columns are those of Debezium's outbox event router. */
export interface OutboxEvent {
  /** A UUID of its own; it goes into the header `id`. Default: a new one. */
  readonly id?: string
  /** What kind of thing it is about, by which it is routed: 'order'. */
  readonly aggregateType: string
  /** Which one: the key of the record. */
  readonly aggregateId: string | null
  /** What happened to it: 'OrderPlaced'. It goes into the header `type`. */
  readonly type?: string
  /** Written as JSON; null is a tombstone. */
  readonly payload: unknown
}

/** Anything that runs a statement in the transaction of your own: a client of pg, a transaction of PGlite, that of `toDatabase`. */
export interface StatementRunner {
  query(sql: string, params?: unknown[]): Promise<unknown>
}

const writeSchema = z.strictObject({ table: tableName.default('outbox') })

/**
 * The statements that make an outbox table in PostgreSQL. Beside the columns of Debezium's outbox event router it has `seq`, the order of
 * publishing, and `batch`, in which the relay publishes a row.
 *
 * @throws MillraceError INVALID_OPTIONS
 */
export function outboxTable(table = 'outbox'): string {
  parseOptions(writeSchema, { table }, 'outboxTable')
  const index = `${table.replace('.', '_')}_unpublished`
  return `CREATE TABLE IF NOT EXISTS ${table} (
  id uuid PRIMARY KEY, aggregatetype text NOT NULL, aggregateid text, type text, payload jsonb,
  created_at timestamptz NOT NULL DEFAULT now(), seq bigint GENERATED ALWAYS AS IDENTITY, batch bigint);
CREATE INDEX IF NOT EXISTS ${index} ON ${table} (seq) WHERE batch IS NULL;
CREATE INDEX IF NOT EXISTS ${index}_batch ON ${table} (batch) WHERE batch IS NOT NULL`
}

/**
 * Writes events into the outbox in your own transaction, and wakes the relay when that commits: they are published if it commits, and not
 * if it does not.
 *
 * Order: events of an aggregate are published in the order of the transactions that wrote them, where those do not run at the same time, as
 * when each locks the aggregate's row.
 *
 * @throws MillraceError INVALID_OPTIONS, and what the database says
 * @example
 * await client.query('BEGIN')
 * await client.query('UPDATE orders SET state = $2 WHERE id = $1', [id, 'paid'])
 * await writeToOutbox(client, [{ aggregateType: 'order', aggregateId: id, type: 'OrderPaid', payload: { id } }])
 * await client.query('COMMIT')
 */
export async function writeToOutbox(
  tx: StatementRunner,
  events: readonly OutboxEvent[],
  options: { readonly table?: string } = {},
): Promise<void> {
  const { table } = parseOptions(writeSchema, options, 'writeToOutbox')
  if (events.length === 0) return
  const rows = events.map(({ id = globalThis.crypto.randomUUID(), aggregateType, aggregateId, type = null, payload }) => ({
    id,
    aggregatetype: aggregateType,
    aggregateid: aggregateId,
    type,
    payload,
  }))
  const columns = 'id, aggregatetype, aggregateid, type, payload'
  await tx.query(
    `INSERT INTO ${table} (${columns}) SELECT ${columns} FROM json_populate_recordset(NULL::${table}, $1::json) WITH ORDINALITY ORDER BY ordinality`,
    [JSON.stringify(rows)],
  )
  await tx.query('SELECT pg_notify($1, $2)', [channelOf(table), ''])
}

/** What the relay listens to. */
export function channelOf(table: string): string {
  return `millrace_${table.replace('.', '_')}`
}

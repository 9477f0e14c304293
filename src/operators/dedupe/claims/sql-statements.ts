/** The statements of claims in a SQL database. Requests and notes go in as one parameter, the first: a JSON array. */
export interface ClaimStatements {
  /** Gives a row if the table is there. */
  readonly exists: string
  readonly create: readonly string[]
  /** Of the rows that are about to be changed, in one order for everybody: else two would wait for each other. */
  readonly lock: string | undefined
  /** Claims ids that nobody has; gives those it claimed. */
  readonly insert: string
  /** Claims those whose time is over. */
  readonly renew: string
  /** Claims those that are still held by the claim named. */
  readonly takeOver: string
  readonly look: string
  readonly note: string
  readonly end: string
  readonly ends: string
  readonly count: string
  readonly expired: readonly string[]
}

type Dialect = 'postgres' | 'sqlite'

/** What stands in the JSON of a request, with its type in PostgreSQL. */
const REQUEST = {
  i_id: 'text',
  i_topic: 'text',
  i_partition: 'integer',
  i_offset: 'bigint',
  i_checksum: 'text',
  o_group: 'text',
  o_topic: 'text',
  o_partition: 'integer',
  o_offset: 'bigint',
  o_transaction: 'text',
}
const NOTE = { i_id: 'text', i_duplicates: 'integer', i_result: 'text' }
const NAME = { i_name: 'text' }

const CLAIMED = [
  '"group" = CAST($2 AS text)',
  'topic = u.i_topic',
  '"partition" = u.i_partition',
  '"offset" = u.i_offset',
  '"transaction" = CAST($3 AS text)',
  'generation = CAST($4 AS integer)',
  'claimed_at = NOW',
  'expires_at = NOW + CAST($5 AS bigint)',
  'duplicates = 0',
  'result = NULL',
  'checksum = u.i_checksum',
].join(', ')

export function claimStatements(dialect: Dialect, table: string): ClaimStatements {
  const postgres = dialect === 'postgres'
  const now = postgres ? '(extract(epoch FROM clock_timestamp()) * 1000)::bigint' : `CAST(unixepoch('subsec') * 1000 AS INTEGER)`
  const sql = (text: string): string => text.replaceAll('NOW', now).replace(/\$(?=\d)/g, postgres ? '$$' : '?')
  const from = (fields: Readonly<Record<string, string>>): string =>
    postgres
      ? `json_to_recordset($1::json) AS u(${Object.entries(fields)
          .map((field) => field.join(' '))
          .join(', ')})`
      : `(SELECT ${Object.keys(fields)
          .map((name) => `json_extract(value, '$.${name}') AS ${name}`)
          .join(', ')} FROM json_each(?1)) AS u`
  const input = from(REQUEST)
  const index = `${table.replace('.', '_')}_expires`
  return {
    exists: postgres ? `SELECT 1 WHERE to_regclass('${table}') IS NOT NULL` : `SELECT 1 FROM sqlite_master WHERE name = '${table}'`,
    create: [
      // Two that make a table at once are in each other's way.
      ...(postgres ? [`SELECT pg_advisory_xact_lock(hashtext('${table}'))`] : []),
      `CREATE TABLE IF NOT EXISTS ${table} (
  id text NOT NULL PRIMARY KEY, "group" text NOT NULL, topic text NOT NULL, "partition" integer NOT NULL, "offset" bigint NOT NULL,
  "transaction" text NOT NULL, generation integer NOT NULL, claimed_at bigint NOT NULL, expires_at bigint NOT NULL,
  duplicates integer NOT NULL, result text, checksum text)`,
      `CREATE INDEX IF NOT EXISTS ${index} ON ${table} (expires_at)`,
      `CREATE TABLE IF NOT EXISTS ${table}_ends (name text NOT NULL PRIMARY KEY, how text NOT NULL, expires_at bigint NOT NULL)`,
    ],
    lock: postgres ? `SELECT 1 FROM ${table} WHERE id IN (SELECT i_id FROM ${from({ i_id: 'text' })}) ORDER BY id FOR UPDATE` : undefined,
    insert: sql(`INSERT INTO ${table}
("group", "transaction", generation, claimed_at, expires_at, id, topic, "partition", "offset", duplicates, result, checksum)
SELECT CAST($2 AS text), CAST($3 AS text), CAST($4 AS integer), NOW, NOW + CAST($5 AS bigint),
  u.i_id, u.i_topic, u.i_partition, u.i_offset, 0, NULL, u.i_checksum
FROM ${input} WHERE true ORDER BY u.i_id ON CONFLICT (id) DO NOTHING RETURNING id`),
    renew: sql(`UPDATE ${table} AS c SET ${CLAIMED} FROM ${input} WHERE c.id = u.i_id AND c.expires_at <= NOW RETURNING id`),
    takeOver: sql(`UPDATE ${table} AS c SET ${CLAIMED} FROM ${input}
WHERE c.id = u.i_id AND c."transaction" = u.o_transaction AND c."group" = u.o_group
AND c.topic = u.o_topic AND c."partition" = u.o_partition AND c."offset" = u.o_offset RETURNING id`),
    look: sql(`SELECT id, "group", topic, "partition", "offset", "transaction", generation, claimed_at, expires_at, duplicates, result, checksum,
NOW AS now FROM ${table} WHERE id IN (SELECT i_id FROM ${from({ i_id: 'text' })})`),
    note: sql(`UPDATE ${table} AS c SET duplicates = c.duplicates + u.i_duplicates, result = COALESCE(u.i_result, c.result)
FROM ${from(NOTE)} WHERE c.id = u.i_id AND c.expires_at > NOW`),
    end: sql(`INSERT INTO ${table}_ends (name, how, expires_at) VALUES ($1, $2, NOW + CAST($3 AS bigint)) ON CONFLICT (name) DO NOTHING`),
    ends: sql(`SELECT name, how FROM ${table}_ends WHERE name IN (SELECT i_name FROM ${from(NAME)})`),
    count: sql(`SELECT count(*) AS n FROM ${table} WHERE expires_at > NOW`),
    expired: [
      sql(`DELETE FROM ${table} WHERE id IN (SELECT id FROM ${table} WHERE expires_at <= NOW ORDER BY expires_at LIMIT $1) RETURNING id`),
      sql(
        `DELETE FROM ${table}_ends WHERE name IN (SELECT name FROM ${table}_ends WHERE expires_at <= NOW ORDER BY expires_at LIMIT $1) RETURNING name`,
      ),
    ],
  }
}

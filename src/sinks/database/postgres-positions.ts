import type { Blame, Place } from '../external/port.js'
import type { PositionTable } from './database.js'

const COLUMNS = 'p.sink, p.topic, p."partition", p.position, p.epoch, p.gaps, p.owed'

/** The table of positions in PostgreSQL, of a checked name. */
export function postgresPositions(table: string): PositionTable {
  const columns = (places: readonly Place[]): readonly unknown[] => [
    places.map(({ sink }) => sink),
    places.map(({ topic }) => topic),
    places.map(({ partition }) => partition),
  ]
  return {
    create: `CREATE TABLE IF NOT EXISTS ${table} (
  "group" text NOT NULL, sink text NOT NULL, topic text NOT NULL, "partition" integer NOT NULL,
  position bigint NOT NULL, epoch bigint NOT NULL, gaps text NOT NULL DEFAULT '', owed text NOT NULL DEFAULT '',
  PRIMARY KEY ("group", sink, topic, "partition"))`,
    take: (group, places) => [
      `INSERT INTO ${table} AS p ("group", sink, topic, "partition", position, epoch, gaps)
SELECT $1::text, u.sink, u.topic, u.part, u.start, 1, u.start::text
FROM unnest($2::text[], $3::text[], $4::int[], $5::bigint[]) AS u(sink, topic, part, start) ORDER BY 2, 3, 4
ON CONFLICT ("group", sink, topic, "partition") DO UPDATE SET epoch = p.epoch + 1
RETURNING ${COLUMNS}`,
      [group, ...columns(places), places.map(({ start }) => start)],
    ],
    read: (group, places) => [
      `SELECT ${COLUMNS} FROM ${table} p JOIN unnest($2::text[], $3::text[], $4::int[]) AS u(sink, topic, part)
ON p."group" = $1::text AND p.sink = u.sink AND p.topic = u.topic AND p."partition" = u.part FOR UPDATE OF p`,
      [group, ...columns(places)],
    ],
    change: (group, changes) => [
      `UPDATE ${table} AS p SET position = u.position, gaps = u.gaps, owed = u.owed
FROM unnest($2::text[], $3::text[], $4::int[], $5::bigint[], $6::bigint[], $7::text[], $8::text[], $9::bigint[])
  AS u(sink, topic, part, position, epoch, gaps, owed, was)
WHERE p."group" = $1::text AND p.sink = u.sink AND p.topic = u.topic AND p."partition" = u.part AND p.epoch = u.epoch AND p.position = u.was
RETURNING 1`,
      [
        group,
        ...columns(changes),
        changes.map(({ position }) => position),
        changes.map(({ epoch }) => epoch),
        changes.map(({ gaps }) => gaps),
        changes.map(({ owed }) => owed),
        changes.map(({ was }) => was),
      ],
    ],
  }
}

/** Of a socket, or of the client that lost one. */
const UNREACHABLE = /^(ECONN|EPIPE$|ETIMEDOUT$|ENOTFOUND$|EHOST|ENET|EAI_AGAIN$|ENOENT$)/
const LOST =
  /^(Connection terminated|Connection ended|timeout exceeded when trying to connect|Client has encountered a connection error|Client was closed)/

/** By SQLSTATE. (PostgreSQL, appendix A) */
export function blameOfPostgres(error: unknown): Blame {
  if (!(error instanceof Error)) return undefined
  const code = (error as { readonly code?: unknown }).code
  if (typeof code !== 'string' || !/^[0-9A-Z]{5}$/.test(code) || UNREACHABLE.test(code))
    return (typeof code === 'string' && UNREACHABLE.test(code)) || LOST.test(error.message) ? 'away' : undefined
  // A lock that was not to be had in time, a statement that took too long.
  if (code.startsWith('40') || code === '55P03' || code === '57014') return 'again'
  // Connections, resources, an operator who shuts it down, a system call; a standby that does not write; a transaction left idle.
  if (/^(08|53|57|58)/.test(code) || code === '25006' || code === '25P03') return 'away'
  // Data, constraints, limits, what a trigger raises; and what comes of going on after one of these.
  if (/^(21|22|23|44|54|P0)/.test(code) || code === '25P02') return 'record'
  return 'program'
}

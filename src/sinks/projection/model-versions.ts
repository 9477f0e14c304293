import { MillraceError, errorMessage } from '../../record/error.js'
import { inTransaction } from '../database/alone.js'
import type { Database, SqlTransaction, TablePositions } from '../database/database.js'
import type { Place } from '../external/port.js'

/**
 * 'building': made beside the live one. 'live': what readers see. 'replaced': a later one is live, its tables are still there. 'removed':
 * they are gone.
 */
export type VersionState = 'building' | 'live' | 'replaced' | 'removed'

/** A version of a read model, as the database knows it. */
export interface ModelVersion {
  readonly version: number
  readonly state: VersionState
  /** The columns of each of its tables. */
  readonly columns: Readonly<Record<string, string>>
  /** When it became what it is, in milliseconds since the epoch. */
  readonly since: number
}

export interface ModelDefinition {
  readonly name: string
  readonly version: number
  readonly columns: Readonly<Record<string, string>>
  readonly views: boolean
  readonly create: ((tx: SqlTransaction, tables: Readonly<Record<string, string>>) => unknown) | undefined
  readonly onLive: ((tx: SqlTransaction, tables: Readonly<Record<string, string>>) => unknown) | undefined
}

const TABLE = 'millrace_projections'
/** Whoever makes tables or switches has this lock of PostgreSQL; SQLite has one writer anyway. */
const LOCK = 7_310_579_042
/** Nobody who reads waits longer behind one that wants to switch, and has to wait itself. */
const LOCK_MS = 500

/** The position that each place must have reached, by the version that replaces another. */
export interface Goal {
  readonly places: readonly Place[]
  readonly offsets: readonly number[]
  /** Where they end now: nobody can be further. */
  readonly ends: readonly number[]
  readonly lag: number
}

/** The versions of one read model in its database: what is made, switched and removed, each in one transaction. */
export class ModelVersions {
  /** Whether the tables of this version are known to be there, whatever becomes of an open transaction. */
  private known = false
  private readonly makers = new WeakSet<object>()
  /** Set where this version has been removed: nothing may be written to it. */
  over: MillraceError | undefined

  constructor(
    readonly db: Database,
    private readonly definition: ModelDefinition,
  ) {}

  /** All that were ever made, as an open transaction sees them. */
  async list(tx: SqlTransaction): Promise<readonly ModelVersion[]> {
    const there =
      tx.dialect === 'postgres'
        ? await tx.query(`SELECT 1 AS one WHERE to_regclass('${TABLE}') IS NOT NULL`)
        : await tx.query(`SELECT 1 AS one FROM sqlite_master WHERE name = '${TABLE}'`)
    if (there.length === 0) return []
    const rows = await tx.query(statement(tx, `SELECT version, state, tables, since FROM ${TABLE} WHERE name = $1 ORDER BY version`), [
      this.definition.name,
    ])
    return rows.map((row) => ({
      version: Number(row['version']),
      state: String(row['state']) as VersionState,
      columns: JSON.parse(String(row['tables'])) as Record<string, string>,
      since: Number(row['since']),
    }))
  }

  /** Makes the tables of this version where they are missing, in a transaction that writes to them. @throws MillraceError SINK_REFUSED */
  async ensure(tx: SqlTransaction, now: number): Promise<void> {
    if (this.over !== undefined) throw this.over
    if (this.known) return
    const { name, version, columns, create } = this.definition
    await this.lock(tx)
    await tx.query(`CREATE TABLE IF NOT EXISTS ${TABLE} (
  name text NOT NULL, version integer NOT NULL, state text NOT NULL, tables text NOT NULL, since bigint NOT NULL,
  PRIMARY KEY (name, version))`)
    const versions = await this.list(tx)
    const own = versions.find((one) => one.version === version)
    const later = versions.find((one) => one.state === 'live' && one.version > version)
    if (own?.state === 'removed' || (own === undefined && later !== undefined))
      throw refused(
        name,
        version,
        `version ${later?.version ?? 'later'} is live, and this one is removed: stop this pipeline. To go back to what it was, give that a version of its own, higher than all before`,
      )
    if (own !== undefined) {
      if (JSON.stringify(plain(own.columns)) !== JSON.stringify(plain(columns)))
        throw refused(
          name,
          version,
          'its tables were made with other columns than it has now: give it the next version, which is built beside it',
        )
      if (!this.makers.has(tx)) this.known = true
      return
    }
    for (const [table, text] of Object.entries(columns)) await tx.query(`CREATE TABLE ${versionOf(table, version)} (${text})`)
    await create?.(tx, tablesOf(columns, version))
    await tx.query(statement(tx, `INSERT INTO ${TABLE} (name, version, state, tables, since) VALUES ($1, $2, 'building', $3, $4)`), [
      name,
      version,
      JSON.stringify(columns),
      now,
    ])
    this.makers.add(tx)
  }

  /**
   * Makes this version the live one, if it still is one that is built, and as far as its goal and as the one it replaces; all or nothing.
   * Returns what it is then.
   */
  switch(goal: Goal, now: number): Promise<VersionState> {
    return this.locked(async (tx) => {
      const { name, version } = this.definition
      await this.ensure(tx, now)
      const versions = await this.list(tx)
      const own = versions.find((one) => one.version === version) as ModelVersion
      const live = versions.find(({ state }) => state === 'live')
      if (own.state !== 'building' || (live !== undefined && live.version > version)) return own.state
      if (!(await this.reaches(tx, goal, live))) return 'building'
      const set = statement(tx, `UPDATE ${TABLE} SET state = $3, since = $4 WHERE name = $1 AND version = $2`)
      for (const one of versions)
        if (one.version < version && one.state !== 'removed' && one.state !== 'replaced')
          await tx.query(set, [name, one.version, 'replaced', now])
      await tx.query(set, [name, version, 'live', now])
      if (this.definition.views) await this.show(tx, live)
      await this.definition.onLive?.(tx, tablesOf(this.definition.columns, version))
      return 'live'
    })
  }

  /**
   * Removes versions that were replaced at `before` or earlier; returns which. Their positions stay: a pipeline that comes back would take
   * it for lost that they are gone.
   */
  removeReplaced(before: number, now: number): Promise<readonly number[]> {
    return this.locked(async (tx) => {
      const { name } = this.definition
      const gone = (await this.list(tx)).filter(({ state, since }) => state === 'replaced' && since <= before)
      for (const { version, columns } of gone) {
        const tables = Object.values(tablesOf(columns, version))
        // In PostgreSQL at once: they may refer to each other.
        const statements = tx.dialect === 'postgres' ? [tables.join(', ')] : tables.reverse()
        for (const some of statements) await tx.query(`DROP TABLE IF EXISTS ${some}`)
        await tx.query(statement(tx, `UPDATE ${TABLE} SET state = 'removed', since = $3 WHERE name = $1 AND version = $2`), [
          name,
          version,
          now,
        ])
      }
      return gone.map(({ version }) => version)
    })
  }

  private async reaches(tx: SqlTransaction, { places, offsets, ends, lag }: Goal, live: ModelVersion | undefined): Promise<boolean> {
    const { name, version } = this.definition
    const positions = positionsOf(this.db)
    // The one that is live first: who commits to it meanwhile waits, and can be no further when this one is read.
    const theirs = live === undefined ? [] : await positions.read(tx, groupOf(name, live.version), places)
    const ours = await positions.read(tx, groupOf(name, version), places)
    return places.every((_, i) => {
      const needed = Math.max(offsets[i] as number, Math.min(theirs[i]?.position ?? 0, ends[i] as number))
      return (ours[i]?.position ?? 0) + lag >= needed
    })
  }

  /** Views by the names of the tables, for whoever reads with SQL alone. */
  private async show(tx: SqlTransaction, before: ModelVersion | undefined): Promise<void> {
    const { columns, version } = this.definition
    for (const table of Object.keys(before?.columns ?? {})) if (!(table in columns)) await tx.query(`DROP VIEW IF EXISTS ${table}`)
    for (const [table, versioned] of Object.entries(tablesOf(columns, version))) {
      const view = `VIEW ${table} AS SELECT * FROM ${versioned}`
      if (tx.dialect === 'postgres' && (await this.replaced(tx, `CREATE OR REPLACE ${view}`))) continue
      await tx.query(`DROP VIEW IF EXISTS ${table}`)
      await tx.query(`CREATE ${view}`)
    }
  }

  /** A view that is replaced keeps the rights on it; PostgreSQL does so only where columns are added at most. */
  private async replaced(tx: SqlTransaction, sql: string): Promise<boolean> {
    await tx.query('SAVEPOINT replacing')
    try {
      await tx.query(sql)
    } catch (error) {
      if ((error as { readonly code?: unknown }).code !== '42P16') throw error
      await tx.query('ROLLBACK TO SAVEPOINT replacing')
      return false
    }
    await tx.query('RELEASE SAVEPOINT replacing')
    return true
  }

  private locked<T>(work: (tx: SqlTransaction) => Promise<T>): Promise<T> {
    return inTransaction(this.db, async (tx) => {
      if (tx.dialect === 'postgres') await tx.query(`SET LOCAL lock_timeout = ${LOCK_MS}`)
      await this.lock(tx)
      return work(tx)
    })
  }

  private async lock(tx: SqlTransaction): Promise<void> {
    if (tx.dialect === 'postgres') await tx.query('SELECT pg_advisory_xact_lock($1)', [LOCK])
  }
}

/** The group of a version's pipeline. */
export function groupOf(name: string, version: number): string {
  return `${name}-v${version}`
}

export function tablesOf<T extends string>(columns: Readonly<Record<T, string>>, version: number): Readonly<Record<T, string>> {
  const entries = Object.keys(columns).map((table) => [table, versionOf(table, version)])
  return Object.fromEntries(entries) as Record<T, string>
}

function positionsOf(db: Database): TablePositions {
  return db.positions as TablePositions
}

export function refused(name: string, version: number, why: string, cause?: unknown): MillraceError {
  const text = `read model '${name}', version ${version}: ${why}${cause === undefined ? '' : `: ${errorMessage(cause)}`}`
  return new MillraceError('SINK_REFUSED', text, { cause })
}

function versionOf(table: string, version: number): string {
  return `${table}_v${version}`
}

/** The same for the same tables, however they are written down. */
function plain(columns: Readonly<Record<string, string>>): readonly string[] {
  return Object.entries(columns)
    .map(([table, text]) => `${table} (${text.replace(/\s+/g, ' ').trim()})`)
    .sort()
}

/** Parameters are $1 in PostgreSQL and ?1 in SQLite. */
function statement(tx: SqlTransaction, sql: string): string {
  return tx.dialect === 'postgres' ? sql : sql.replace(/\$(?=\d)/g, '?')
}

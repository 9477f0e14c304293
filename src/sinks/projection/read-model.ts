import { z } from 'zod'
import { sleep, systemClock } from '../../record/clock.js'
import type { Duration } from '../../record/duration.js'
import { MillraceError } from '../../record/error.js'
import type { Origin } from '../../record/origin.js'
import { duration, functionOption, objectWith, parseOptions, positiveInteger, storeName, timeLimit } from '../../runtime/options.js'
import { alone } from '../database/alone.js'
import type { Database, SqlTransaction } from '../database/database.js'
import { sqlName } from '../database/table-name.js'
import { waitUntilWritten } from '../database/wait-until-written.js'
import { ModelVersions, groupOf, tablesOf, type ModelVersion, type VersionState } from './model-versions.js'

/** The tables of one version, by the names that they have in the definition. */
export type ModelTables<T extends string> = Readonly<Record<T, string>>

export interface ReadModelOptions<T extends string, Tx extends SqlTransaction> {
  /** Names it in the database, and with the version its consumer group; must stay the same. */
  readonly name: string
  /** Raised by one, or more, whenever its tables or what is written to them change: it is then built anew beside the one in use. */
  readonly version: number
  /** The columns of each table, as they stand in CREATE TABLE: `{ orders: 'id text PRIMARY KEY, total integer' }`. */
  readonly tables: Readonly<Record<T, string>>
  /** Called right after the tables of this version were made, in the same transaction: indexes, constraints, rows to begin with. */
  readonly create?: (tx: Tx, tables: ModelTables<T>) => unknown
  /** Called in the transaction that makes this version the live one: rights on its views, views of your own. */
  readonly onLive?: (tx: Tx, tables: ModelTables<T>) => unknown
  /**
   * Whether views by the names of the tables show the live version. Default true; false where readers ask `live()` for the tables, or the
   * names are taken.
   */
  readonly views?: boolean
  /** By so many records of a partition a new version may be behind when it takes over. Default 0: readers never see less than before. */
  readonly lag?: number
  /**
   * How long the tables of a version are kept when another has taken over: until then what still reads or writes them goes on. Default
   * '1h'; false keeps them.
   */
  readonly removeAfter?: Duration | false
}

/** The version that readers see. */
export interface LiveVersion<T extends string> {
  readonly version: number
  /** The consumer group that writes it. */
  readonly group: string
  readonly tables: ModelTables<T>
  readonly since: Date
}

const options = z.strictObject({
  name: storeName,
  version: positiveInteger,
  tables: z
    .record(sqlName.max(40), z.string().min(1))
    .refine((tables) => Object.keys(tables).length > 0, { message: 'name at least one table' }),
  create: functionOption<(tx: SqlTransaction, tables: ModelTables<string>) => unknown>(
    'a function of the transaction and the tables',
  ).optional(),
  onLive: functionOption<(tx: SqlTransaction, tables: ModelTables<string>) => unknown>(
    'a function of the transaction and the tables',
  ).optional(),
  views: z.boolean().default(true),
  lag: z.number().int().min(0).default(0),
  removeAfter: z.union([z.literal(false), duration]).default(3_600_000),
})
const waitOptions = z.strictObject({ within: timeLimit.default(10_000) })

const LOOK_MS = 50

/** Tables that a pipeline writes and services read, in versions; made by `readModel`, written by `project`. */
export class ReadModel<T extends string = string, Tx extends SqlTransaction = SqlTransaction> {
  readonly name: string
  readonly version: number
  /** The consumer group of the pipeline that writes this version: each has one of its own, and so begins at the start. */
  readonly group: string
  /** The tables of this version, live or not. */
  readonly tables: ModelTables<T>
  /** @internal */
  readonly versions: ModelVersions
  /** @internal */
  readonly lag: number
  /** @internal */
  readonly removeAfterMs: number | false

  constructor(
    readonly db: Database<Tx>,
    settings: z.output<typeof options>,
  ) {
    const { name, version, tables, views, create, onLive, lag, removeAfter } = settings
    this.name = name
    this.version = version
    this.group = groupOf(name, version)
    this.tables = tablesOf(tables as Record<T, string>, version)
    this.lag = lag
    this.removeAfterMs = removeAfter
    this.versions = new ModelVersions(db as unknown as Database, { name, version, columns: tables, views, create, onLive })
  }

  /** The version that readers see; undefined before the first one is. @throws what the database says */
  async live(): Promise<LiveVersion<T> | undefined> {
    const live = (await this.all()).find(({ state }) => state === 'live')
    return (
      live && {
        version: live.version,
        group: groupOf(this.name, live.version),
        tables: tablesOf(live.columns, live.version) as ModelTables<T>,
        since: new Date(live.since),
      }
    )
  }

  /** All versions that were ever built, and what became of them. @throws what the database says */
  async history(): Promise<readonly { readonly version: number; readonly state: VersionState; readonly since: Date }[]> {
    return (await this.all()).map(({ version, state, since }) => ({ version, state, since: new Date(since) }))
  }

  /**
   * Resolves when the version that readers see has these records: whoever wrote them to a topic, and was told their offsets, reads what
   * became of them from then on. Waits for the first version to be live, too.
   *
   * @throws MillraceError INVALID_OPTIONS; TIMEOUT; what the database says
   */
  async waitFor(records: readonly Origin[], given: { readonly within?: Duration } = {}): Promise<void> {
    const { within } = parseOptions(waitOptions, given, 'waitFor')
    const until = systemClock.monotonic() + within
    const left = (): number => Math.max(1, Math.ceil(until - systemClock.monotonic()))
    for (let seen: number | undefined; ;) {
      const live = await this.live()
      // One that took over meanwhile has been asked itself.
      if (live !== undefined && live.version === seen) return
      if (live !== undefined) {
        await waitUntilWritten(this.db as unknown as Database, { group: live.group, name: this.name, records, within: left() })
        seen = live.version
        continue
      }
      if (systemClock.monotonic() >= until)
        throw new MillraceError(
          'TIMEOUT',
          `waited ${within} ms for read model '${this.name}' to have a live version: its first is still being built, or nobody builds it`,
          {
            retryable: true,
          },
        )
      await sleep(systemClock, Math.min(LOOK_MS, left()))
    }
  }

  private all(): Promise<readonly ModelVersion[]> {
    return alone(this.db, (tx) => this.versions.list(tx))
  }
}

const databaseSchema = objectWith<Database>(['take', 'read', 'begin', 'blame'], 'a database such as postgres(pool)').refine(
  ({ positions }) => typeof positions?.read === 'function',
  { message: 'expected a database with positions: postgres(pool), pglite(db), sqlite(client), or yours' },
)

/**
 * Defines a read model: tables that `project` writes from events and services query, in versions that are built beside the live one.
 *
 * A new version has tables of its own, by the suffix `_v<version>`, and a consumer group of its own, so it reads from the start while
 * readers and the version before go on. Once it is as far as the topics were when its pipeline started, and as far as the version that is
 * live, one database transaction makes it the live one: its row in `millrace_projections`, and the views by which it is read. Readers never
 * see half of one, nor, with `lag` 0, less than before. Versions only grow: to go back, the old code gets the next number.
 *
 * It is made once, outside of pipelines, also in services that only read. Nothing is asked of the database before it is used. docs/databases.md
 * tells the rest.
 *
 * @throws MillraceError INVALID_OPTIONS
 * @example
 * const orders = readModel(postgres(pool), { name: 'orders', version: 2, tables: { orders: 'id text PRIMARY KEY, total integer NOT NULL' } })
 * await orders.waitFor([{ topic: 'orders', partition, offset }])
 * await pool.query('SELECT total FROM orders WHERE id = $1', [id])
 */
export function readModel<T extends string, Tx extends SqlTransaction>(db: Database<Tx>, given: ReadModelOptions<T, Tx>): ReadModel<T, Tx> {
  parseOptions(z.tuple([databaseSchema]), [db], 'readModel')
  return new ReadModel<T, Tx>(db, parseOptions(options, given, 'readModel'))
}

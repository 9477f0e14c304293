import type { StandardSchemaV1 } from '@standard-schema/spec'
import type { Duration } from '../../record/duration.js'
import { MillraceError, errorMessage } from '../../record/error.js'
import { isLater } from '../../record/serde.js'
import type { DeepReadonly } from '../../record/types.js'
import type { SliceContext } from '../../runtime/context.js'
import type { EffectsEnvironment } from '../../runtime/effects.js'
import { validValue } from '../../runtime/schema.js'
import { alone } from '../../sinks/database/alone.js'
import type { Database, SqlRow } from '../../sinks/database/database.js'
import { BackgroundWork } from '../../sinks/external/background.js'
import { Waiting } from '../../sinks/external/waiting.js'
import { keyOfBytes, keyOfText, type KeyText } from '../../state/key.js'
import type { TableRows } from '../table.js'
import { laterOf, readFrom, versionOf, type RowVersion } from './versions.js'

export interface FeedSettings {
  readonly db: Database
  readonly name: string
  readonly query: string
  readonly key: string
  readonly version: string
  readonly overlap: Duration | undefined
  readonly deleted: string | undefined
  readonly pollMs: number
  readonly reloadMs: number | false
  readonly value: StandardSchemaV1 | undefined
}

const FIRST_PAUSE_MS = 50
const MAX_PAUSE_MS = 5_000

/** A row, and the value once somebody looked. */
interface Row<V> {
  readonly columns: SqlRow
  value: V | PromiseLike<V> | undefined
}

/**
 * The rows of a query in the memory of one process: loaded, then followed by their version column, and loaded anew now and then. It goes
 * on beside the transactions of the pipeline, and is no part of them.
 */
export class TableFeed<V> extends BackgroundWork {
  private rows: Map<KeyText, Row<V>> | undefined
  private latest: RowVersion | undefined
  private loadedAt = 0
  private failure: { readonly error: unknown } | undefined
  private failures = 0
  private readonly loading: Promise<void>
  private settle!: () => void

  constructor(
    private readonly settings: FeedSettings,
    environment: EffectsEnvironment,
  ) {
    super(environment)
    this.loading = new Promise((resolve) => (this.settle = resolve))
  }

  /** For the steps of one slice, which waits for what is not loaded yet. */
  forSlice(slice: SliceContext, what: string): TableRows<V> {
    let loading: Promise<void> | undefined
    const loaded = (): Promise<void> => {
      const waiting = new Waiting(slice, slice.clock, (why) =>
        slice.logger.warn({ table: this.settings.name, why }, `${what} waits until its table is loaded from ${this.settings.db.name}`),
      )
      return this.loading.finally(() => waiting.end())
    }
    return {
      get: (key) => {
        if (this.rows !== undefined || this.failure !== undefined) return this.get(key)
        loading ??= loaded()
        return loading.then(() => this.get(key) as DeepReadonly<V>)
      },
    }
  }

  /** @throws what ended the following, or what the schema says of the row */
  private get(key: KeyText): DeepReadonly<V> | PromiseLike<DeepReadonly<V>> | undefined {
    if (this.failure !== undefined) throw this.failure.error
    if (this.rows === undefined) throw new MillraceError('CLOSED', `the pipeline ended before the table '${this.settings.name}' was loaded`)
    const row = this.rows.get(key)
    return row === undefined ? undefined : (this.valueOfRow(row) as DeepReadonly<V> | PromiseLike<DeepReadonly<V>>)
  }

  private valueOfRow(row: Row<V>): V | PromiseLike<V> {
    if (row.value !== undefined) return row.value
    const { value: schema } = this.settings
    const result = schema === undefined ? { value: row.columns } : schema['~standard'].validate(row.columns)
    if (!isLater(result)) return (row.value = validValue<V>(result))
    const value = result.then(validValue<V>)
    row.value = value
    value.then(
      (found) => (row.value = found),
      // Who asked is told; who asks next asks anew.
      () => (row.value = undefined),
    )
    return value
  }

  protected override async turn(): Promise<number | undefined> {
    const { db, name, pollMs } = this.settings
    try {
      await (this.isToBeLoaded() ? this.load() : this.follow())
      this.failures = 0
      this.settle()
      return pollMs
    } catch (error) {
      if (!['away', 'again'].includes(db.blame(error) ?? '')) return this.fail(error)
      const fields = { table: name, error: errorMessage(error) }
      this.environment.logger.warn(fields, `${db.name} cannot be read; records go by the rows as they were`)
      return Math.min(MAX_PAUSE_MS, FIRST_PAUSE_MS * 2 ** this.failures++)
    }
  }

  private isToBeLoaded(): boolean {
    const { reloadMs } = this.settings
    if (this.rows === undefined || this.latest === undefined) return true
    return reloadMs !== false && this.environment.clock.monotonic() - this.loadedAt >= reloadMs
  }

  /** All of it, in place of what was there: what was deleted without a word is gone then, and what was missed is there. */
  private async load(): Promise<void> {
    const { db, query } = this.settings
    const rows = new Map<KeyText, Row<V>>()
    const at = this.environment.clock.monotonic()
    const found = await alone(db, (tx) => tx.query(`SELECT * FROM (${query}) AS rows_of_table`))
    this.latest = this.put(rows, found, undefined)
    this.rows = rows
    this.loadedAt = at
  }

  private async follow(): Promise<void> {
    const { db, query, version, overlap } = this.settings
    const from = readFrom(this.latest as RowVersion, overlap)
    const found = await alone(db, (tx) =>
      tx.query(`SELECT * FROM (${query}) AS rows_of_table WHERE ${version} >= ${tx.dialect === 'postgres' ? '$1' : '?1'}`, [from]),
    )
    this.latest = this.put(this.rows as Map<KeyText, Row<V>>, found, this.latest)
  }

  /** Returns the latest version there is now. */
  private put(rows: Map<KeyText, Row<V>>, found: readonly SqlRow[], before: RowVersion | undefined): RowVersion | undefined {
    const { key, version, deleted } = this.settings
    let latest = before
    for (const columns of found) {
      const text = keyText(columns, key)
      latest = laterOf(latest, versionOf(columns[version], version))
      if (deleted !== undefined && isSet(columns, deleted)) rows.delete(text)
      else rows.set(text, { columns, value: undefined })
    }
    return latest
  }

  /** What is wrong with the query stays wrong: who looks a row up is told. */
  private fail(error: unknown): undefined {
    const { name, db } = this.settings
    const { logger } = this.environment
    logger.error({ table: name, error: errorMessage(error) }, 'the table of a database cannot be followed')
    this.failure = {
      error:
        error instanceof MillraceError
          ? error
          : new MillraceError('SINK_REFUSED', `databaseTable '${name}': ${db.name} refuses its query: ${errorMessage(error)}`, {
              cause: error,
            }),
    }
    this.settle()
  }
}

function columnOf(columns: SqlRow, name: string): unknown {
  if (name in columns) return columns[name]
  throw new MillraceError('SINK_REFUSED', `the query gives no column '${name}', but ${Object.keys(columns).join(', ')}`)
}

/** As it stands in the key of a record. @throws MillraceError SINK_REFUSED */
function keyText(columns: SqlRow, name: string): KeyText {
  const key = columnOf(columns, name)
  if (key instanceof Uint8Array) return keyOfBytes(key)
  if (typeof key === 'string' || typeof key === 'number' || typeof key === 'bigint') return keyOfText(String(key))
  throw new MillraceError(
    'SINK_REFUSED',
    `the key column '${name}' holds ${key === null ? 'null' : `a ${typeof key}`}, not text, a number or bytes`,
  )
}

/** SQLite has numbers for truth. */
function isSet(columns: SqlRow, name: string): boolean {
  const given = columnOf(columns, name)
  return given !== null && given !== false && Number(given) !== 0
}

import type { ExternalStore, ExternalTransaction, Place, PlaceToTake, StoredRow, RowChange, Blame } from '../external/port.js'

/** A row as a query gives it, by the names of its columns. */
export type SqlRow = Readonly<Record<string, unknown>>

/** The open transaction of a database, as user code writes to it. */
export interface SqlTransaction {
  readonly dialect: 'postgres' | 'sqlite'
  /** Runs one statement; parameters stand in it as $1, $2 (PostgreSQL) or ?1, ?2 (SQLite). */
  query(sql: string, params?: readonly unknown[]): Promise<readonly SqlRow[]>
}

/** A database that `toDatabase` writes to: `postgres(pool)`, `pglite(db)`, `sqlite(client)`, or one of your own by the same port. */
export interface Database<Tx extends SqlTransaction = SqlTransaction> extends ExternalStore<Tx> {
  /** Calls when somebody notifies a channel, where the database has such; what it says may be missed. Returns what ends it. */
  listen?(channel: string, onNotify: () => void): () => void
  /** Its positions, within a transaction of this database: `readModel` needs them. */
  readonly positions?: TablePositions
}

/** Positions as they stand in an open transaction. */
export interface TablePositions {
  /** In the order asked; nobody changes them until the transaction ends. */
  read(tx: SqlTransaction, group: string, places: readonly Place[]): Promise<readonly (StoredRow | undefined)[]>
}

/** What a driver has to do. */
export interface SqlConnection<Tx extends SqlTransaction> {
  readonly handle: Tx
  commit(): Promise<void>
  rollback(hard: boolean): Promise<void>
}

export interface SqlDriver<Tx extends SqlTransaction> {
  readonly name: string
  /** One statement in a transaction of its own. */
  query(sql: string, params: readonly unknown[]): Promise<readonly SqlRow[]>
  begin(): Promise<SqlConnection<Tx>>
  blame(error: unknown): Blame
  listen?(channel: string, onNotify: () => void): () => void
}

/** The statements on the table of positions. */
export interface PositionTable {
  readonly create: string
  take(group: string, places: readonly PlaceToTake[]): readonly [string, readonly unknown[]]
  read(group: string, places: readonly Place[]): readonly [string, readonly unknown[]]
  /** Gives as many rows as it changed. */
  change(group: string, changes: readonly RowChange[]): readonly [string, readonly unknown[]]
}

/** Sinks on any SQL database: positions in a table of its own. */
export class SqlStore<Tx extends SqlTransaction> implements Database<Tx> {
  readonly name: string
  readonly positions: TablePositions
  private created: Promise<unknown> | undefined

  constructor(
    private readonly driver: SqlDriver<Tx>,
    private readonly table: PositionTable,
    private readonly createsTable: boolean,
  ) {
    this.name = driver.name
    this.positions = {
      read: async (tx, group, places) => inOrder(places, await tx.query(...table.read(group, places))),
    }
  }

  async take(group: string, places: readonly PlaceToTake[]): Promise<readonly StoredRow[]> {
    await this.ready()
    const rows = await this.driver.query(...this.table.take(group, places))
    return inOrder(places, rows) as readonly StoredRow[]
  }

  async read(group: string, places: readonly Place[]): Promise<readonly (StoredRow | undefined)[]> {
    await this.ready()
    return inOrder(places, await this.driver.query(...this.table.read(group, places)))
  }

  async begin(): Promise<ExternalTransaction<Tx>> {
    const connection = await this.driver.begin()
    return {
      handle: connection.handle,
      commit: async (group, changes) => {
        if (changes.length === 0) {
          await connection.commit()
          return true
        }
        const [sql, params] = this.table.change(group, changes)
        const changed = await connection.handle.query(sql, params)
        if (changed.length === changes.length) {
          await connection.commit()
          return true
        }
        await connection.rollback(false)
        return false
      },
      rollback: (hard) => connection.rollback(hard),
    }
  }

  blame(error: unknown): Blame {
    return this.driver.blame(error)
  }

  listen(channel: string, onNotify: () => void): () => void {
    return this.driver.listen?.(channel, onNotify) ?? ((): void => {})
  }

  private async ready(): Promise<void> {
    if (!this.createsTable) return
    // Two that make it at once are in each other's way, and the second finds it there.
    this.created ??= this.driver.query(this.table.create, []).catch(() => this.driver.query(this.table.create, []))
    try {
      await this.created
    } catch (error) {
      this.created = undefined
      throw error
    }
  }
}

function inOrder(places: readonly Place[], rows: readonly SqlRow[]): (StoredRow | undefined)[] {
  const keyOf = (sink: unknown, topic: unknown, partition: unknown): string => JSON.stringify([sink, topic, Number(partition)])
  const found = new Map(rows.map((row) => [keyOf(row['sink'], row['topic'], row['partition']), row]))
  return places.map(({ sink, topic, partition }) => {
    const row = found.get(keyOf(sink, topic, partition))
    return row === undefined
      ? undefined
      : { position: Number(row['position']), epoch: Number(row['epoch']), gaps: String(row['gaps']), owed: String(row['owed']) }
  })
}

import { errorMessage } from '../../record/error.js'
import { channelOf } from './outbox-table.js'
import { newRecordOf, type OutboxRecord, type OutboxRow } from './outbox-record.js'
import type { Effects, EffectsEnvironment } from '../../runtime/effects.js'
import type { Database, SqlTransaction } from '../../sinks/database/database.js'
import type { StoredRow } from '../../sinks/external/port.js'

interface RelaySettings {
  readonly name: string
  readonly table: string
  readonly batch: number
}

/**
 * Takes rows of the outbox in numbered batches. The number of the last one is in the row of positions, and a row belongs to a batch in the
 * same transaction that gives it its number; so a batch that was not published is the same when it is published again.
 */
export class Relay implements Effects {
  private row: StoredRow | undefined
  private generation = -1
  private turn = 0
  private busy = false
  private wake = (): void => {}
  private unlisten: (() => void) | undefined
  private readonly group: string
  private readonly logger: EffectsEnvironment['logger']

  constructor(
    private readonly db: Database,
    private readonly settings: RelaySettings,
    { group, logger }: EffectsEnvironment,
  ) {
    this.group = group
    this.logger = logger
  }

  /** `wake` is called when a transaction with events has committed: the last one given. */
  onNotify(wake: () => void): void {
    this.wake = wake
    this.unlisten ??= this.db.listen?.(channelOf(this.settings.table), () => this.wake())
  }

  /** What it writes commits as it goes: by numbers, not with positions. */
  async commit(): Promise<void> {}

  rollback(): void {}

  async close(): Promise<void> {
    this.unlisten?.()
  }

  /** The batch behind the last one published, and its number; undefined where nothing is to be published. */
  async next(
    published: number,
    generation: number,
  ): Promise<{ readonly number: number; readonly records: readonly OutboxRecord[] } | undefined> {
    const turn = ++this.turn
    // What an earlier call, of a slice that was given up, may still do is refused by the next epoch.
    if (this.busy) this.row = undefined
    this.busy = true
    try {
      return await this.nextOf(published, generation, turn)
    } catch (error) {
      // What became of a commit is seen when the row is taken anew.
      if (turn === this.turn) this.row = undefined
      throw error
    } finally {
      if (turn === this.turn) this.busy = false
    }
  }

  private async nextOf(published: number, generation: number, turn: number): ReturnType<Relay['next']> {
    const { db } = this
    const row = await this.take(generation, turn)
    const tx = await db.begin()
    try {
      const found = row.position > published ? published + 1 : await this.mark(tx.handle, published, row.position + 1)
      if (found === undefined) {
        await tx.rollback(false)
        return undefined
      }
      const rows = await this.read(tx.handle, found)
      const next = { ...row, position: Math.max(row.position, found) }
      if (!(await tx.commit(this.group, [{ ...this.place, ...next, was: row.position }]))) {
        // Another relay is at work. If it is this one that should be, it takes the row when it is called again.
        if (turn === this.turn) this.row = undefined
        this.logger.warn({ outbox: this.settings.name }, 'another relay has taken the outbox')
        return undefined
      }
      if (turn === this.turn) this.row = next
      return { number: found, records: rows.map(newRecordOf) }
    } catch (error) {
      this.logger.warn({ outbox: this.settings.name, error: errorMessage(error) }, 'the outbox could not be read')
      await tx.rollback(true)
      throw error
    }
  }

  private get place() {
    return { sink: `outbox ${this.settings.name}`, topic: this.settings.table, partition: 0 }
  }

  private async take(generation: number, turn: number): Promise<StoredRow> {
    if (this.row !== undefined && this.generation === generation) return this.row
    const [row] = await this.db.take(this.group, [{ ...this.place, start: 0 }])
    if (turn === this.turn) {
      this.generation = generation
      this.row = row
    }
    return row as StoredRow
  }

  /** Deletes what is published, and makes a batch of what is not. */
  private async mark(tx: SqlTransaction, published: number, number: number): Promise<number | undefined> {
    const { table, batch } = this.settings
    const gone = await tx.query(`DELETE FROM ${table} WHERE batch <= $1 RETURNING 1`, [published])
    const marked = await tx.query(
      `UPDATE ${table} SET batch = $1 WHERE seq IN
(SELECT seq FROM ${table} WHERE batch IS NULL ORDER BY seq LIMIT $2 FOR UPDATE SKIP LOCKED) RETURNING 1`,
      [number, batch],
    )
    // A batch of none, where there is something to clean up: the last rows are not left until others come.
    return marked.length > 0 || gone.length > 0 ? number : undefined
  }

  private async read(tx: SqlTransaction, number: number): Promise<readonly OutboxRow[]> {
    const rows = await tx.query(
      `SELECT id::text AS id, aggregatetype, aggregateid, type, payload::text AS payload, floor(extract(epoch FROM created_at) * 1000)::float8 AS at
FROM ${this.settings.table} WHERE batch = $1 ORDER BY seq`,
      [number],
    )
    return rows as unknown as readonly OutboxRow[]
  }
}

import type { Blame, ExternalStore, ExternalTransaction, Place, PlaceToTake, RowChange, StoredRow } from '../../src/sinks/external/port.js'

/** What a test may have go wrong, once each. */
export interface MemoryFaults {
  /** Called before a commit takes effect; what it throws is thrown, and with 'after' what is thrown behind it. */
  onCommit?: (changes: readonly RowChange[]) => Promise<void> | void
  afterCommit?: () => Promise<void> | void
  onTake?: () => Promise<void> | void
}

export class Away extends Error {}
export class Again extends Error {}
export class Poison extends Error {}

/** The transaction: what is to be there once it commits. */
export interface MemoryTx {
  readonly lines: string[]
}

const keyOf = (group: string, { sink, topic, partition }: Place): string => JSON.stringify([group, sink, topic, partition])

/** The port in a few lines of memory, for tests in virtual time. What is broken about it is said by `broken`. */
export class MemoryStore implements ExternalStore<MemoryTx> {
  readonly name = 'memory'
  readonly rows = new Map<string, StoredRow>()
  readonly lines: string[] = []
  readonly faults: MemoryFaults = {}
  begun = 0
  committed = 0
  rolledBack = 0

  constructor(private readonly broken: { readonly noEpoch?: boolean; readonly positionsApart?: boolean } = {}) {}

  async take(group: string, places: readonly PlaceToTake[]): Promise<readonly StoredRow[]> {
    await this.faults.onTake?.()
    return places.map((place) => {
      const key = keyOf(group, place)
      const known = this.rows.get(key)
      const row =
        known === undefined
          ? { position: place.start, epoch: 1, gaps: String(place.start), owed: '' }
          : { ...known, epoch: known.epoch + 1 }
      this.rows.set(key, row)
      return row
    })
  }

  async read(group: string, places: readonly Place[]): Promise<readonly (StoredRow | undefined)[]> {
    return places.map((place) => this.rows.get(keyOf(group, place)))
  }

  async begin(): Promise<ExternalTransaction<MemoryTx>> {
    this.begun++
    const handle: MemoryTx = { lines: [] }
    let over = false
    return {
      handle,
      commit: async (group, changes) => {
        await this.faults.onCommit?.(changes)
        if (!over && !this.mine(group, changes)) return false
        if (over) throw new Away('the transaction is gone')
        over = true
        this.committed++
        this.lines.push(...handle.lines)
        if (this.broken.positionsApart === true) await this.faults.afterCommit?.()
        for (const { sink, topic, partition, was: _, ...row } of changes) this.rows.set(keyOf(group, { sink, topic, partition }), row)
        if (this.broken.positionsApart !== true) await this.faults.afterCommit?.()
        return true
      },
      rollback: async () => {
        if (!over) this.rolledBack++
        over = true
      },
    }
  }

  blame(error: unknown): Blame {
    if (error instanceof Away) return 'away'
    if (error instanceof Again) return 'again'
    return error instanceof Poison ? 'record' : undefined
  }

  private mine(group: string, changes: readonly RowChange[]): boolean {
    return (
      this.broken.noEpoch === true ||
      changes.every((change) => {
        const row = this.rows.get(keyOf(group, change))
        return row?.epoch === change.epoch && row.position === change.was
      })
    )
  }
}

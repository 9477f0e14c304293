import { sameOrigin, type Origin } from '../../../record/origin.js'
import { systemClock, type Clock } from '../../../record/clock.js'
import type {
  ClaimNote,
  ClaimRequest,
  ClaimStore,
  ClaimTerms,
  HeldClaim,
  ExclusiveId,
  ExclusiveIds,
  TransactionEnd,
} from './claim-store.js'
import type { ProcessedId } from './processed.js'

interface Held {
  readonly group: string
  readonly origin: Origin
  readonly transaction: string
  readonly generation: number
  /** A date. */
  readonly at: number
  /** By the monotonic clock: when it was claimed, and when that ends. */
  readonly since: number
  readonly until: number
  duplicates: number
  result: string | undefined
}

class MemoryClaims implements ClaimStore {
  readonly name = 'memory'
  private readonly held = new Map<string, Held>()
  private readonly sections = new Map<number, Map<string, ExclusiveId>>()
  private readonly ended = new Map<string, { readonly how: TransactionEnd; readonly until: number }>()

  private withinMs = 0

  constructor(private readonly clock: Clock) {}

  async claim(requests: readonly ClaimRequest[], terms: ClaimTerms): Promise<readonly (HeldClaim | undefined)[]> {
    const now = this.sweep()
    return requests.map(({ id, origin, over }) => {
      const held = this.live(id, now)
      if (held !== undefined && !(over !== undefined && isSame(held, over))) {
        return held.transaction === terms.transaction && sameOrigin(held.origin, origin) ? undefined : this.shown(held, now)
      }
      const { group, transaction, generation, withinMs } = terms
      // Set anew, so that the map stays in the order in which claims are over.
      this.held.delete(id)
      this.held.set(id, {
        group,
        origin,
        transaction,
        generation,
        at: this.clock.now(),
        since: now,
        until: now + withinMs,
        duplicates: 0,
        result: undefined,
      })
      return undefined
    })
  }

  async end(transaction: string, how: TransactionEnd, keepMs: number): Promise<void> {
    const now = this.sweep()
    if (!this.ended.has(transaction)) this.ended.set(transaction, { how, until: now + keepMs })
  }

  async ends(transactions: readonly string[]): Promise<readonly (TransactionEnd | undefined)[]> {
    this.sweep()
    return transactions.map((transaction) => this.ended.get(transaction)?.how)
  }

  async note(notes: readonly ClaimNote[]): Promise<void> {
    const now = this.clock.monotonic()
    for (const { id, duplicates, result } of notes) {
      const held = this.live(id, now)
      if (held === undefined) continue
      held.duplicates += duplicates
      if (result !== undefined) held.result = result
    }
  }

  async find(id: string): Promise<ProcessedId | undefined> {
    const held = this.live(id, this.sweep())
    if (held === undefined) return this.findExclusive(id)
    const { origin, at, since, until, duplicates, result, transaction } = held
    const end = this.ended.get(transaction)?.how
    return end === 'aborted'
      ? undefined
      : { id, state: end === 'committed' ? 'passed' : 'pending', origin, at, until: at + until - since, duplicates, result }
  }

  readonly exclusive: ExclusiveIds = {
    put: async (ids, _, withinMs) => {
      this.withinMs = withinMs
      for (const one of ids) {
        const section = this.sections.get(one.section) ?? new Map<string, ExclusiveId>()
        this.sections.set(one.section, section.set(one.id, one))
      }
    },
    get: async (ids, sections) => ids.map((id) => this.exclusiveId(id, sections)),
    remove: async (ids) => {
      for (const { id, section, origin, writer } of ids) {
        const held = this.sections.get(section)?.get(id)
        if (held?.writer === writer && sameOrigin(held.origin, origin)) this.sections.get(section)?.delete(id)
      }
    },
    forget: async (section) => void this.sections.delete(section),
  }

  async close(): Promise<void> {}

  private findExclusive(id: string): ProcessedId | undefined {
    const held = this.exclusiveId(
      id,
      [...this.sections.keys()].sort((a, b) => b - a),
    )
    if (held === undefined || held.at + this.withinMs <= this.clock.now()) return undefined
    const { origin, at, duplicates, result } = held
    return { id, state: 'passed', origin, at, until: at + this.withinMs, duplicates, result }
  }

  private exclusiveId(id: string, sections: readonly number[]): ExclusiveId | undefined {
    for (const section of sections) {
      const held = this.sections.get(section)?.get(id)
      if (held !== undefined) return held
    }
    return undefined
  }

  private live(id: string, now: number): Held | undefined {
    const held = this.held.get(id)
    return held !== undefined && held.until > now ? held : undefined
  }

  private shown({ group, origin, transaction, generation, since }: Held, now: number): HeldClaim {
    return { group, origin, transaction, generation, ageMs: now - since }
  }

  private sweep(): number {
    const now = this.clock.monotonic()
    for (const kept of [this.held, this.ended]) {
      for (const [key, { until }] of kept) {
        if (until > now) break
        kept.delete(key)
      }
    }
    return now
  }
}

function isSame(held: Held, claim: HeldClaim): boolean {
  return held.transaction === claim.transaction && held.group === claim.group && sameOrigin(held.origin, claim.origin)
}

export interface MemoryClaimsOptions {
  /** Default: the system's. */
  readonly clock?: Clock
}

/**
 * Ids shared by all partitions and pipelines of this process, in memory: for tests, and where it does not matter that they end with the
 * process.
 *
 * @example
 * const claims = memoryClaims()
 * records.pipe(dedupe({ by: header('id'), within: '10m', store: claims }))
 */
export function memoryClaims({ clock = systemClock }: MemoryClaimsOptions = {}): ClaimStore {
  return new MemoryClaims(clock)
}

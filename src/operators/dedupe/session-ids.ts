import type { SliceContext } from '../../runtime/context.js'
import { sameOrigin, type Origin } from '../../record/origin.js'
import type { ClaimNote, ClaimRequest, HeldClaim } from './claims/claim-store.js'

/** Who came first with an id. */
export interface First {
  readonly origin: Origin
  readonly at: number
  readonly checksum?: string | undefined
}

export function firstOf({ origin, ageMs, checksum }: Pick<HeldClaim, 'origin' | 'ageMs' | 'checksum'>, now: number): First {
  return { origin, at: now - ageMs, ...(checksum === undefined ? {} : { checksum }) }
}

export interface Earlier extends First {
  /** The group that claimed it. */
  readonly group: string
}

export function earlierOf(holder: HeldClaim, now: number): Earlier {
  return { ...firstOf(holder, now), group: holder.group }
}

/** An id that this transaction has to do with: claimed, or asked for. */
export class SessionId {
  /** Known once it is decided: undefined then, if the record passed. */
  first: Earlier | undefined
  decided = false
  private cameBack = false

  constructor(
    readonly origin: Origin,
    readonly checksum: string | undefined,
  ) {}

  /**
   * Whether this is the one that passed with the id before, and comes again (through a retry topic, say) behind another that has the id. It
   * passes again, once.
   */
  isBack(origin: Origin, group: string): boolean {
    if (this.cameBack || this.first?.group !== group || !sameOrigin(this.first.origin, origin)) return false
    this.cameBack = true
    return true
  }
}

/** The ids that one `dedupe` of a pipeline has to do with in the open transaction, over all its tasks. */
export abstract class SessionIds {
  protected ids = new Map<string, SessionId>()
  protected notes = new Map<string, ClaimNote>()
  private readonly listeners = new Set<() => void>()

  /** Claims ids and waits until each is decided: in order, who came before the record, or undefined where it passes. */
  abstract claim(requests: readonly ClaimRequest[], slice: SliceContext): Promise<readonly (Earlier | undefined)[]>

  /** What the open transaction knows of an id. */
  known(id: string): SessionId | undefined {
    return this.ids.get(id)
  }

  enter(id: string, origin: Origin, checksum: string | undefined): SessionId {
    const entry = new SessionId(origin, checksum)
    this.ids.set(id, entry)
    return entry
  }

  countDuplicate(id: string): void {
    const note = this.notes.get(id)
    this.notes.set(id, { id, duplicates: (note?.duplicates ?? 0) + 1, result: note?.result })
  }

  /** False if the open transaction has nothing to do with the id. */
  keepResult(id: string, result: string): boolean {
    if (!this.ids.has(id)) return false
    this.notes.set(id, { id, duplicates: this.notes.get(id)?.duplicates ?? 0, result })
    return true
  }

  /** `listener` is called when ids were decided, whichever slice asked. */
  onDecided(listener: () => void): () => void {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  /** Tells all slices that ids were decided. */
  decided(): void {
    for (const listener of [...this.listeners]) listener()
  }

  /** The transaction is over. */
  protected forget(): void {
    this.ids = new Map()
    this.notes = new Map()
  }
}

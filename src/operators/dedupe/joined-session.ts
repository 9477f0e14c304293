import { MillraceError } from '../../record/error.js'
import { sameOrigin } from '../../record/origin.js'
import type { Clock } from '../../record/clock.js'
import type { Participant, SliceContext } from '../../runtime/context.js'
import type { SqlTransaction } from '../../sinks/database/database.js'
import type { Chunk } from '../../sinks/external/external-round.js'
import type { ExternalSession } from '../../sinks/external/session.js'
import type { ClaimRequest, HeldClaim, JoinedClaims } from './claims/claim-store.js'
import { SessionIds, earlierOf, type Earlier } from './session-ids.js'

export interface JoinedSettings {
  /** The operator, for messages. */
  readonly what: string
  /** Names its positions. */
  readonly name: string
  readonly joined: JoinedClaims
  readonly withinMs: number
}

/**
 * The claims of one `dedupe` in the database that the pipeline writes to, made in its open transaction there: a claim that another has
 * committed counts, and one that is not committed is waited for by the database itself.
 */
export class JoinedSession extends SessionIds implements Participant {
  private slice: SliceContext | undefined

  constructor(
    private readonly settings: JoinedSettings,
    private readonly session: ExternalSession<SqlTransaction>,
    private readonly clock: Clock,
  ) {
    super()
  }

  /** @throws MillraceError CLAIM_PENDING where the transaction was made anew and others came in between; what the database says */
  async claim(requests: readonly ClaimRequest[], slice: SliceContext): Promise<readonly (Earlier | undefined)[]> {
    const { what, joined, withinMs } = this.settings
    const terms = { group: slice.group, transaction: '', generation: slice.standing.generation, withinMs }
    let firsts: readonly (HeldClaim | undefined)[] | undefined
    this.slice = slice
    const make = async (tx: SqlTransaction): Promise<void> => {
      const holders = await joined.claim(tx, requests, terms)
      // Its own claim: of a transaction whose other half, in the log, failed.
      const found = holders.map((held, i) =>
        held?.group === terms.group && sameOrigin(held.origin, (requests[i] as ClaimRequest).origin) ? undefined : held,
      )
      const changed = firsts?.findIndex((first, i) => (first === undefined) !== (found[i] === undefined)) ?? -1
      if (changed >= 0) {
        const { origin } = requests[changed] as ClaimRequest
        throw new MillraceError(
          'CLAIM_PENDING',
          `${what}: the transaction in ${joined.db.name} was made anew, and another had claimed an id meanwhile; its slice is run again`,
          { origin, retryable: true },
        )
      }
      firsts = found
    }
    await this.session.write(this.chunk(slice, requests, make))
    const now = this.clock.now()
    // Nobody waits any more for what was not asked, as the slice was given up.
    return firsts?.map((held) => held && earlierOf(held, now)) ?? requests.map(() => undefined)
  }

  /** What is noted of ids goes into the same transaction, as the last of it. */
  prepare(): void {
    const { slice, notes } = this
    if (slice === undefined || notes.size === 0) return
    const list = [...notes.values()]
    this.session.add(this.chunk(slice, list, (tx) => this.settings.joined.note(tx, list)))
  }

  committed(): void {
    this.next()
  }

  async aborted(): Promise<void> {
    this.next()
  }

  private chunk(slice: SliceContext, records: readonly unknown[], write: (tx: SqlTransaction) => Promise<void>): Chunk<SqlTransaction> {
    return { slice, sink: this.settings.name, every: true, records, write }
  }

  private next(): void {
    this.slice = undefined
    this.forget()
  }
}

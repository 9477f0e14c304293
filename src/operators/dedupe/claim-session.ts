import { randomBytes } from 'node:crypto'
import { logError } from '../../log/error.js'
import type { TopicPartition } from '../../log/port.js'
import { sleep, type Clock } from '../../record/clock.js'
import { MillraceError, errorMessage } from '../../record/error.js'
import type { Logger } from '../../record/logger.js'
import { originText, sameOrigin, type Origin } from '../../record/origin.js'
import type { ClaimRequest, ClaimStore, HeldClaim, TransactionEnd } from './claims/claim-store.js'
import type { Participant, SliceContext } from '../../runtime/context.js'
import { SessionIds, earlierOf, type Earlier } from './session-ids.js'
import { StoreCalls } from './store-calls.js'

export interface ClaimSettings {
  /** The operator, for messages. */
  readonly what: string
  readonly store: ClaimStore
  readonly withinMs: number
  /** How long a record waits for another's claim before its transaction is given up. */
  readonly waitMs: number
  /** From this age on a claim whose transaction has not committed counts no longer. */
  readonly takeOverMs: number
}

/** Between two looks at a claim that is waited for, in milliseconds. */
const FIRST_LOOK_MS = 15
const MAX_LOOK_MS = 250
/** Ends of others' transactions, and those of ours that did not commit. */
const MAX_KNOWN = 10_000

/** What is to be done about a claim that somebody holds. */
type Judgement = 'passes' | 'duplicate' | 'take' | 'wait'

interface Open {
  readonly index: number
  request: ClaimRequest
  holder: HeldClaim
}

/**
 * The claims of one `dedupe` of a pipeline in a shared store, transaction by transaction, over all its tasks.
 *
 * How a claim that another record holds is judged is told in docs/dedupe.md; `judge` is that table.
 */
export class ClaimSession extends SessionIds implements Participant {
  private readonly member = randomBytes(9).toString('base64url')
  private turn = 0
  /** When the open transaction claimed first. */
  private since: number | undefined
  /** Transactions of ours that did not commit, or of which that is not known. All others before the open one did. */
  private readonly notCommitted = new Map<string, 'aborted' | 'unknown'>()
  /** Those before are not remembered any more. */
  private firstKnown = 0
  private readonly ends = new Map<string, TransactionEnd>()
  private readonly calls: StoreCalls

  constructor(
    private readonly settings: ClaimSettings,
    private readonly clock: Clock,
    private readonly logger: Logger,
  ) {
    super()
    this.calls = new StoreCalls(settings.what, settings.store.name, settings.withinMs, clock, logger)
  }

  /**
   * Claims ids and waits until each is decided. With an end to the waiting: two members that wait for each other would do so for ever.
   *
   * @throws MillraceError CLAIM_PENDING, and what the store refuses for good
   */
  async claim(requests: readonly ClaimRequest[], slice: SliceContext): Promise<(Earlier | undefined)[]> {
    const { withinMs, waitMs, store } = this.settings
    const firsts = new Array<Earlier | undefined>(requests.length).fill(undefined)
    const terms = { group: slice.group, transaction: this.transaction, generation: slice.standing.generation, withinMs }
    this.since ??= this.clock.monotonic()
    let open: { readonly index: number; readonly request: ClaimRequest }[] = requests.map((request, index) => ({ index, request }))
    let giveUpAt: number | undefined
    for (let pause = FIRST_LOOK_MS; ; pause = Math.min(MAX_LOOK_MS, pause * 2)) {
      const asked = open
      const holders = await this.calls.ask(slice, () =>
        store.claim(
          asked.map(({ request }) => request),
          terms,
        ),
      )
      // Its transaction is over: nothing more may be claimed in its name.
      if (slice.closed) return firsts
      const met: Open[] = []
      asked.forEach(({ index, request }, i) => {
        const holder = holders[i]
        if (holder !== undefined) met.push({ index, request: { id: request.id, origin: request.origin }, holder })
      })
      if (met.length === 0) return firsts
      const judged = await this.judgeAll(met, slice)
      open = []
      let waiting: Open | undefined
      met.forEach((one, i) => {
        const { index, request, holder } = one
        switch (judged[i]) {
          case 'duplicate':
            firsts[index] = earlierOf(holder, this.clock.now())
            break
          case 'take':
            open.push({ index, request: { ...request, over: holder } })
            break
          case 'wait':
            open.push({ index, request })
            waiting = one
        }
      })
      if (open.length === 0) return firsts
      if (waiting === undefined) continue
      const now = this.clock.monotonic()
      giveUpAt ??= now + waitMs
      if (now >= giveUpAt) throw this.stillPending(waiting)
      await this.calls.wait(slice, () => sleep(this.clock, Math.min(pause, (giveUpAt as number) - now)))
    }
  }

  prepare(): void {
    const { what, takeOverMs } = this.settings
    const held = this.since === undefined ? 0 : this.clock.monotonic() - this.since
    if (held <= takeOverMs / 2) return
    throw logError(
      'TRANSACTION_ABORTED',
      'abort',
      `${what}: the transaction took ${held} ms, and after ${takeOverMs} ms (takeOverAfter) others may take its ids over while it commits. Raise takeOverAfter to more than twice what a transaction may take, or make it shorter (maxRecords)`,
    )
  }

  committed(): void {
    const { store, withinMs } = this.settings
    const { transaction, notes } = this
    const used = this.ids.size > 0
    this.next()
    if (used) void this.calls.tell(() => store.end(transaction, 'committed', withinMs))
    if (notes.size > 0) void this.calls.tell(() => store.note([...notes.values()]))
  }

  aborted(certain: boolean): Promise<void> {
    const { store, withinMs } = this.settings
    const { transaction } = this
    const used = this.ids.size > 0
    if (used) this.notCommitted.set(transaction, certain ? 'aborted' : 'unknown')
    this.forgetOld()
    this.next()
    return used && certain ? this.calls.tell(() => store.end(transaction, 'aborted', withinMs)) : Promise.resolve()
  }

  private get transaction(): string {
    return `${this.member}.${this.turn.toString(36)}`
  }

  private next(): void {
    this.turn++
    this.forget()
    this.since = undefined
  }

  private async judgeAll(met: readonly Open[], slice: SliceContext): Promise<Judgement[]> {
    let judged = met.map((one) => this.judge(one, slice, undefined))
    const unknown = met.filter((_, i) => judged[i] === undefined).map(({ holder }) => holder)
    if (unknown.length > 0) {
      await this.learnEnds(unknown, slice)
      judged = met.map((one) => this.judge(one, slice, undefined))
      const offsets = await this.committedOffsets(
        met.filter((_, i) => judged[i] === undefined).map(({ holder }) => holder),
        slice,
      )
      judged = judged.map((one, i) => one ?? this.judge(met[i] as Open, slice, offsets))
    }
    return judged as Judgement[]
  }

  /** Undefined where it takes more than what is known here. */
  private judge({ request, holder }: Open, slice: SliceContext, offsets: ReadonlyMap<string, number> | undefined): Judgement | undefined {
    const { group, standing } = slice
    const mine = holder.group === group && sameOrigin(holder.origin, request.origin)
    const end = this.endOf(holder.transaction)
    if (end === 'open' || end === 'committed') return mine ? 'passes' : 'duplicate'
    if (end === 'aborted') return 'take'
    if (offsets === undefined) return undefined
    // A later owner of the partition has claimed it: this member is about to learn that it is no longer in the group.
    if (mine) return holder.generation > standing.generation ? 'passes' : 'take'
    if ((offsets.get(nameOf(holder.group, holder.origin)) ?? 0) > holder.origin.offset) return 'duplicate'
    // Its transaction is over, and what it had read comes to us: nobody else can commit it.
    if (
      holder.group === group &&
      standing.held.includes(holder.origin.partition) &&
      (holder.generation < standing.generation || end === 'unknown')
    )
      return 'take'
    return holder.ageMs >= this.settings.takeOverMs ? 'take' : 'wait'
  }

  private endOf(transaction: string): TransactionEnd | 'open' | 'unknown' | undefined {
    if (!transaction.startsWith(`${this.member}.`)) return this.ends.get(transaction)
    const turn = Number.parseInt(transaction.slice(this.member.length + 1), 36)
    if (turn === this.turn) return 'open'
    return this.notCommitted.get(transaction) ?? (turn < this.firstKnown ? this.ends.get(transaction) : 'committed')
  }

  private async learnEnds(claims: readonly HeldClaim[], slice: SliceContext): Promise<void> {
    const asked = [...new Set(claims.map(({ transaction }) => transaction))].filter((transaction) => this.endOf(transaction) === undefined)
    if (asked.length === 0) return
    const ends = await this.calls.ask(slice, () => this.settings.store.ends(asked))
    asked.forEach((transaction, i) => {
      const end = ends[i]
      if (end !== undefined) this.ends.set(transaction, end)
    })
    for (const transaction of this.ends.keys()) {
      if (this.ends.size <= MAX_KNOWN) break
      this.ends.delete(transaction)
    }
  }

  /** Of the partitions that the claimants were read from, by group. What cannot be learnt now is left out, and waited for. */
  private async committedOffsets(claims: readonly HeldClaim[], slice: SliceContext): Promise<ReadonlyMap<string, number>> {
    const groups = new Map<string, Map<string, TopicPartition>>()
    for (const { group, origin } of claims) {
      const partitions = groups.get(group) ?? new Map<string, TopicPartition>()
      groups.set(group, partitions.set(nameOf(group, origin), { topic: origin.topic, partition: origin.partition }))
    }
    const known = new Map<string, number>()
    await this.calls.wait(slice, () =>
      Promise.all(
        [...groups].map(async ([group, partitions]) => {
          try {
            const offsets = await slice.standing.committedOffsets(group, [...partitions.values()])
            ;[...partitions.keys()].forEach((name, i) => {
              const offset = offsets[i]
              if (offset !== undefined) known.set(name, offset)
            })
          } catch (error) {
            this.logger.debug({ group, error: errorMessage(error) }, `${this.settings.what} cannot learn what the group has committed`)
          }
        }),
      ),
    )
    return known
  }

  private stillPending({ request, holder }: Open): MillraceError {
    return new MillraceError(
      'CLAIM_PENDING',
      `${this.settings.what}: record ${originText(request.origin)} waited ${this.settings.waitMs} ms for ${originText(holder.origin)} of group '${holder.group}', which has claimed the same id and not committed; its slice is run again later`,
      { origin: request.origin, retryable: true },
    )
  }

  private forgetOld(): void {
    if (this.notCommitted.size <= MAX_KNOWN) return
    this.notCommitted.clear()
    this.firstKnown = this.turn + 1
  }
}

function nameOf(group: string, { topic, partition }: Origin): string {
  return `${topic}/${partition}/${group}`
}

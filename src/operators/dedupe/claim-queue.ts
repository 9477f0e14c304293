import type { LogRecord } from '../../record/record.js'
import type { ClaimRequest } from './claims/claim-store.js'
import type { ClaimSession, First, SessionId } from './claim-session.js'
import { runInSlice, type SliceContext } from '../../runtime/context.js'
import { Fifo } from '../../runtime/fifo.js'

/** Ids claimed in one call: enough that the round trip counts for little, few enough that it does not hold the store up. */
const BATCH = 512

/** Where the records of a queue go. */
export interface ClaimQueueTarget<R> {
  pass(item: R): void
  duplicate(item: R, id: string, first: First): void
  fail(error: unknown): void
  done(): void
}

class Item<R> {
  constructor(
    readonly item: R,
    readonly id: string,
    readonly entry: SessionId | undefined,
    /** False for one that met an id of this transaction: it is a duplicate, whatever that one is. */
    readonly asks: boolean,
  ) {}
}

/**
 * The records of one slice that wait for their ids to be claimed: many to a call, calls after one another without waiting for answers,
 * and out in the order they came.
 */
export class ClaimQueue<R> {
  private readonly items = new Fifo<Item<R>>()
  private unsent: Item<R>[] = []
  private scheduled = false
  private ended = false
  private over = false
  private counted = false
  private readonly forget: () => void

  constructor(
    private readonly session: ClaimSession,
    private readonly slice: SliceContext,
    private readonly target: ClaimQueueTarget<R>,
  ) {
    this.forget = session.onDecided(() => this.drain())
  }

  /** What has no id to claim, in its place. */
  pass(item: R): void {
    if (this.items.length === 0) this.target.pass(item)
    else this.push(new Item(item, '', undefined, false))
  }

  add(item: R, id: string, record: LogRecord<unknown, unknown>): void {
    const known = this.session.known(id)
    const one = new Item(item, id, known ?? this.session.enter(id, record.first), known === undefined)
    this.push(one)
    if (!one.asks) {
      if (this.items.length === 1) this.drain()
      return
    }
    this.unsent.push(one)
    if (this.unsent.length >= BATCH) this.send()
    else if (!this.scheduled) {
      this.scheduled = true
      // Runs when the task has been fed for this turn.
      queueMicrotask(() => {
        this.scheduled = false
        this.send()
      })
    }
  }

  end(): void {
    this.ended = true
    this.send()
    this.drain()
  }

  close(): void {
    this.over = true
    this.forget()
    this.countWait()
  }

  private push(one: Item<R>): void {
    this.items.push(one)
    this.countWait()
  }

  /** It may be another slice's question that is waited for: the watchdog is not to take this one for stuck. */
  private countWait(): void {
    const waits = this.items.length > 0 && !this.over
    if (waits === this.counted) return
    this.counted = waits
    this.slice.waits.bounded += waits ? 1 : -1
  }

  private send(): void {
    const { unsent } = this
    if (unsent.length === 0 || this.over) return
    this.unsent = []
    const requests = unsent.map(({ id, entry }): ClaimRequest => ({ id, origin: (entry as SessionId).origin }))
    this.session.claim(requests, this.slice).then(
      (firsts) => {
        unsent.forEach(({ entry }, i) => {
          const decided = entry as SessionId
          decided.decided = true
          decided.first = firsts[i]
        })
        this.session.decided()
      },
      (error: unknown) => {
        if (this.over || this.slice.closed) return
        this.over = true
        this.target.fail(error)
      },
    )
  }

  private drain(): void {
    if (this.over || this.slice.closed) return
    runInSlice(this.slice, () => {
      for (let head = this.items.first; head !== undefined && (head.entry === undefined || head.entry.decided); head = this.items.first) {
        this.items.shift()
        const { item, id, entry, asks } = head
        const first =
          entry === undefined || (asks && entry.first === undefined)
            ? undefined
            : (entry.first ?? { origin: entry.origin, at: this.slice.clock.now() })
        if (first === undefined) this.target.pass(item)
        else {
          this.session.countDuplicate(id)
          this.target.duplicate(item, id, first)
        }
        if (this.over || this.slice.closed) return
      }
      this.countWait()
      if (!this.ended || this.items.length > 0) return
      this.close()
      this.target.done()
    })
  }
}

import type { LogRecord } from '../../record/record.js'
import type { SliceContext } from '../../runtime/context.js'
import type { ClaimRequest } from './claims/claim-store.js'
import { firstOf, type SessionId, type SessionIds } from './session-ids.js'
import { IdQueue, type IdQueueTarget } from './id-queue.js'

class Item<R> {
  constructor(
    readonly item: R,
    readonly id: string,
    readonly entry: SessionId | undefined,
    readonly record: LogRecord<unknown, unknown> | undefined,
    /** False for one that met an id of this transaction: it is a duplicate, unless it is the one that passed before that. */
    readonly asks: boolean,
  ) {}
}

/** The records of one slice that wait for their ids to be claimed. */
export class ClaimQueue<R> extends IdQueue<R, Item<R>> {
  private counted = false
  private readonly forget: () => void

  constructor(
    private readonly session: SessionIds,
    private readonly checksumOf: ((item: R) => string | undefined) | undefined,
    slice: SliceContext,
    target: IdQueueTarget<R>,
  ) {
    super(slice, target)
    this.forget = session.onDecided(() => this.drain())
  }

  add(item: R, id: string, record: LogRecord<unknown, unknown>): void {
    const known = this.session.known(id)
    const one = new Item(item, id, known ?? this.session.enter(id, record.first, this.checksumOf?.(item)), record, known === undefined)
    this.push(one)
    if (one.asks) this.enquire(one)
    else if (this.length === 1) this.drain()
  }

  override close(): void {
    super.close()
    this.forget()
    this.moved()
  }

  protected passing(item: R): Item<R> {
    return new Item(item, '', undefined, undefined, false)
  }

  /** It may be another slice's question that is waited for: the watchdog is not to take this one for stuck. */
  protected override moved(): void {
    const waits = this.length > 0 && !this.over
    if (waits === this.counted) return
    this.counted = waits
    this.slice.waits.bounded += waits ? 1 : -1
  }

  protected ask(asked: readonly Item<R>[]): void {
    const requests = asked.map(({ id, entry }): ClaimRequest => {
      const { origin, checksum } = entry as SessionId
      return checksum === undefined ? { id, origin } : { id, origin, checksum }
    })
    this.session.claim(requests, this.slice).then(
      (firsts) => {
        asked.forEach(({ entry }, i) => {
          const decided = entry as SessionId
          decided.decided = true
          decided.first = firsts[i]
        })
        this.session.decided()
      },
      (error: unknown) => this.fail(error),
    )
  }

  protected isAnswered({ entry }: Item<R>): boolean {
    return entry === undefined || entry.decided
  }

  protected leave({ item, id, entry, record, asks }: Item<R>): void {
    if (entry === undefined || record === undefined) return this.target.pass(item)
    const { first, origin, checksum } = entry
    const passes = asks ? first === undefined : first !== undefined && entry.isBack(record.first, this.slice.group)
    if (passes) return this.target.pass(item)
    this.session.countDuplicate(id)
    const now = this.slice.clock.now()
    this.target.duplicate(
      item,
      id,
      first === undefined ? firstOf({ origin, checksum, ageMs: 0 }, now) : firstOf({ ...first, ageMs: now - first.at }, now),
    )
  }

  protected finish(): void {
    this.close()
    this.target.done()
  }
}

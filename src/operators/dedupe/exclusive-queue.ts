import type { LogRecord } from '../../record/record.js'
import type { BloomTable } from './claims/bloom-table.js'
import { placeInPartition } from '../../record/lineage.js'
import { sameOrigin, type Origin } from '../../record/origin.js'
import type { ExclusiveId } from './claims/claim-store.js'
import { runInSlice, type SliceContext } from '../../runtime/context.js'
import type { ExclusiveSession } from './exclusive-session.js'
import { IdQueue, type IdQueueTarget } from './id-queue.js'

/** Records between two looks at the clock. */
const LOOK = 64

class Item<R> {
  /** Of one that has to be looked for: what was found, once it is known. */
  held: ExclusiveId | undefined = undefined

  constructor(
    readonly item: R,
    readonly id: string,
    /** Undefined for what passes anyway. */
    readonly record: LogRecord<unknown, unknown> | undefined,
    public open: boolean,
  ) {}
}

/**
 * The records of one slice before a Bloom filter: those whose id is surely new pass at once, the others wait for an exact look-up, and
 * those behind them with them, so that the order stays.
 */
export class ExclusiveQueue<R> extends IdQueue<R, Item<R>> {
  private now = 0
  private untilLook = 0

  constructor(
    private readonly session: ExclusiveSession,
    private readonly table: BloomTable,
    private readonly withinMs: number,
    slice: SliceContext,
    target: IdQueueTarget<R>,
  ) {
    super(slice, target)
    this.look()
  }

  add(item: R, id: string, record: LogRecord<unknown, unknown>): void {
    if (this.untilLook-- === 0) this.look()
    const { table } = this
    table.advance(record.source.topic, record.offset)
    if (!table.has(id)) {
      table.add()
      this.enter(id, record)
      this.pass(item)
      return
    }
    const one = new Item(item, id, record, true)
    this.push(one)
    this.enquire(one)
  }

  protected passing(item: R): Item<R> {
    return new Item<R>(item, '', undefined, false)
  }

  private look(): void {
    this.untilLook = LOOK
    this.now = this.slice.clock.now()
    const over = this.table.turnTo(this.table.sectionAt(this.now))
    if (over !== undefined && this.slice.mode === 'run') this.session.forget(over)
  }

  private enter(id: string, record: LogRecord<unknown, unknown>): void {
    const { topic, partition } = record.source
    this.session.pass(id, topic, partition, placeOf(record), this.now, this.table.section, this.slice)
  }

  protected ask(unsent: readonly Item<R>[]): void {
    // What is in the open transaction is known here, and may not be in the store yet.
    const asked = unsent.filter(({ id }) => this.session.inTransaction(id) === undefined)
    const answer =
      asked.length === 0
        ? Promise.resolve([])
        : this.session.lookUp(
            asked.map(({ id }) => id),
            this.table.numbers,
            this.slice,
          )
    answer.then(
      (found) => {
        asked.forEach((one, i) => (one.held = found[i]))
        for (const one of unsent) one.open = false
        this.drain()
      },
      (error: unknown) => this.fail(error),
    )
  }

  protected isAnswered({ open }: Item<R>): boolean {
    return !open
  }

  protected finish(): void {
    this.over = true
    this.session.written(this.slice).then(
      () => {
        if (!this.slice.closed) runInSlice(this.slice, () => this.target.done())
      },
      (error: unknown) => {
        if (!this.slice.closed) this.target.fail(error)
      },
    )
  }

  protected leave({ item, id, record, held: found }: Item<R>): void {
    if (record === undefined) return this.target.pass(item)
    const here = this.session.inTransaction(id)
    const held = here ?? (found !== undefined && found.at + this.withinMs > this.now ? found : undefined)
    const leftBehind = held !== undefined && here === undefined && this.isLeftBehind(held)
    if (leftBehind) this.session.overrule(held)
    if (held === undefined || leftBehind) {
      this.table.add(id)
      this.enter(id, record)
      this.target.pass(item)
    } else if (here === undefined && isClaimOf(held.origin, record) && !this.session.meet(held).cameBack) {
      // It has passed before, and comes again through a retry topic, or was sent back from a dead-letter topic.
      this.session.meet(held).cameBack = true
      this.target.pass(item)
    } else {
      this.session.countDuplicate(held)
      this.target.duplicate(item, id, { origin: held.origin, at: held.at })
    }
  }

  /**
   * Put by a transaction that did not commit and could not take it out again. For a record that no transaction went past: it comes again.
   * For one that was passed over since the task came here, and put by a transaction of ours: it was given up. What was passed over before
   * may have been written over by a member that did not know yet that it had lost the task.
   */
  private isLeftBehind(held: ExclusiveId): boolean {
    const { origin } = held
    return !this.table.isPast(origin) || (this.session.isDoubtful(held) && !this.table.wasPast(origin))
  }
}

/** The offset under which the record is kept. */
function placeOf(record: LogRecord<unknown, unknown>): number {
  const { lineage } = record
  return lineage === undefined ? record.offset : placeInPartition(record.origin, lineage)
}

function isClaimOf(held: Origin, record: LogRecord<unknown, unknown>): boolean {
  return sameOrigin(held, { ...record.origin, offset: placeOf(record) }) || sameOrigin(held, record.first)
}

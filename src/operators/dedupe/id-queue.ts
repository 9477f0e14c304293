import type { LogRecord } from '../../record/record.js'
import { runInSlice, type SliceContext } from '../../runtime/context.js'
import { Fifo } from '../../runtime/fifo.js'
import type { First } from './session-ids.js'

/** Ids asked for in one call: enough that the round trip counts for little, few enough that it does not hold the store up. */
const BATCH = 512

/** Where the records of a queue go. */
export interface IdQueueTarget<R> {
  pass(item: R): void
  duplicate(item: R, id: string, first: First): void
  fail(error: unknown): void
  done(): void
}

/**
 * The records of one slice that wait for what a store says about their ids: many are asked for in a call, calls go out after one another
 * without waiting for answers, and records leave in the order they came.
 */
export abstract class IdQueue<R, Item> {
  private readonly items = new Fifo<Item>()
  private unsent: Item[] = []
  private scheduled = false
  private ended = false
  protected over = false

  constructor(
    protected readonly slice: SliceContext,
    protected readonly target: IdQueueTarget<R>,
  ) {}

  abstract add(item: R, id: string, record: LogRecord<unknown, unknown>): void

  /** What needs no answer, in its place. */
  pass(item: R): void {
    if (this.items.length === 0) this.target.pass(item)
    else this.push(this.passing(item))
  }

  end(): void {
    this.ended = true
    this.send()
    this.drain()
  }

  close(): void {
    this.over = true
  }

  protected abstract passing(item: R): Item
  /** Asks the store; `drain` follows the answer, or `fail`. */
  protected abstract ask(asked: readonly Item[]): void
  /** Whether it need not be waited for any longer. */
  protected abstract isAnswered(item: Item): boolean
  protected abstract leave(item: Item): void
  /** The last one has left. */
  protected abstract finish(): void
  /** Records have come or left. */
  protected moved(): void {}

  protected get length(): number {
    return this.items.length
  }

  protected push(item: Item): void {
    this.items.push(item)
    this.moved()
  }

  /** For one that is in the queue: its id goes with the next call. */
  protected enquire(item: Item): void {
    this.unsent.push(item)
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

  /** Lets out what no longer has to wait. */
  protected drain(): void {
    if (this.over || this.slice.closed) return
    runInSlice(this.slice, () => {
      for (let head = this.items.first; head !== undefined && this.isAnswered(head); head = this.items.first) {
        this.items.shift()
        this.leave(head)
        if (this.over || this.slice.closed) return
      }
      this.moved()
      if (this.ended && this.items.length === 0) this.finish()
    })
  }

  protected fail(error: unknown): void {
    if (this.over || this.slice.closed) return
    this.over = true
    this.target.fail(error)
  }

  private send(): void {
    const { unsent } = this
    if (unsent.length === 0 || this.over) return
    this.unsent = []
    this.ask(unsent)
  }
}

import { isLater } from '../record/serde.js'
import { WaitReport } from '../record/wait-report.js'
import { SERDE_CALLS } from '../state/at-once.js'
import { isUnavailable } from './blame.js'
import { runInSlice, type SliceContext } from './context.js'
import { MAX_RETRY_MS, RETRY_MS } from './persist.js'

interface Slot<In, Out> {
  readonly item: In
  state: 'waits' | 'under way' | 'ready'
  out: Out | undefined
}

export interface InOrderParts<In, Out> {
  /** Asks for what belongs to an item. It may be asked again if the answer was SERDE_UNAVAILABLE. */
  readonly begin: (item: In) => Out | PromiseLike<Out>
  /** The answer of an item, in the order of the items. */
  readonly give: (item: In, out: Out) => void
  readonly complete: () => void
  readonly fail: (error: unknown) => void
  /** Undefined outside of slices. */
  readonly slice: SliceContext | undefined
  /** For messages. */
  readonly what: string
}

/**
 * Lets items through in the order they came, each with an answer that may come later: behind one that waits the others wait. Answers that
 * are there at once pass at once, with nothing made for them.
 *
 * Where the environment cannot be asked (SERDE_UNAVAILABLE) the first item is asked for again, at growing pauses, and then the others; the
 * slice says that it waits for something outside.
 */
export class InOrder<In, Out> {
  private slots: Slot<In, Out>[] = []
  /** The first that is not done. */
  private head = 0
  /** Those before it were begun. */
  private begun = 0
  private underWay = 0
  private ended = false
  private closed = false
  private delayMs = RETRY_MS
  private outage: { readonly report: WaitReport; cancelTimer: (() => void) | undefined } | undefined

  constructor(private readonly parts: InOrderParts<In, Out>) {}

  /** Nothing waits, so that what is known at once may pass beside it. */
  get isEmpty(): boolean {
    return this.head === this.slots.length
  }

  add(item: In): void {
    if (!this.isEmpty) {
      this.slots.push({ item, state: 'waits', out: undefined })
      this.beginMore()
      return
    }
    const { begin, give } = this.parts
    let out: Out | PromiseLike<Out>
    try {
      out = begin(item)
    } catch (error) {
      if (!isUnavailable(error)) throw error
      out = Promise.reject(error as Error)
    }
    if (isLater(out)) this.wait(item, out)
    else give(item, out)
  }

  /** Only while nothing waits: the answer of this item has been asked for. */
  wait(item: In, answer: PromiseLike<Out>): void {
    const slot: Slot<In, Out> = { item, state: 'waits', out: undefined }
    this.slots.push(slot)
    this.begun = this.slots.length
    this.follow(slot, answer)
  }

  end(): void {
    this.ended = true
    if (this.isEmpty && !this.closed) this.parts.complete()
  }

  /** What still comes is of no use. */
  close(): void {
    this.closed = true
    this.endOutage()
  }

  private beginMore(): void {
    // After an outage the first one alone tries whether it is over.
    const most = this.outage === undefined ? SERDE_CALLS : 0
    while (this.underWay < most && this.begun < this.slots.length) this.begin(this.slots[this.begun++] as Slot<In, Out>)
  }

  private begin(slot: Slot<In, Out>): void {
    if (slot.state !== 'waits') return
    let out: Out | PromiseLike<Out>
    try {
      out = this.inSlice(() => this.parts.begin(slot.item))
    } catch (error) {
      out = Promise.reject(error as Error)
    }
    if (isLater(out)) return this.follow(slot, out)
    slot.out = out
    slot.state = 'ready'
  }

  private follow(slot: Slot<In, Out>, answer: PromiseLike<Out>): void {
    slot.state = 'under way'
    this.underWay++
    answer.then(
      (out) => {
        this.underWay--
        slot.out = out
        slot.state = 'ready'
        this.answered()
      },
      (error: unknown) => {
        this.underWay--
        if (this.closed) return
        if (!isUnavailable(error)) return this.fail(error)
        slot.state = 'waits'
        this.begun = Math.min(this.begun, this.slots.indexOf(slot, this.head))
        this.pause(error)
      },
    )
  }

  private pause(error: unknown): void {
    const { slice, what } = this.parts
    if (slice === undefined) return this.fail(error)
    if (this.outage === undefined) {
      slice.waits.outside++
      const report = new WaitReport(
        slice.clock,
        slice.logger,
        { partition: slice.partition },
        `for the serde of ${what} to be able to answer`,
      )
      this.outage = { report, cancelTimer: undefined }
    }
    const { outage } = this
    outage.report.because(error)
    if (outage.cancelTimer !== undefined) return
    outage.cancelTimer = slice.clock.after(this.delayMs, () => {
      outage.cancelTimer = undefined
      const first = this.slots[this.head] as Slot<In, Out>
      this.begun = Math.max(this.begun, this.head + 1)
      this.begin(first)
      if (first.state === 'ready') this.answered()
    })
    this.delayMs = Math.min(MAX_RETRY_MS, this.delayMs * 2)
  }

  private answered(): void {
    this.endOutage()
    this.drain()
  }

  private endOutage(): void {
    if (this.outage === undefined) return
    this.outage.cancelTimer?.()
    this.outage.report.end()
    if (this.parts.slice !== undefined) this.parts.slice.waits.outside--
    this.outage = undefined
    this.delayMs = RETRY_MS
  }

  private drain(): void {
    if (this.closed) return
    try {
      this.inSlice(() => {
        do {
          for (let slot = this.slots[this.head]; slot?.state === 'ready' && !this.closed; slot = this.slots[this.head]) {
            this.parts.give(slot.item, slot.out as Out)
            this.head++
          }
          this.compact()
          this.beginMore()
        } while (this.slots[this.head]?.state === 'ready' && !this.closed)
        if (this.isEmpty && this.ended && !this.closed) this.parts.complete()
      })
    } catch (error) {
      this.fail(error)
    }
  }

  /** What is done goes, each at a bounded cost. */
  private compact(): void {
    if (this.head < this.slots.length && this.head < SERDE_CALLS) return
    this.slots = this.slots.slice(this.head)
    this.begun -= this.head
    this.head = 0
  }

  private fail(error: unknown): void {
    if (this.closed) return
    this.close()
    this.parts.fail(error)
  }

  private inSlice<T>(fn: () => T): T {
    return this.parts.slice === undefined ? fn() : runInSlice(this.parts.slice, fn)
  }
}

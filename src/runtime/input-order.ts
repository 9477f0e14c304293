import type { Clock } from '../record/clock.js'

/** The next stretch of a topic. */
export interface Stretch {
  readonly topic: string
  /** Event time of its first record; undefined where there are only positions to step over. */
  readonly time?: number | undefined
}

export interface Inputs<S extends Stretch> {
  /** Takes what was fetched of a topic, once. */
  take(topic: string): S | undefined
  /** Whether more of it is known to be in the log, or nothing is known yet. */
  hasMore(topic: string): boolean
}

const NEVER = Number.POSITIVE_INFINITY
/**
 * Longest wait for a topic that has more to come. A fetch that fails in this time tells so, and then the whole task waits; what goes on is
 * only where nothing comes and nothing fails. Milliseconds.
 */
const WAIT_MS = 60_000

/**
 * In which order the inputs of a task are read: the earliest next record first, so that none runs ahead in event time while the pipeline
 * catches up, whatever the rates of the topics. One that has more in the log, of which nothing is fetched yet, is waited for: what the others
 * are ahead may be more than a window's grace. (KIP-695)
 */
export class InputOrder<S extends Stretch> {
  private readonly heads = new Map<string, S>()
  /** Topics that were waited for in vain, until something of them comes. */
  private readonly missed = new Set<string>()
  private waitingSince: number | undefined
  /** The time of what is held and comes first; infinity where nothing is held. */
  earliest = NEVER

  constructor(
    private readonly topics: readonly string[],
    private readonly inputs: Inputs<S>,
    private readonly clock: Clock,
  ) {}

  next(): S | undefined {
    const { heads, missed, inputs } = this
    if (this.topics.length === 1) return inputs.take(this.topics[0] as string)
    let lacking: string[] | undefined
    for (const topic of this.topics) {
      if (heads.has(topic)) continue
      const stretch = inputs.take(topic)
      if (stretch !== undefined) {
        missed.delete(topic)
        if (stretch.time === undefined) return stretch
        this.putBack(stretch)
      } else if (!missed.has(topic) && inputs.hasMore(topic)) (lacking ??= []).push(topic)
    }
    if (heads.size === 0) return undefined
    if (lacking !== undefined) {
      const now = this.clock.monotonic()
      this.waitingSince ??= now
      if (now - this.waitingSince < WAIT_MS) return undefined
      for (const topic of lacking) missed.add(topic)
    }
    this.waitingSince = undefined
    for (const head of heads.values()) {
      if (head.time !== this.earliest) continue
      this.forget(head.topic)
      return head
    }
    return undefined
  }

  /** A stretch that was begun, to be read on from `time` when that is the earliest. */
  putBack(stretch: S): void {
    this.heads.set(stretch.topic, stretch)
    this.earliest = Math.min(this.earliest, stretch.time as number)
  }

  /** What is held of a topic. */
  head(topic: string): S | undefined {
    return this.heads.get(topic)
  }

  /** When to look again though nothing comes, by the monotonic clock; infinity where nothing is waited for. */
  get nextLook(): number {
    return this.waitingSince === undefined ? NEVER : this.waitingSince + WAIT_MS
  }

  forget(topic: string): void {
    this.heads.delete(topic)
    this.earliest = NEVER
    for (const { time } of this.heads.values()) this.earliest = Math.min(this.earliest, time as number)
  }
}

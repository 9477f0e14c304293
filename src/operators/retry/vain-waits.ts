import type { Clock } from '../../record/clock.js'
import type { LogRecord, RawRecord } from '../../record/record.js'
import type { Meter, SliceContext } from '../../runtime/context.js'
import { Notice } from '../../runtime/notice.js'
import type { KeyText } from '../../state/key.js'
import type { Line } from './line.js'

/** So long a record goes round at least before it is let go. */
const VAIN_AFTER_MS = 10_000

/** A record that came back from a retry topic and had to wait again. */
interface Turn {
  /** The first one of its key that did, by its offset in the input. */
  readonly offset: number
  /** Where it lay when it first did. */
  readonly topic: string | undefined
  readonly at: number | undefined
  readonly line: Line
  readonly since: number
  seen: number
}

/**
 * Tells which records wait for one that is in no retry topic any more: its topic was deleted, or retention took it. A record that waits is
 * written behind the one it waits for, into the same topic. So when it has come round again, and nothing has changed for its key, there was
 * nothing before it.
 *
 * Memory: an entry for each key of which a record came back too early.
 */
export class VainWaits {
  private static readonly byStore = new WeakMap<object, VainWaits>()
  private readonly turns = new Map<KeyText, Turn>()

  private constructor(private readonly clock: Clock) {}

  /** Of the task whose lines are in that store: who has the task next looks for itself. */
  static of(store: object, clock: Clock): VainWaits {
    let found = this.byStore.get(store)
    if (found === undefined) this.byStore.set(store, (found = new VainWaits(clock)))
    return found
  }

  /** A record of the key is to wait again: true if that would be in vain. Asked again about the same one, the answer is the same. */
  isVain(key: KeyText, line: Line, record: LogRecord<unknown, unknown>): boolean {
    const { retries, readAt } = record.source
    if (retries === undefined) return false
    const now = this.clock.monotonic()
    const turn = this.turns.get(key)
    const { offset } = record
    const known = turn !== undefined && isSame(turn.line, line)
    // One of a higher offset waits for that one, as long as that one is still seen.
    if (!known || offset < turn.offset || (offset > turn.offset && now - turn.seen >= VAIN_AFTER_MS)) {
      this.turns.set(key, { offset, topic: readAt?.topic, at: readAt?.offset, line, since: now, seen: now })
      return false
    }
    if (offset > turn.offset) return false
    turn.seen = now
    return (readAt?.offset !== turn.at || readAt?.topic !== turn.topic) && now - turn.since >= VAIN_AFTER_MS
  }

  forget(key: KeyText): void {
    this.turns.delete(key)
  }
}

/** Whether the first one of the key is where it was. */
function isSame(a: Line, b: Line): boolean {
  return a.done === b.done && a.tier === b.tier && a.due === b.due
}

/** Records that go on without those they waited for, told at the end of their slice. */
export class LostNotice {
  private readonly notice: Notice
  private keys = 0
  private last = {}
  private meter: Meter | undefined

  constructor(
    private readonly slice: SliceContext,
    private readonly what: string,
    private readonly meterName: string,
  ) {
    this.notice = slice.shared(`notice of what ${what} has lost`, () => new Notice(slice.clock))
  }

  /** Those of its key behind the first offset, up to the second, are in no retry topic any more. */
  add(record: RawRecord, after: number, upTo: number): void {
    const { slice, what } = this
    this.meter ??= slice.meter(this.meterName)
    this.meter.count++
    this.keys++
    this.last = { record: record.id, offsets: `${after + 1} to ${upTo}` }
    slice.logger.debug(this.last, `goes on without those of its key that are in no retry topic any more (${what})`)
  }

  end(): void {
    const { keys, last, slice, what } = this
    if (keys === 0) return
    this.keys = 0
    this.notice.add(keys, (all) =>
      slice.logger.warn(
        { keys: all, ...last },
        `records waited for others of their key that are in no retry topic any more, since one was deleted or keeps its records too short: they go on without those, which were read from the input at some of the offsets named (${what})`,
      ),
    )
  }
}

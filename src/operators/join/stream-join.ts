import { bytesOfKey, keyOfBytes, keyOfText, type KeyText } from '../../state/key.js'
import { keptValue, type KeptValue } from './kept-value.js'
import type { StoreSpec } from '../../state/store.js'
import { timelineStore, type TimelineStore } from '../../state/timeline-store.js'
import type { Encoded } from '../../log/batch/write.js'

export type JoinKind = 'inner' | 'left' | 'outer'

export interface JoinWindow {
  /** How much earlier and later than a left record a right one may be, both ends included. Milliseconds. */
  readonly beforeMs: number
  readonly afterMs: number
  readonly graceMs: number
}

export interface SideOptions {
  readonly name: string
  readonly kind: string
  /** How long after its own time a record of this side still finds partners. */
  readonly waitsMs: number
  readonly graceMs: number
}

export type SideStore = TimelineStore<KeptValue>

export function sideStore({ name, kind, waitsMs, graceMs }: SideOptions): StoreSpec<SideStore> {
  return {
    // Each by itself: of a list, each record would have all of it written.
    ...timelineStore<KeptValue>({
      name,
      kind: `${kind}/each`,
      version: 1,
      numbered: true,
      serde: keptValue,
      due: (time) => time + waitsMs + graceMs + 1,
    }),
    inner: true,
  }
}

/** How the values of one side are kept. */
export interface ValueCodec {
  /** @throws MillraceError ENCODE_FAILED */
  encode(value: unknown): Encoded
  /** The value of a partner, or what stands for one that is read later. */
  decode(bytes: Buffer): unknown
  /** Whether bytes are kept as they are. */
  readonly bytesAsTheyAre: boolean
}

/** One record of a pair. */
export interface Partner {
  readonly value: unknown
  readonly timestamp: number
}

export function kept(encoded: Encoded, raw: boolean): KeptValue {
  return {
    data: encoded === null ? null : typeof encoded === 'string' ? keyOfText(encoded) : keyOfBytes(encoded),
    raw,
    matched: false,
  }
}

export type EmitPair = (key: KeyText, left: Partner | undefined, right: Partner | undefined) => void

/** One side of a join, over the task's store. */
class Side {
  constructor(
    readonly store: SideStore,
    private readonly codec: ValueCodec,
    /** Where partners of a record of this side lie, relative to its time. */
    readonly back: number,
    readonly ahead: number,
    readonly graceMs: number,
    /** Records that found no partner are handed out when their window closes. */
    readonly emitsUnmatched: boolean,
  ) {}

  isLate(time: number, streamTime: number): boolean {
    return time + this.ahead + this.graceMs < streamTime
  }

  /** A value as it is kept: what becomes of the object from here on does not reach it. */
  encode(value: unknown): KeptValue {
    const raw = this.codec.bytesAsTheyAre && value instanceof Uint8Array
    return kept(raw ? value : this.codec.encode(value), raw)
  }

  keep(key: KeyText, time: number, value: KeptValue): void {
    this.store.append(key, time, value)
  }

  read({ data, raw }: KeptValue): unknown {
    if (data === null) return null
    const bytes = bytesOfKey(data)
    return raw ? bytes : this.codec.decode(bytes)
  }
}

/**
 * Joins two streams of one task. A pair is made when the second of the two comes, if the windows of both are still open: that of a left
 * record closes when stream time passes its time + after + grace, that of a right one time + before + grace.
 */
export class StreamJoin {
  private readonly left: Side
  private readonly right: Side

  constructor(
    kind: JoinKind,
    { beforeMs, afterMs, graceMs }: JoinWindow,
    left: { readonly store: SideStore; readonly codec: ValueCodec },
    right: { readonly store: SideStore; readonly codec: ValueCodec },
    private readonly emit: EmitPair,
  ) {
    this.left = new Side(left.store, left.codec, beforeMs, afterMs, graceMs, kind !== 'inner')
    this.right = new Side(right.store, right.codec, afterMs, beforeMs, graceMs, kind === 'outer')
  }

  /** The highest time of either side. */
  get streamTime(): number {
    return Math.max(this.left.store.streamTime, this.right.store.streamTime)
  }

  /** Takes a record, whose value may be encoded already; false if it is late. */
  add(side: 'left' | 'right', key: KeyText, time: number, value: unknown, encoded?: KeptValue): boolean {
    const isLeft = side === 'left'
    const own = isLeft ? this.left : this.right
    const other = isLeft ? this.right : this.left
    if (time > own.store.streamTime) {
      own.store.advance(time)
      this.close()
    }
    if (own.isLate(time, this.streamTime)) return false
    const ours = encoded ?? own.encode(value)
    let matched = false
    for (const entry of other.store.range(key, time - own.back, time + own.ahead)) {
      // Those whose window is closed are gone from the store.
      const found = entry.value as KeptValue
      if (other.emitsUnmatched && !found.matched) other.store.set(entry, { ...found, matched: true })
      // The value itself is for one pair: what that does with it is not to be seen in others.
      const mine = { value: matched ? own.read(ours) : value, timestamp: time }
      matched = true
      const theirs = { value: other.read(found), timestamp: entry.time }
      if (isLeft) this.emit(key, mine, theirs)
      else this.emit(key, theirs, mine)
    }
    own.keep(key, time, { ...ours, matched })
    return true
  }

  /** Closes windows in the order of their ends, those of both sides together. */
  private close(): void {
    const { left, right, streamTime } = this
    for (;;) {
      const side = left.store.nextDue <= right.store.nextDue ? left : right
      const at = side.store.nextDue
      if (at > streamTime) return
      side.store.expire(at, (entry) => {
        const found = entry.value as KeptValue
        if (side.emitsUnmatched && !found.matched) {
          const one = { value: side.read(found), timestamp: entry.time }
          this.emit(entry.key, side === left ? one : undefined, side === right ? one : undefined)
        }
        side.store.remove(entry)
      })
    }
  }
}

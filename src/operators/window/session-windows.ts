import { readInt64, writeInt64 } from '../../log/batch/header.js'
import type { AnySerde, Serde, Written } from '../../record/serde.js'
import type { SessionWindows, Window } from '../../record/windows.js'
import type { KeyText } from '../../state/key.js'
import type { TimelineEntry, TimelineStore } from '../../state/timeline-store.js'
import { TimelineWindowing } from './timeline-windowing.js'
import type { EmitWindow, MergingAggregator, Windowing } from './windowing.js'

/** A session under way; it stands in the store at the time of its first record. */
export interface Session<A> {
  /** Time of its last record. */
  end: number
  state: A
}

/** The stream time from which on a session with this end is closed: no record that is not late itself could still join it. */
export function sessionClosesAt({ gapMs }: SessionWindows, graceMs: number): (end: number) => number {
  return (end) => end + gapMs + graceMs + 1
}

/** Sessions of a key lie further apart than the gap, so a record joins at most the one before and the one after it. */
export class SessionWindowing<R, A> extends TimelineWindowing<Session<A>> implements Windowing<R> {
  private readonly closesAt: (end: number) => number

  constructor(
    private readonly windows: SessionWindows,
    graceMs: number,
    store: TimelineStore<Session<A>>,
    private readonly aggregator: MergingAggregator<R, A>,
    private readonly emit: EmitWindow<A>,
    private readonly updates: boolean,
  ) {
    super(store)
    this.closesAt = sessionClosesAt(windows, graceMs)
  }

  add(record: R, key: KeyText, time: number): readonly Window[] | undefined {
    const { store, aggregator } = this
    const { gapMs } = this.windows
    let earlier = store.last(key, time)
    if (earlier !== undefined && (earlier.value as Session<A>).end < time - gapMs) earlier = undefined
    let later = store.first(key, time + 1)
    if (later !== undefined && later.time > time + gapMs) later = undefined
    this.missedAll = earlier === undefined && later === undefined && this.closesAt(time) <= store.streamTime
    if (this.missedAll) return [{ start: time, end: time }]

    let entry: TimelineEntry<Session<A>>
    if (later === undefined) {
      entry = earlier ?? store.put(key, time, { end: time, state: aggregator.add(undefined, record) })
      if (earlier !== undefined) {
        store.edit(entry)
        const session = entry.value as Session<A>
        session.state = aggregator.add(session.state, record)
        if (time > session.end) session.end = time
      }
    } else {
      // Announced before it goes: its state lives on in another session, where it may be changed in place.
      store.edit(later)
      const taken = later.value as Session<A>
      store.remove(later)
      if (earlier === undefined) {
        entry = store.put(key, time, { end: taken.end, state: aggregator.add(taken.state, record) })
      } else {
        entry = earlier
        store.edit(entry)
        const session = entry.value as Session<A>
        session.state = aggregator.add(aggregator.merge(session.state, taken.state), record)
        session.end = taken.end
      }
    }
    if (time > entry.stamp) entry.stamp = time
    return undefined
  }

  complete(): void {
    if (!this.updates) return
    for (const entry of this.store.changedEntries) if (entry.value !== undefined && entry.stamp >= 0) this.give(entry)
  }

  get allClosedAt(): number | undefined {
    let last: number | undefined
    for (const [, { end }] of this.store) if (last === undefined || end > last) last = end
    return last === undefined ? undefined : this.closesAt(last)
  }

  protected close(entry: TimelineEntry<Session<A>>): void {
    // With updates the last one is out already, unless the session closes in the slice that changed it.
    if (!this.updates || (this.store.isChanged(entry) && entry.stamp >= 0)) this.give(entry)
    this.store.remove(entry)
  }

  private give({ key, time, value }: TimelineEntry<Session<A>>): void {
    const { end, state } = value as Session<A>
    this.emit(key, { start: time, end }, state)
  }
}

/** The end, and the state as its own serde writes it. */
export function sessionSerde<A>(state: Serde<A>): Serde<Session<A>>
export function sessionSerde<A>(state: AnySerde<A>): AnySerde<Session<A>>
export function sessionSerde<A>(state: AnySerde<A>): AnySerde<Session<A>> {
  const { name } = state
  const end = (bytes: Buffer): number => readInt64(bytes, 0)
  const rest = (bytes: Buffer): Buffer => bytes.subarray(END_BYTES)
  return state.async === true
    ? {
        name,
        async: true,
        encode: async (session) => withEnd(session.end, await state.encode(session.state)),
        decode: async (bytes) => ({ end: end(bytes), state: await state.decode(rest(bytes)) }),
      }
    : {
        name,
        encode: (session) => withEnd(session.end, state.encode(session.state)),
        decode: (bytes) => ({ end: end(bytes), state: state.decode(rest(bytes)) }),
      }
}

function withEnd(end: number, encoded: Written): Buffer | null {
  if (encoded === null) return null
  const length = typeof encoded === 'string' ? Buffer.byteLength(encoded, 'utf8') : encoded.length
  const bytes = Buffer.allocUnsafe(END_BYTES + length)
  writeInt64(bytes, 0, end)
  if (typeof encoded === 'string') bytes.write(encoded, END_BYTES, 'utf8')
  else bytes.set(encoded, END_BYTES)
  return bytes
}

const END_BYTES = 8

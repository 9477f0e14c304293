import { lastStart, type TimeWindows, type Window } from '../../record/windows.js'
import type { Aggregator } from '../../state/aggregator.js'
import type { KeyText } from '../../state/key.js'
import type { MemoryEntry, MemoryStore } from '../../state/memory-store.js'
import type { EmitWindow, Windowing } from './windowing.js'

/** Tumbling and hopping windows: the store has a segment for each start, so that a window is walked and dropped whole. */
export class TimeWindowing<R, A> implements Windowing<R> {
  missedAll = false

  constructor(
    private readonly windows: TimeWindows,
    private readonly graceMs: number,
    private readonly store: MemoryStore<A>,
    private readonly aggregator: Aggregator<R, A, unknown>,
    private readonly emit: EmitWindow<A>,
    private readonly updates: boolean,
  ) {}

  get streamTime(): number {
    return this.store.streamTime
  }

  advance(time: number): void {
    const { store, graceMs } = this
    if (time <= store.streamTime) return
    store.advance(time)
    store.expire(time - graceMs - this.windows.sizeMs, this.close)
  }

  add(record: R, key: KeyText, time: number): readonly Window[] | undefined {
    const { sizeMs, advanceMs } = this.windows
    const { store, aggregator } = this
    const closed = store.streamTime - this.graceMs - sizeMs
    let missed: Window[] | undefined
    this.missedAll = true
    for (let start = lastStart(this.windows, time); start > time - sizeMs; start -= advanceMs) {
      if (start <= closed) {
        missed ??= []
        missed.push({ start, end: start + sizeMs })
        continue
      }
      this.missedAll = false
      const entry = store.edit(key, start)
      entry.value = aggregator.add(entry.value, record)
      if (time > entry.stamp) entry.stamp = time
    }
    return missed
  }

  complete(): void {
    if (!this.updates) return
    const { sizeMs } = this.windows
    for (const { key, segment, value, stamp } of this.store.changedEntries) {
      if (value !== undefined && stamp >= 0) this.emit(key, { start: segment.time, end: segment.time + sizeMs }, value)
    }
  }

  get isEmpty(): boolean {
    return this.store.isEmpty
  }

  get allClosedAt(): number | undefined {
    const end = this.store.lastTime + this.windows.sizeMs + this.graceMs
    return end > this.store.streamTime ? end : undefined
  }

  private readonly close = (start: number, entries: Iterable<MemoryEntry<A>>): void => {
    const { store, emit, updates } = this
    const window = { start, end: start + this.windows.sizeMs }
    for (const entry of entries) {
      const { key, value, stamp } = entry
      if (value === undefined) continue
      // With updates the last one is out already, unless the window closes in the slice that changed it.
      if (!updates || (store.isChanged(entry) && stamp >= 0)) emit(key, window, value)
      store.remove(entry)
    }
  }
}

import { lastStart, type TimeWindows, type Window } from '../../record/windows.js'
import type { Aggregator } from '../../state/aggregator.js'
import type { KeyText } from '../../state/key.js'
import type { MemoryStore } from '../../state/memory-store.js'
import type { EmitWindow, Windowing } from './windowing.js'

const NONE = Number.POSITIVE_INFINITY

/** Tumbling and hopping windows: the store has a segment for each start, so that a window is walked and dropped whole. */
export class TimeWindowing<R, A> implements Windowing<R> {
  missedAll = false
  /** Start of the first open window: looked up anew after closing. */
  private first: number

  constructor(
    private readonly windows: TimeWindows,
    private readonly graceMs: number,
    private readonly store: MemoryStore<A>,
    private readonly aggregator: Aggregator<R, A, unknown>,
    private readonly emit: EmitWindow<A>,
    private readonly updates: boolean,
  ) {
    this.first = this.earliest()
  }

  get streamTime(): number {
    return this.store.streamTime
  }

  advance(time: number): void {
    const { store, graceMs } = this
    if (time <= store.streamTime) return
    store.advance(time)
    const closed = time - graceMs - this.windows.sizeMs
    if (this.first > closed) return
    const due = [...store.times()].filter((start) => start <= closed).sort((a, b) => a - b)
    for (const start of due) this.close(start)
    this.first = this.earliest()
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
      if (start < this.first) this.first = start
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
    let last = Number.NEGATIVE_INFINITY
    for (const start of this.store.times()) if (start > last) last = start
    const end = last + this.windows.sizeMs + this.graceMs
    return end > this.store.streamTime ? end : undefined
  }

  private close(start: number): void {
    const { store, emit, updates } = this
    const window = { start, end: start + this.windows.sizeMs }
    for (const entry of store.entriesAt(start)) {
      const { key, value, stamp } = entry
      if (value === undefined) continue
      // With updates the last one is out already, unless the window closes in the slice that changed it.
      if (!updates || (store.isChanged(entry) && stamp >= 0)) emit(key, window, value)
      store.remove(entry)
    }
  }

  private earliest(): number {
    let first = NONE
    for (const start of this.store.times()) if (start < first) first = start
    return first
  }
}

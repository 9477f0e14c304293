import type { TimelineEntry, TimelineStore } from '../../state/timeline-store.js'

/**
 * What kinds of windows have in common whose store tells what of it is due: event time goes on, and what is due is closed, earliest first.
 */
export abstract class TimelineWindowing<V> {
  missedAll = false
  private readonly closeDue = (entry: TimelineEntry<V>, at: number): void => this.close(entry, at)

  constructor(protected readonly store: TimelineStore<V>) {}

  get streamTime(): number {
    return this.store.streamTime
  }

  get isEmpty(): boolean {
    return this.store.isEmpty
  }

  advance(time: number): void {
    const { store } = this
    if (time <= store.streamTime) return
    store.advance(time)
    store.expire(time, this.closeDue)
  }

  /** `at` is the stream time at which it was due. */
  protected abstract close(entry: TimelineEntry<V>, at: number): void
}

import type { Window } from '../../record/windows.js'
import type { KeyText } from '../../state/key.js'

/** What a kind of windows does with records; one for each slice, over the task's store. */
export interface Windowing<R> {
  /** Event time goes on to `time`: windows that end with it close, in order of their end. */
  advance(time: number): void
  /** Puts a record into its windows, as of the stream time; returns those that are closed already. */
  add(record: R, key: KeyText, time: number): readonly Window[] | undefined
  /** True if it went into none. */
  readonly missedAll: boolean
  /** The slice is over: hands out what changed, where updates are asked for. */
  complete(): void
  /** The stream time at which all that is open closes; undefined where nothing is. */
  readonly allClosedAt: number | undefined
}

/** Hands out the result of one window of one key. `stamp` is the event time of the newest record in it. */
export type EmitWindow<A> = (key: KeyText, window: Window, state: A, stamp: number) => void

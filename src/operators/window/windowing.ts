import type { Window } from '../../record/windows.js'
import type { Aggregator } from '../../state/aggregator.js'
import type { KeyText } from '../../state/key.js'

/** What a kind of windows does with records; one for each slice, over the task's store. */
export interface Windowing<R> {
  /** How far event time has come in the task. */
  readonly streamTime: number
  /** Event time goes on to `time`: windows that end with it close, in order of their end. */
  advance(time: number): void
  /** Puts a record into its windows, as of the stream time; returns those that are closed already. */
  add(record: R, key: KeyText, time: number): readonly Window[] | undefined
  /** True if it went into none. */
  readonly missedAll: boolean
  /** The slice is over: hands out what changed, where updates are asked for. */
  complete(): void
  /** Nothing is kept. What is kept need not be open. */
  readonly isEmpty: boolean
  /** The stream time at which all that is open closes; undefined where nothing is. Looks through the whole store. */
  readonly allClosedAt: number | undefined
}

/** Hands out the result of one window of one key. */
export type EmitWindow<A> = (key: KeyText, window: Window, state: A) => void

/** An aggregator that can make one state of two. */
export type MergingAggregator<R, A> = Aggregator<R, A, unknown> & { readonly merge: (earlier: A, later: A) => A }

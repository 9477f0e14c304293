import { MillraceError } from '../../record/error.js'
import type { Windows } from '../../record/windows.js'
import type { Aggregator } from '../../state/aggregator.js'
import { memoryStore } from '../../state/memory-store.js'
import type { StoreSpec, TaskStore } from '../../state/store.js'
import { timelineStore } from '../../state/timeline-store.js'
import { SessionWindowing, sessionClosesAt, sessionSerde, type Session } from './session-windows.js'
import { SlidingWindowing, slidingDue } from './sliding-windows.js'
import { TimeWindowing } from './time-windows.js'
import type { EmitWindow, MergingAggregator, Windowing } from './windowing.js'

export interface WindowingOptions<R, A> {
  readonly name: string
  readonly kind: string
  readonly graceMs: number
  readonly updates: boolean
  readonly aggregator: Aggregator<R, A, unknown>
}

/** Begins work on the task's store, which `storeOf` gives. */
export type OpenWindowing<R, A> = (storeOf: <S extends TaskStore>(spec: StoreSpec<S>) => S, emit: EmitWindow<A>) => Windowing<R>

/**
 * What works on windows of a kind.
 *
 * @throws MillraceError INVALID_OPTIONS
 */
export function windowing<R, A>(windows: Windows, options: WindowingOptions<R, A>): OpenWindowing<R, A> {
  const { name, kind, graceMs, updates, aggregator } = options
  const { serde, version, migrate } = aggregator
  switch (windows.kind) {
    case 'time': {
      const spec = memoryStore<A>({ name, kind, version, serde, migrate, timed: true })
      return (storeOf, emit) => new TimeWindowing(windows, graceMs, storeOf(spec), aggregator, emit, updates)
    }
    case 'session': {
      const merging = withMerge(`window '${name}': session windows`, aggregator)
      const closesAt = sessionClosesAt(windows, graceMs)
      const spec = timelineStore<Session<A>>({
        name,
        kind,
        version,
        serde: sessionSerde(serde),
        migrate:
          migrate && ((session, from) => ({ ...(session as Session<unknown>), state: migrate((session as Session<unknown>).state, from) })),
        due: (_start, { end }) => closesAt(end),
      })
      return (storeOf, emit) => new SessionWindowing(windows, graceMs, storeOf(spec), merging, emit, updates)
    }
    case 'sliding': {
      const merging = withMerge(`window '${name}': sliding windows`, aggregator)
      const spec = timelineStore<A>({ name, kind, version, serde, migrate, due: slidingDue(windows, graceMs) })
      return (storeOf, emit) => new SlidingWindowing(windows, graceMs, storeOf(spec), merging, emit, updates)
    }
  }
}

function withMerge<R, A>(what: string, aggregator: Aggregator<R, A, unknown>): MergingAggregator<R, A> {
  const { merge } = aggregator
  if (typeof merge === 'function') return { ...aggregator, merge }
  throw new MillraceError(
    'INVALID_OPTIONS',
    `${what} make one state of two, and the aggregator '${aggregator.name}' has no merge function: give it merge: (earlier, later) => ...`,
  )
}

import type { Windows } from '../../record/windows.js'
import type { Aggregator } from '../../state/aggregator.js'
import { memoryStore, type MemoryStore } from '../../state/memory-store.js'
import type { StoreSpec } from '../../state/store.js'
import { TimeWindowing } from './time-windows.js'
import type { EmitWindow, Windowing } from './windowing.js'

export interface WindowingOptions<R, A> {
  readonly name: string
  readonly kind: string
  readonly graceMs: number
  readonly updates: boolean
  readonly aggregator: Aggregator<R, A, unknown>
}

export interface WindowingKind<R, A> {
  readonly store: StoreSpec<MemoryStore<A>>
  open(store: MemoryStore<A>, emit: EmitWindow<A>): Windowing<R>
}

/** The store a kind of windows needs, and what works on it. */
export function windowing<R, A>(windows: Windows, options: WindowingOptions<R, A>): WindowingKind<R, A> {
  const { name, kind, graceMs, updates, aggregator } = options
  const { serde, version, migrate } = aggregator
  if (windows.kind !== 'time') throw new Error('not yet')
  return {
    store: memoryStore<A>({ name, kind, version, serde, migrate, timed: true }),
    open: (store, emit) => new TimeWindowing(windows, graceMs, store, aggregator, emit, updates),
  }
}

import { LINEAR, growthOf } from '../../support/operations.js'
import { describe, expect, it } from 'vitest'
import { DueStore, nextOrder } from '../../../src/state/due-store.js'
import { Due, NEVER, type DueItem } from '../../../src/state/due.js'
import { MemoryStore } from '../../../src/state/memory-store.js'
import { TimelineStore } from '../../../src/state/timeline-store.js'
import { count } from '../../../src/index.js'
import { session, sliding, tumbling, type Windows } from '../../../src/record/windows.js'
import { windowing } from '../../../src/operators/window/create.js'
import { json } from '../../../src/record/serde.js'
import type { StoreSpec, TaskStore } from '../../../src/state/store.js'

const N = 500
const times = (n: number, step: (i: number) => void): void => {
  for (let i = 0; i < n; i++) step(i)
}
/** Neither rising nor falling. */
const shuffled = (n: number, i: number): number => (i * 7919) % n

const number = json<number>()
const windows = (): MemoryStore<number> => new MemoryStore<number>({ serde: number, timed: true, version: 1 })
const timeline = (life = NEVER): TimelineStore<number> =>
  new TimelineStore<number>({ serde: number, version: 1, due: (time) => time + life })
const waiting = (): DueStore<{ at: number; order: number }> =>
  new DueStore({ serde: json<{ at: number; order: number }>(), timed: false, version: 1 })

/** Windows over a store, slice after slice. */
function slices(windows: Windows, graceMs: number, updates: boolean): { slice: (times: readonly number[]) => void } {
  const open = windowing<unknown, number>(windows, { name: 'w', kind: 'k', graceMs, updates, aggregator: count() })
  let store: TaskStore | undefined
  const storeOf = <S extends TaskStore>(spec: StoreSpec<S>): S => (store ??= spec.create()) as S
  return {
    slice(at) {
      const over = open(storeOf, () => {})
      for (const time of at) {
        over.advance(time)
        over.add(undefined, 'k', time)
      }
      over.complete()
      store?.changes(() => {})
      store?.commit()
    },
  }
}
const upTo = (n: number, step = 1): number[] => Array.from({ length: n }, (_, i) => i * step)

/** A transaction each, of which two are not decided at any time. */
function overlapped(store: TaskStore, n: number, step: (i: number) => void): void {
  times(n, (i) => {
    step(2 * i)
    if (i > 0) store.commit()
    step(2 * i + 1)
    store.changes(() => {})
    store.seal?.()
  })
  store.rollback()
}

const cases: Readonly<Record<string, (n: number) => void>> = {
  'due index: taken out of many'(n) {
    const due = new Due<DueItem & { readonly at: number }>({ dueOf: ({ at }) => at })
    times(n, (i) => due.push({ dueAt: NEVER, at: shuffled(n, i) }, shuffled(n, i)))
    times(n, () => due.take(NEVER))
    due.rollback(n)
  },
  'windows: one closes at each record, in one transaction, beside many that are open'(n) {
    const store = windows()
    times(n, (i) => store.put('k', i, i))
    store.commit()
    times(n, (i) => {
      store.put('k', i, n + i)
      store.expire(i, (time) => store.delete('k', time))
    })
  },
  'windows: a commit each'(n) {
    const store = windows()
    times(n, (i) => store.put('k', i, i))
    times(n, (i) => {
      store.put('k', i, i)
      store.commit()
    })
  },
  'windows: two transactions at a time, beside many that are open'(n) {
    const store = windows()
    times(n, (i) => store.put('k', i, i))
    store.commit()
    overlapped(store, n, (i) => store.put('k', i, i))
  },
  'timeline: two transactions at a time, beside many'(n) {
    const store = timeline(n)
    times(n, (i) => store.put('k', i, i))
    store.commit()
    overlapped(store, n, (i) => {
      store.put('k', n + i, i)
      store.advance(n + i)
      store.expire(n + i, (entry) => store.remove(entry))
    })
  },
  'due store: two transactions at a time, beside many'(n) {
    const store = waiting()
    times(n, (i) => store.put(`held${i}`, { at: 10 * n + i, order: nextOrder() }))
    store.commit()
    overlapped(store, n, (i) => {
      store.put('k', { at: i, order: nextOrder() })
      expect(store.take(i)?.at).toBe(i)
    })
  },
  'timeline: the last of a key, when those before it were deleted'(n) {
    const store = timeline()
    times(n, (i) => store.put('k', i, i))
    store.commit()
    times(n, () => store.remove(store.last('k') as never))
  },
  'timeline: the first of a key, when those before it were deleted'(n) {
    const store = timeline()
    times(n, (i) => store.put('k', i, i))
    store.commit()
    times(n, (i) => store.remove(store.first('k', i) as never))
  },
  'timeline: stretches of time between deleted ones'(n) {
    const store = timeline()
    times(n, (i) => store.put('k', i, i))
    times(n, (i) => {
      store.remove(store.entry('k', shuffled(n, i)) as never)
      store.range('k', 0, 0)
      store.range('k', n - 1)
    })
    store.rollback()
  },
  'timeline: entries that come due, put and commited one by one'(n) {
    const store = timeline(n)
    times(2 * n, (i) => {
      store.put('k', i, i)
      store.advance(i)
      store.expire(i, (entry) => store.remove(entry))
      store.commit()
    })
  },
  'timeline: out of order'(n) {
    const store = timeline()
    times(n, (i) => {
      store.put('k', shuffled(n, i), i)
      store.commit()
    })
  },
  'tumbling windows: one closes at each record, in one slice'(n) {
    slices(tumbling(1), 0, false).slice(upTo(n))
  },
  'tumbling windows: many stay open, a slice each'(n) {
    const { slice } = slices(tumbling(1), 1e9, true)
    for (const time of upTo(n)) slice([time])
  },
  'sessions: many of one key stay open, a slice each'(n) {
    const { slice } = slices(session(1), 1e9, true)
    for (const time of upTo(n, 10)) slice([time])
  },
  'sliding windows: many times in one window, which close'(n) {
    slices(sliding(n), 0, false).slice([...upTo(n), 3 * n])
  },
  'sliding windows, updates: many times in one window'(n) {
    slices(sliding(n), 0, true).slice(upTo(n))
  },
  'sliding windows: many times in one window, out of order, which close'(n) {
    slices(sliding(n), n, false).slice([...upTo(n).map((i) => shuffled(n, i)), 4 * n])
  },
  'due store: one key put later and later, and now and then asked'(n) {
    const store = waiting()
    times(n, (i) => {
      store.put('k', { at: 1_000 + i, order: nextOrder() })
      expect(store.nextAt).toBe(1_000 + i)
      if (i % 10 === 9) store.commit()
    })
  },
  'due store: put, taken and rolled back beside many'(n) {
    const store = waiting()
    times(n, (i) => store.put(`held${i}`, { at: n + i, order: nextOrder() }))
    store.commit()
    times(n, (i) => {
      store.put('k', { at: i, order: nextOrder() })
      expect(store.take(i)?.at).toBe(i)
      if (i % 2 === 0) store.commit()
      else store.rollback()
    })
  },
}

describe('what grows with what', () => {
  for (const [name, run] of Object.entries(cases)) {
    it(name, () => {
      expect(growthOf(N, run)).toBeLessThan(LINEAR)
    })
  }
})

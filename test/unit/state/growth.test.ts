import { LINEAR, growthOf } from '../../support/operations.js'
import { describe, expect, it } from 'vitest'
import { DueStore, nextOrder } from '../../../src/state/due-store.js'
import { Due, NEVER, type DueItem } from '../../../src/state/due.js'
import { MemoryStore } from '../../../src/state/memory-store.js'
import { TimelineStore } from '../../../src/state/timeline-store.js'
import { json } from '../../../src/record/serde.js'

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

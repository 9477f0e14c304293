import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { json } from '../../../src/record/serde.js'
import { TimelineStore, type TimelineEntry } from '../../../src/state/timeline-store.js'
import type { Folding } from '../../../src/state/time-tree.js'

const copyOf = (names: string[]): string[] => [...names]
/** Merges in place, as aggregators may. */
const folding: Folding<TimelineEntry<string[]>, string[]> = {
  of: ({ value }) => value as string[],
  merge(earlier, later) {
    earlier.push(...later)
    return earlier
  },
  copy: copyOf,
}

const time = fc.nat(20)
const step = fc.oneof(
  { weight: 5, arbitrary: fc.record({ do: fc.constant('add' as const), time, name: fc.string({ maxLength: 2 }) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('remove' as const), time }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('fold' as const), from: time, to: time }) },
  { weight: 1, arbitrary: fc.constantFrom({ do: 'commit' as const }, { do: 'rollback' as const }) },
)

describe('what a stretch of time comes to', () => {
  it('is what its entries come to one by one, whatever changed since it was asked last', () => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 30, maxLength: 100 }), (steps) => {
        const store = new TimelineStore<string[]>({ serde: json<string[]>(), version: 1, due: () => Number.POSITIVE_INFINITY })
        let plain = new Map<number, string[]>()
        let committed = new Map<number, string[]>()
        const copied = (from: Map<number, string[]>): Map<number, string[]> => new Map([...from].map(([at, names]) => [at, copyOf(names)]))
        for (const one of steps) {
          if (one.do === 'add') {
            plain.set(one.time, [...(plain.get(one.time) ?? []), one.name])
            const entry = store.entry('k', one.time)
            if (entry === undefined) store.put('k', one.time, [one.name])
            else {
              store.edit(entry)
              entry.value?.push(one.name)
            }
          } else if (one.do === 'remove') {
            plain.delete(one.time)
            const entry = store.entry('k', one.time)
            if (entry !== undefined) store.remove(entry)
          } else if (one.do === 'fold') {
            const { from, to } = one
            const within = [...plain].filter(([at]) => at >= from && at <= to).sort(([a], [b]) => a - b)
            expect(store.fold('k', from, to, folding)).toEqual(within.length === 0 ? undefined : within.flatMap(([, names]) => names))
          } else if (one.do === 'commit') {
            store.commit()
            committed = copied(plain)
          } else {
            store.rollback()
            plain = copied(committed)
          }
          expect(store.range('k').map((entry) => [entry.time, entry.value])).toEqual([...plain].sort(([a], [b]) => a - b))
        }
      }),
      { numRuns: 300 },
    )
  })
})

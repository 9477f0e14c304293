import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Due, NEVER, type DueItem } from '../../../src/state/due.js'

class Item implements DueItem {
  dueAt = NEVER
  constructor(
    readonly name: number,
    /** Infinity: gone. */
    public at: number,
    public order: number,
  ) {}
}

const makeDue = (): Due<Item> => new Due<Item>({ dueOf: ({ at }) => at, orderOf: ({ order }) => order })

type Step =
  | { readonly kind: 'put'; readonly name: number; readonly at: number }
  | { readonly kind: 'remove'; readonly name: number }
  | { readonly kind: 'take'; readonly upTo: number }
  | { readonly kind: 'commit' | 'rollback' | 'look' }

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('put' as const), name: fc.nat(4), at: fc.nat(9) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('remove' as const), name: fc.nat(4) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('take' as const), upTo: fc.nat(9) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom('commit' as const, 'rollback' as const, 'look' as const) }) },
)

describe('what comes due', () => {
  it('comes in order of time, then as put, under any course of changes and transactions', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const due = makeDue()
        const items = new Map<number, Item>()
        const held = (): Item[] => [...items.values()].filter(({ at }) => at < NEVER)
        let committed = new Map<number, readonly [at: number, order: number]>()
        let order = 0
        for (const one of steps) {
          switch (one.kind) {
            case 'put': {
              const item = items.get(one.name) ?? new Item(one.name, NEVER, 0)
              items.set(one.name, Object.assign(item, { at: one.at, order: ++order }))
              due.push(item, one.at)
              break
            }
            case 'remove': {
              const item = items.get(one.name)
              if (item !== undefined) item.at = NEVER
              break
            }
            case 'take': {
              const first = held().sort((a, b) => a.at - b.at || a.order - b.order)[0]
              const expected = first !== undefined && first.at <= one.upTo ? first : undefined
              const taken = due.take(one.upTo)
              expect(taken?.name).toBe(expected?.name)
              if (taken !== undefined) taken.at = NEVER
              break
            }
            case 'look':
              expect(due.next).toBe(Math.min(NEVER, ...held().map(({ at }) => at)))
              expect(due.notBefore).toBeLessThanOrEqual(due.next)
              break
            case 'commit':
              committed = new Map(held().map(({ name, at, order: as }) => [name, [at, as] as const]))
              due.commit(held().length)
              break
            case 'rollback':
              for (const item of items.values()) {
                const before = committed.get(item.name)
                item.at = before?.[0] ?? NEVER
                item.order = before?.[1] ?? item.order
              }
              due.rollback(held().length)
          }
        }
      }),
      { numRuns: 1_000 },
    )
  })

  it('without orders, those of one time come as they were pushed', () => {
    const due = new Due<Item>({ dueOf: ({ at }) => at })
    for (let i = 0; i < 20; i++) due.push(new Item(i, 5, 0), 5)
    expect(Array.from({ length: 20 }, () => due.take(5)?.name)).toEqual(Array.from({ length: 20 }, (_, i) => i))
    expect(due.take(NEVER)).toBeUndefined()
  })

  it('an item that moves on over and over stands once, and what went in another way does not pile up', () => {
    const due = makeDue()
    const item = new Item(0, 10, 0)
    for (let i = 0; i < 10_000; i++) {
      item.at = 10 + i
      due.push(item, item.at)
    }
    expect(due.held).toBe(1)
    for (let i = 0; i < 10_000; i++) {
      const cancelled = new Item(i, i, i)
      due.push(cancelled, i)
      cancelled.at = NEVER
      due.commit(1)
    }
    expect(due.held).toBeLessThanOrEqual(1_001)
    expect(due.next).toBe(10 + 9_999)
  })

  it('an item that comes and goes between two times does not pile up', () => {
    const due = makeDue()
    const item = new Item(0, 100, 0)
    due.push(item, 100)
    for (let i = 0; i < 5_000; i++) {
      due.push(item, 50)
      expect(due.next).toBe(100)
      due.commit(1)
    }
    expect(due.held).toBeLessThanOrEqual(1_001)
    expect(due.take(100)).toBe(item)
    expect(due.take(100)).toBeUndefined()
  })
})

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { IdIndex } from '../../src/operators/dedupe/claims/id-index.js'

describe('the index of ids', () => {
  it('finds what a Map finds, through insertions and removals', () => {
    // Few enough ids that they come again, more than its first slots hold.
    const step = fc.tuple(fc.nat(1_500), fc.nat(2))
    fc.assert(
      fc.property(fc.array(step, { minLength: 2_000, maxLength: 6_000, size: 'max' }), (steps) => {
        const index = new IdIndex()
        const model = new Map<string, number>()
        const free: number[] = []
        let next = 0
        for (const [n, kind] of steps) {
          const id = `id-${n}`
          expect(index.find(id)).toBe(model.get(id) ?? -1)
          const row = model.get(id)
          if (kind < 2 && row === undefined) {
            const own = free.pop() ?? next++
            index.put(id, own)
            model.set(id, own)
          } else if (kind === 2 && row !== undefined) {
            index.remove()
            index.clear(row)
            model.delete(id)
            free.push(row)
          }
        }
        for (const [id, row] of model) {
          expect(index.find(id)).toBe(row)
          expect(index.idOf(row)).toBe(id)
        }
      }),
      { numRuns: 30 },
    )
  })
})

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Suspicion } from '../../src/runtime/suspicion.js'

/** Plays the runtime: records 0..n-1, of which some fail whenever they are run. Returns where the poison was found. */
function search(n: number, poison: ReadonlySet<number>, reruns: number, hint?: number): { found: number | undefined; runs: number } {
  const suspicion = new Suspicion(n, reruns, hint)
  let front = 0
  for (let guard = 0; suspicion.verdict === 'searching'; guard++) {
    if (guard > 200) throw new Error('the search does not end')
    const count = suspicion.next()
    const bad = Array.from({ length: count }, (_, i) => front + i).some((i) => poison.has(i))
    if (bad) suspicion.failed(count)
    else {
      suspicion.passed(count)
      front += count
    }
  }
  return { found: suspicion.verdict === 'found' ? front : undefined, runs: suspicion.runs }
}

describe('Suspicion', () => {
  it('finds the first poison record wherever it stands', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 3000 }), fc.nat(), fc.integer({ min: 0, max: 3 }), (n, at, reruns) => {
        const poison = at % n
        expect(search(n, new Set([poison]), reruns).found).toBe(poison)
      }),
    )
  })

  it('takes about log2(n) runs', () => {
    for (const at of [0, 1, 2499, 2500, 4998, 4999]) expect(search(5000, new Set([at]), 1).runs).toBeLessThanOrEqual(15)
  })

  it('needs two runs when the failure came while the record was being pushed', () => {
    expect(search(5000, new Set([1234]), 0, 1234)).toEqual({ found: 1234, runs: 2 })
  })

  it('clears a slice that passes when it is run again', () => {
    expect(search(100, new Set(), 1)).toEqual({ found: undefined, runs: 1 })
  })

  it('is not misled by a hint at an innocent record', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 500 }), fc.nat(), fc.nat(), (n, at, hint) => {
        expect(search(n, new Set([at % n]), 0, hint % n).found).toBe(at % n)
      }),
    )
  })
})

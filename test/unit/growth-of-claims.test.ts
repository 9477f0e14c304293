import { LINEAR, growthOf } from '../support/operations.js'
import { describe, expect, it } from 'vitest'
import { ClaimTable } from '../../src/operators/dedupe/claims/claim-table.js'

const source = { topic: 'a', partition: 0 }
const nothing = (): void => {}

function tableOf(maxIds = 1_000_000): { take: (id: string, offset: number, timestamp: number) => void; commit: () => void } {
  const table = new ClaimTable({ withinMs: 1_000, maxIds })
  table.useClock({ now: () => 1e12, monotonic: () => 1e12, after: () => nothing })
  return {
    take: (id, offset, timestamp) => void table.take(id, { source, offset, timestamp }),
    commit() {
      table.changes(nothing)
      table.commit()
    },
  }
}

const cases: Readonly<Record<string, (n: number) => void>> = {
  'one id that repeats after its time, in one transaction'(n) {
    const { take, commit } = tableOf()
    for (let i = 0; i < n; i++) take('x', i, i * 1_000)
    commit()
  },
  'a commit each, when maxIds is reached'(n) {
    const { take, commit } = tableOf(n)
    for (let i = 0; i < 2 * n; i++) {
      take(`id${i}`, i, 0)
      commit()
    }
  },
  'one id met in every transaction, beside many'(n) {
    const { take, commit } = tableOf()
    for (let i = 0; i < n; i++) take(`id${i}`, i, 0)
    commit()
    for (let i = n; i < 2 * n; i++) {
      take('x', i, 0)
      commit()
    }
  },
  'ids that come and go'(n) {
    const { take, commit } = tableOf()
    for (let i = 0; i < 2 * n; i++) {
      take(`id${i}`, i, (i * 1_000) / n)
      if (i % 4 === 0) commit()
    }
  },
}

describe('what grows with what, of claims', () => {
  for (const [name, run] of Object.entries(cases)) {
    it(name, () => {
      expect(growthOf(400, run)).toBeLessThan(LINEAR)
    })
  }
})

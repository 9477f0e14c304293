import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { RedrivenStore } from '../../../src/redrive/redriven-store.js'

type Step = { readonly kind: 'add'; readonly offset: number } | { readonly kind: 'commit' | 'rollback' | 'restart' }

const offset = fc.oneof(fc.nat(20), fc.constantFrom(8_191, 8_192, 8_193, 16_383, 1_000_000, Number.MAX_SAFE_INTEGER))
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 5, arbitrary: offset.map((at) => ({ kind: 'add' as const, offset: at })) },
  fc.constantFrom({ kind: 'commit' as const }, { kind: 'rollback' as const }, { kind: 'restart' as const }),
)

describe('RedrivenStore', () => {
  it('has what was added and committed, through rollbacks and restores from the changelog', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const changelog = new Map<string, Buffer>()
        let store = new RedrivenStore()
        let committed = new Set<number>()
        let now = new Set<number>()
        for (const one of steps) {
          if (one.kind === 'add') {
            store.add(one.offset)
            now.add(one.offset)
          } else if (one.kind === 'commit') {
            expect(store.dirty).toBe(now.size > committed.size)
            store.changes((key, value) => {
              expect(value?.length).toBeLessThanOrEqual(1_024)
              changelog.set(Buffer.from(key).toString('hex'), Buffer.from(value as Uint8Array))
            })
            store.commit()
            committed = new Set(now)
          } else {
            store.rollback()
            now = new Set(committed)
            if (one.kind === 'restart') {
              store = new RedrivenStore()
              for (const [key, value] of changelog) store.load(Buffer.from(key, 'hex'), value)
              store.loaded()
            }
          }
          for (const at of [...now, 0, 7, 8_191, 8_192, 999_999]) expect(store.has(at)).toBe(now.has(at))
          for (const start of [0, 5, 8_190, 16_000])
            expect(store.hasAny(start, start + 20)).toBe([...now].some((at) => at >= start && at < start + 20))
          expect(store.highest).toBe(Math.max(-1, ...now))
        }
      }),
    )
  })

  it('refuses what is not its own', () => {
    expect(() => new RedrivenStore().load(Buffer.from('key'), Buffer.alloc(1))).toThrow(/expected 8 bytes/)
    expect(() => new RedrivenStore().load(Buffer.alloc(8), Buffer.alloc(1_025))).toThrow(/at most 1024/)
  })
})

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { HandOut } from '../../src/record/hand-out.js'

describe('parts of a batch that are given out', () => {
  const batch = Buffer.from(Array.from({ length: 40_000 }, (_, i) => i % 251))
  const range = fc
    .tuple(fc.nat(batch.length), fc.nat(5_000))
    .map(([start, length]) => [start, Math.min(batch.length, start + length)] as const)

  it('are what the batch holds there, whatever was done to those given out before, in whatever order', () => {
    const bytes = Buffer.from(batch)
    fc.assert(
      fc.property(fc.array(range, { maxLength: 60 }), (ranges) => {
        const parts = new HandOut()
        for (const [start, end] of ranges) {
          const part = parts.part(bytes, start, end)
          expect(part.equals(batch.subarray(start, end))).toBe(true)
          part.fill(255)
        }
        expect(bytes.equals(batch)).toBe(true)
      }),
    )
  })

  it('keep no more than a window in memory, and are copied a window at a time', () => {
    const parts = new HandOut()
    const copies = new Set<ArrayBufferLike>()
    for (let start = 0; start + 100 <= batch.length; start += 100) {
      const part = parts.part(batch, start, start + 100)
      expect(part.buffer.byteLength).toBeLessThanOrEqual(16 * 1024)
      copies.add(part.buffer)
    }
    expect(copies.size).toBe(3)
  })
})

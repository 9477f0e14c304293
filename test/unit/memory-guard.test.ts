import { describe, expect, it } from 'vitest'
import { MemoryGuard } from '../../src/runtime/memory-guard.js'

const LIMIT = 1_000_000
const big = [
  { name: 'small', keys: 1, bytes: 10 },
  { name: 'big', keys: 2_000, bytes: 300_000 },
]

function guardOf(): { readonly said: string[]; readonly at: (part: number, usage?: typeof big) => void } {
  const said: string[] = []
  let live = 0
  const quiet = (): void => {}
  const logger = { debug: quiet, info: quiet, error: quiet, warn: (_: object, text?: string) => void said.push(text ?? '') }
  const guard = new MemoryGuard(logger, () => ({ live, limit: LIMIT }))
  return {
    said,
    at(part, usage = big) {
      live = part * LIMIT
      guard.check(() => usage)
    },
  }
}

describe('memory that state takes', () => {
  it('is warned of from 70 % of the heap on, once, and anew when it was well below', () => {
    const { said, at } = guardOf()
    at(0.69)
    expect(said).toEqual([])
    for (const part of [0.7, 0.8, 0.65, 0.75]) at(part)
    expect(said).toHaveLength(1)
    at(0.5)
    at(0.71)
    expect(said).toHaveLength(2)
  })

  it('is refused from 90 % on, the largest store named first', () => {
    const { at } = guardOf()
    expect(() => at(0.9)).toThrow(
      expect.objectContaining({
        code: 'STATE_TOO_LARGE',
        message: expect.stringMatching(/'big' has 2000 keys.*'small'.*max-old-space-size/) as string,
      }),
    )
  })

  it('is not blamed for what others take', () => {
    const { said, at } = guardOf()
    at(0.95, [{ name: 'small', keys: 10, bytes: 1_000 }])
    expect(said).toEqual([])
  })
})

import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'

const read = (name: string): string => readFileSync(fileURLToPath(new URL(`../../${name}`, import.meta.url)), 'utf8')
const bare = (text: string): string => text.replaceAll(/^ +/gm, '')

describe('docs/state.md', () => {
  it('shows code of the example that the demo and its tests run', () => {
    const blocks = [...read('docs/state.md').matchAll(/```ts\n([\s\S]*?)```/g)].map(([, code]) => bare(code as string))
    expect(blocks.length).toBeGreaterThan(0)
    for (const code of blocks) expect(bare(read('examples/delays.ts'))).toContain(code)
  })
})

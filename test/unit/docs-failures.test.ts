import { readFileSync, readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const EXAMPLES = `${ROOT}test/embedded`

/** A test as a user of the package would write it. */
const published = (file: string): string =>
  readFileSync(`${EXAMPLES}/${file}`, 'utf8')
    .replaceAll("'../../src/index.js'", "'millrace'")
    .replaceAll("'../../src/testing/index.js'", "'millrace/testing'")

describe('docs/failures.md', () => {
  const page = readFileSync(`${ROOT}docs/failures.md`, 'utf8')
  const blocks = [...page.matchAll(/(?:<!-- (\S+) -->\n)?```ts\n([\s\S]*?)```/g)].map(([, file, code]) => ({ file, code }))

  it('every example on the page is a test that runs, word for word', () => {
    expect(blocks.map(({ file }) => file).sort()).toEqual(
      readdirSync(EXAMPLES)
        .filter((name) => name.startsWith('failures-docs-'))
        .sort(),
    )
    for (const { file, code } of blocks) expect(code).toBe(published(file as string))
  })

  it('names only what there is', async () => {
    const exported = Object.keys(await import('../../src/index.js'))
    const named = [...page.matchAll(/`(\w+)\(/g)].map(([, name]) => name as string)
    expect(named.length).toBeGreaterThan(10)
    expect(named.filter((name) => !exported.includes(name))).toEqual([])
  })
})

import { readFileSync, readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'

const ROOT = fileURLToPath(new URL('../../..', import.meta.url))
const EXAMPLES = 'test/embedded'

/** Code blocks of a page, each behind a comment that names the test file it is. */
const blocks = (page: string): { readonly file: string | undefined; readonly code: string }[] =>
  [...page.matchAll(/(?:<!-- (\S+) -->\n)?```ts\n([\s\S]*?)```/g)].map(([, file, code]) => ({ file, code: code as string }))

/** A test as a user of the package would write it. */
const asPublished = (test: string): string =>
  test.replaceAll("'../../src/index.js'", "'millrace'").replaceAll("'../../src/testing/index.js'", "'millrace/testing'")

describe('docs/testing.md', () => {
  const page = readFileSync(`${ROOT}docs/testing.md`, 'utf8')

  it('every example on the page is a test that runs, word for word', () => {
    const found = blocks(page)
    for (const { file, code } of found) {
      expect(file, `name the test file of the example that begins with ${code.slice(0, 60)}`).toBeDefined()
      expect(code).toBe(asPublished(readFileSync(`${ROOT}${EXAMPLES}/${file as string}`, 'utf8')))
    }
    const tests = readdirSync(`${ROOT}${EXAMPLES}`).filter((name) => name.startsWith('kit-docs-'))
    expect(found.map(({ file }) => file).sort()).toEqual(tests.sort())
  })

  it('the example in the README is part of a test', () => {
    const readme = readFileSync(`${ROOT}README.md`, 'utf8')
    const example = /## Testing your pipeline\n\n```ts\nimport .*\n\n([\s\S]*?)```/.exec(readme)?.[1] as string
    const test = readFileSync(`${ROOT}${EXAMPLES}/kit-readme.test.ts`, 'utf8')
    expect(test.replaceAll(/^ +/gm, '')).toContain(example)
  })

  it('would notice an example that differs, and one that is no test', () => {
    expect(blocks('<!-- a.test.ts -->\n```ts\none\n```\n```ts\ntwo\n```')).toEqual([
      { file: 'a.test.ts', code: 'one\n' },
      { file: undefined, code: 'two\n' },
    ])
  })
})

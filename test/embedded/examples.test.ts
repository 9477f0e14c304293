import { readFileSync, readdirSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { EXAMPLES, runExample } from '../support/example-outputs.js'

/** Those that run until they are told to stop, or are checked elsewhere, and what they share. */
const OTHERS = ['passthrough', 'map-json', 'delays', 'demo', 'demo-members', 'flights', 'example', 'charge-http']

describe('the programs of examples/', () => {
  it.each(Object.keys(EXAMPLES))('%s does what it says, and ends', async (name) => {
    expect((await runExample(name, {})).trimEnd()).toBe(EXAMPLES[name]?.trimStart())
  })

  it('demo kills one of its members, and every result is right', async () => {
    expect(await runExample('demo', {})).toMatch(
      /airport-hours +17385 +17385\n[^]*one member killed; every flight is accounted for, every result is right/,
    )
  })

  const folder = new URL('../../examples/', import.meta.url)
  const names = readdirSync(folder)
    .filter((file) => file.endsWith('.ts'))
    .map((file) => file.slice(0, -3))

  it('are all known here', () => {
    expect(names.filter((name) => !(name in EXAMPLES) && !OTHERS.includes(name))).toEqual([])
  })

  it.each(Object.keys(EXAMPLES))('%s is short', (name) => {
    expect(readFileSync(new URL(`${name}.ts`, folder), 'utf8').split('\n').length).toBeLessThan(80)
  })
})

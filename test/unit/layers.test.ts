import { readFileSync, readdirSync } from 'node:fs'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'

const SRC = fileURLToPath(new URL('../../src', import.meta.url))

/** What each folder may import, besides itself. */
const ALLOWED: Record<string, readonly string[]> = {
  record: [],
  log: ['record'],
  state: ['record', 'log'],
  runtime: ['record', 'log', 'state'],
  operators: ['record', 'log', 'state', 'runtime', 'sources'],
  sinks: ['record', 'log', 'state', 'runtime'],
  sources: ['record', 'log', 'state', 'runtime'],
  cluster: ['record', 'log', 'state', 'runtime', 'sources', 'operators'],
  kafka: ['record', 'log'],
  embedded: ['record', 'log'],
  cli: ['cluster', 'index.js'],
  testing: ['record', 'log', 'state', 'runtime', 'embedded', 'cluster'],
}

interface Import {
  readonly file: string
  readonly from: string
  readonly target: string
  readonly text: string
}

const files = readdirSync(SRC, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'))
const imports: Import[] = files.flatMap((file) => {
  const text = readFileSync(join(SRC, file), 'utf8')
  return [...text.matchAll(/^(?:import|export)[^'"]*from '([^']+)'|import\('([^']+)'\)/gm)].map((match) => ({
    file,
    from: file.split('/')[0] as string,
    target: (match[1] ?? match[2]) as string,
    text: match[0],
  }))
})
const folderOf = ({ file, target }: Import): string => relative(SRC, join(SRC, file, '..', target)).split('/')[0] as string
const rules = (found: readonly Import[]): string[] =>
  found
    .filter(({ target, from }) => target.startsWith('.') && from in ALLOWED)
    .filter((one) => {
      const to = folderOf(one)
      if (to === one.from || (ALLOWED[one.from] as readonly string[]).includes(to)) return false
      // The functions that make a cluster load its log when called, and know its type.
      return !(one.from === 'cluster' && /^import\(|^import type/.test(one.text) && ['kafka', 'embedded'].includes(to))
    })
    .map(({ file, target }) => `${file} imports ${target}`)

describe('layers', () => {
  it('imports point down only', () => {
    expect(imports.length).toBeGreaterThan(50)
    expect(rules(imports)).toEqual([])
  })

  it('operators import no other operator', () => {
    const between = imports.filter(({ from, target }) => from === 'operators' && target.startsWith('./'))
    expect(between.map(({ file, target }) => `${file} imports ${target}`)).toEqual([])
  })

  it('kafkajs is imported by src/kafka alone, beyond types', () => {
    const outside = imports.filter(({ from, target, text }) => target.startsWith('kafkajs') && from !== 'kafka' && !text.startsWith('import type'))
    expect(outside).toEqual([])
  })

  it('would notice an import that points up', () => {
    expect(rules([{ file: 'record/x.ts', from: 'record', target: '../runtime/round.js', text: 'import' }])).toEqual(['record/x.ts imports ../runtime/round.js'])
    expect(rules([{ file: 'runtime/x.ts', from: 'runtime', target: '../kafka/client.js', text: 'import' }])).toHaveLength(1)
  })
})

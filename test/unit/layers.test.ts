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
  // Ids are claimed in the same databases as sinks write to.
  operators: ['record', 'log', 'state', 'runtime', 'sources', 'sinks'],
  sinks: ['record', 'log', 'state', 'runtime'],
  // An outbox is read over the same databases as sinks write to.
  sources: ['record', 'log', 'state', 'runtime', 'sinks'],
  cluster: ['record', 'log', 'state', 'runtime', 'sources'],
  'schema-registry': ['record', 'runtime'],
  opentelemetry: ['record', 'runtime', 'cluster', 'serve'],
  serve: ['record', 'runtime', 'cluster', 'redrive'],
  redrive: ['record', 'log', 'state', 'runtime', 'sources', 'operators', 'cluster'],
  kafka: ['record', 'log'],
  embedded: ['record', 'log'],
  cli: ['cluster', 'redrive', 'index.js'],
  testing: ['record', 'log', 'state', 'runtime', 'operators', 'sinks', 'embedded', 'cluster'],
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
const pathOf = ({ file, target }: Import): string => relative(SRC, join(SRC, file, '..', target))
const folderOf = (one: Import): string => pathOf(one).split('/')[0] as string
/** The operator a path belongs to: its folder, or its file where it is a single one. */
const operatorOf = (path: string): string | undefined => /^operators\/([^/]+?)(?:\.[jt]s)?(?:\/|$)/.exec(path)?.[1]
const relatives = (found: readonly Import[]): readonly Import[] => found.filter(({ target }) => target.startsWith('.'))

const pointingUp = (found: readonly Import[]): string[] =>
  relatives(found)
    .filter(({ from }) => from in ALLOWED)
    .filter((one) => {
      const to = folderOf(one)
      if (to === one.from || (ALLOWED[one.from] as readonly string[]).includes(to)) return false
      // The functions that make a cluster load its log when called, and know its type.
      return !(one.from === 'cluster' && /^import\(|^import type/.test(one.text) && ['kafka', 'embedded'].includes(to))
    })
    .map(({ file, target }) => `${file} imports ${target}`)

const betweenOperators = (found: readonly Import[]): string[] =>
  relatives(found)
    .filter((one) => {
      const to = operatorOf(pathOf(one))
      if (to === undefined || operatorOf(one.file) === to) return false
      return one.file !== 'index.ts' && !['testing', 'redrive'].includes(one.from)
    })
    .map(({ file, target }) => `${file} imports ${target}`)

/** Files that import each other, straight or in a circle, types included: each of those that are part of one. */
const circular = (found: readonly Import[]): string[] => {
  const targets = new Map<string, string[]>()
  for (const one of relatives(found)) {
    if (one.text.startsWith('import(')) continue
    const to = pathOf(one).replace(/\.js$/, '.ts')
    targets.set(one.file, [...(targets.get(one.file) ?? []), to])
  }
  const reaches = (from: string): boolean => {
    const seen = new Set<string>()
    const open = [...(targets.get(from) ?? [])]
    for (let file = open.pop(); file !== undefined; file = open.pop()) {
      if (file === from) return true
      if (seen.has(file)) continue
      seen.add(file)
      open.push(...(targets.get(file) ?? []))
    }
    return false
  }
  return [...targets.keys()].filter(reaches)
}

describe('layers', () => {
  it('sees the files and imports it judges', () => {
    expect(files.length).toBeGreaterThan(150)
    expect(imports.length).toBeGreaterThan(500)
    for (const folder of Object.keys(ALLOWED)) expect(files.some((file) => file.startsWith(`${folder}/`))).toBe(true)
  })

  it('imports point down only', () => {
    expect(pointingUp(imports)).toEqual([])
  })

  it('an operator is imported by the index, the testing kit and redrive alone, never by another operator', () => {
    expect(betweenOperators(imports)).toEqual([])
  })

  it('no file imports itself round about, not even for a type', () => {
    expect(circular(imports)).toEqual([])
  })

  it('kafkajs is imported by src/kafka alone, beyond types', () => {
    const outside = imports.filter(
      ({ from, target, text }) => target.startsWith('kafkajs') && from !== 'kafka' && !text.startsWith('import type'),
    )
    expect(outside).toEqual([])
  })

  it('would notice an import that points up', () => {
    expect(pointingUp([{ file: 'record/x.ts', from: 'record', target: '../runtime/round.js', text: 'import' }])).toEqual([
      'record/x.ts imports ../runtime/round.js',
    ])
    expect(pointingUp([{ file: 'runtime/x.ts', from: 'runtime', target: '../kafka/client.js', text: 'import' }])).toHaveLength(1)
  })

  it('would notice a circle', () => {
    const one = { from: 'record', text: 'import type' }
    const found = circular([
      { ...one, file: 'record/a.ts', target: './b.js' },
      { ...one, file: 'record/b.ts', target: './c.js' },
      { ...one, file: 'record/c.ts', target: './a.js' },
      { ...one, file: 'record/d.ts', target: './a.js' },
    ])
    expect(found).toEqual(['record/a.ts', 'record/b.ts', 'record/c.ts'])
  })

  it('would notice an operator that leaves its room', () => {
    const inside = { from: 'operators', text: 'import' }
    expect(betweenOperators([{ ...inside, file: 'operators/window/window.ts', target: '../join/kept-values.js' }])).toHaveLength(1)
    expect(betweenOperators([{ ...inside, file: 'operators/aggregate.ts', target: './decode.js' }])).toHaveLength(1)
    expect(
      betweenOperators([{ file: 'runtime/plan.ts', from: 'runtime', target: '../operators/window/window.js', text: 'import' }]),
    ).toHaveLength(1)
    expect(betweenOperators([{ ...inside, file: 'operators/dedupe/dedupe.ts', target: './claims/processed.js' }])).toEqual([])
  })
})

import { expectedWindows, type TimedRecord } from '../support/window-oracle.js'
import { session, tumbling } from '../../src/index.js'
import { GAP_MS, GRACE_MS, RETRIES, WINDOW_MS, WITHIN_MS, contentOf, failuresOf, type Content } from './pipeline.js'
import type { Scenario } from './scenario.js'

/** A record as it stands in the input. */
export interface Input {
  readonly topic: string
  readonly partition: number
  readonly key: string
  readonly value: string
  readonly timestamp: number
  readonly id: string
}

export interface Output {
  readonly partition: number
  readonly key: string | null
  readonly value: string | null
}

/** What the pipeline has written. */
export interface Written {
  readonly out: readonly Output[]
  readonly late: readonly Output[]
  readonly dead: readonly Output[]
}

type Taken = Input & { readonly content: Content }

const sorted = (values: readonly string[]): string[] => [...values].sort()

function differing(what: string, found: readonly string[], expected: readonly string[]): string[] {
  if (found.length === expected.length && found.every((one, i) => one === expected[i])) return []
  const missing = expected.filter((one) => !found.includes(one))
  const extra = found.filter((one) => !expected.includes(one))
  const twice = found.filter(
    (one, i) => expected.includes(one) && found.indexOf(one) !== i && expected.indexOf(one) === expected.lastIndexOf(one),
  )
  return [
    `${what}: missing ${JSON.stringify(missing)}, extra ${JSON.stringify(extra)}, twice ${JSON.stringify(twice)}, found ${JSON.stringify(found)}, expected ${JSON.stringify(expected)}`,
  ]
}

/** Everything that differs between what was written and what the definitions say; empty where nothing does. */
export function differences(scenario: Scenario, inputs: readonly Input[], written: Written): string[] {
  const { passed, dead } = through(scenario, inputs)
  const problems = differing(
    'dead letters',
    sorted(written.dead.map(({ value }) => String(contentOf({ value }).id))),
    sorted(dead.map(({ content }) => String(content.id))),
  )
  return [...problems, ...ofCore(scenario, passed, written)]
}

/** What comes to the core of the pipeline, in the order of its partition, and what ends as a dead letter. */
function through(
  { dedupe, failures, core }: Scenario,
  inputs: readonly Input[],
): { readonly passed: readonly Taken[]; readonly dead: readonly Taken[] } {
  const passed: Taken[] = []
  const dead: Taken[] = []
  const seen = new Set<string>()
  const tries = failures === 'none' || core === 'joinStream' ? Number.POSITIVE_INFINITY : failures === 'dead' ? 1 : RETRIES.length + 1
  for (const input of inputs) {
    const content = contentOf(input)
    if (content.kind === 'dropped') continue
    if (dedupe !== 'none' && core !== 'joinStream' && seen.has(input.id)) continue
    if (content.kind === 'poison') continue
    seen.add(input.id)
    ;(failuresOf(content.kind) < tries ? passed : dead).push({ ...input, content })
  }
  return { passed, dead }
}

const idsOf = (records: readonly Taken[]): string[] => records.map(({ content }) => String(content.id))

function ofCore(scenario: Scenario, passed: readonly Taken[], { out, late }: Written): string[] {
  const partitions = Array.from({ length: scenario.partitions }, (_, partition) => partition)
  const overtakes = scenario.failures === 'retry' || scenario.failures === 'ordered'
  switch (scenario.core) {
    case 'copy':
      return partitions.flatMap((partition) => {
        const found = out.filter((one) => one.partition === partition)
        const expected = passed.filter((one) => one.partition === partition)
        if (!overtakes)
          return differing(
            `partition ${partition}`,
            found.map(({ value }) => String(value)),
            idsOf(expected),
          )
        const all = differing(`partition ${partition}`, sorted(found.map(({ value }) => String(value))), sorted(idsOf(expected)))
        if (scenario.failures === 'retry') return all
        const keys = new Set(expected.map(({ key }) => key))
        return [
          ...all,
          ...[...keys].flatMap((key) =>
            differing(
              `key ${key}`,
              found.filter((one) => one.key === key).map(({ value }) => String(value)),
              idsOf(expected.filter((one) => one.key === key)),
            ),
          ),
        ]
      })
    case 'delay':
      return differing('out', sorted(out.map(({ value }) => String(value))), sorted(idsOf(passed)))
    case 'count':
    case 'store':
      return counted(
        passed.map(({ key }) => key),
        out,
      )
    case 'repartition':
      return counted(
        passed.map(({ content }) => `r${content.key}`),
        out,
      )
    case 'window':
    case 'session':
      return partitions.flatMap((partition) => {
        const windows = scenario.core === 'window' ? tumbling(WINDOW_MS) : session(GAP_MS)
        const records = passed
          .filter((one) => one.partition === partition)
          .map(({ key, timestamp, content }): TimedRecord => ({ key, time: timestamp, id: content.id }))
        if (records.length === 0) return []
        const { closed } = expectedWindows(windows, GRACE_MS, records)
        const keys = new Set(records.map(({ key }) => key))
        const found = out.filter(({ key }) => keys.has(key as string)).map(windowText)
        return differing(
          `windows of partition ${partition}`,
          sorted(found),
          sorted(closed.map(({ key, start, end, ids }) => `${key} ${start}-${end} ${ids.join(',')}`)),
        )
      })
    case 'idle': {
      const results = out.map(({ value }) => (JSON.parse(String(value)) as { readonly result: number[] }).result)
      const once = sorted(out.map(windowText).map((text) => text.split(' ').slice(0, 2).join(' ')))
      return [
        ...differing(
          'records in windows or late',
          sorted([...results.flat().map(String), ...late.map(({ value }) => String(value))]),
          sorted(idsOf(passed)),
        ),
        ...differing('windows', once, [...new Set(once)]),
      ]
    }
    case 'joinTable':
      return differing(
        'out',
        sorted(out.map(({ value }) => String(value))),
        sorted(passed.map(({ content, key }) => `${content.id} row of ${key}`)),
      )
    case 'joinStream': {
      const pairs = passed
        .filter(({ topic }) => topic === 'in')
        .flatMap((left) =>
          passed
            .filter((right) => right.topic === 'right' && right.key === left.key && Math.abs(right.timestamp - left.timestamp) <= WITHIN_MS)
            .map((right) => `${left.content.id}+${right.content.id}`),
        )
      return differing('pairs', sorted(out.map(({ value }) => String(value))), sorted(pairs))
    }
  }
}

function windowText({ key, value }: Output): string {
  const { start, end, result } = JSON.parse(String(value)) as { readonly start: number; readonly end: number; readonly result: number[] }
  return `${key} ${start}-${end} ${result.join(',')}`
}

/** Each key counts from 1, without a gap. */
function counted(keys: readonly string[], out: readonly Output[]): string[] {
  const totals = new Map<string, number>()
  for (const key of keys) totals.set(key, (totals.get(key) ?? 0) + 1)
  const found = new Set([...totals.keys(), ...out.map(({ key }) => String(key))])
  return [...found].flatMap((key) =>
    differing(
      `counts of ${key}`,
      out.filter((one) => one.key === key).map(({ value }) => String(value)),
      Array.from({ length: totals.get(key) ?? 0 }, (_, i) => String(i + 1)),
    ),
  )
}

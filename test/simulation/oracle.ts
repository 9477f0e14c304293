import { expectedWindows, type TimedRecord } from '../support/window-oracle.js'
import { session } from '../../src/index.js'
import { GAP_MS, GRACE_MS, RETRIES, WITHIN_MS, contentOf, failuresOf, windowsOf, type Content } from './pipeline.js'
import { joinsStreams, poisons, type Scenario } from './scenario.js'

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
  /** Dead letters sent on by redrive; undefined where that was not done. */
  readonly redriven: readonly Output[] | undefined
}

type Taken = Input & { readonly content: Content }

/** Partitions at most, also where some are added. */
export const MOST_PARTITIONS = 5

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
  // At least once: each of them, however often and in whatever order it was repeated.
  const once = (values: readonly string[]): string[] => sorted(scenario.guarantee === 'exactly-once' ? values : [...new Set(values)])
  const idOf = ({ value }: Output): string => String(contentOf({ value }).id)
  const letters = written.dead.map(idOf)
  const problems = differing('dead letters', once(letters), once(idsOf(dead)))
  if (written.redriven !== undefined) problems.push(...differing('redriven', sorted(written.redriven.map(idOf)), sorted(letters)))
  if (scenario.guarantee === 'exactly-once') return [...problems, ...ofCore(scenario, passed, written)]
  return [...problems, ...differing('out', once([...written.out, ...written.late].map(({ value }) => String(value))), once(idsOf(passed)))]
}

/** What comes to the core of the pipeline, in the order of its partition, and what ends as a dead letter. */
function through(
  { dedupe, failures, core, onError }: Scenario,
  inputs: readonly Input[],
): { readonly passed: readonly Taken[]; readonly dead: readonly Taken[] } {
  const passed: Taken[] = []
  const dead: Taken[] = []
  const seen = new Set<string>()
  const tries = failures === 'none' || joinsStreams(core) ? Number.POSITIVE_INFINITY : failures === 'dead' ? 1 : RETRIES.length + 1
  for (const input of inputs) {
    const content = contentOf(input)
    if (content.kind === 'dropped') continue
    if (dedupe !== 'none' && !joinsStreams(core) && seen.has(input.id)) continue
    if (poisons(content.kind)) {
      if (onError === 'dead') dead.push({ ...input, content })
      continue
    }
    seen.add(input.id)
    if (content.kind === 'garbled' && tries !== Number.POSITIVE_INFINITY) dead.push({ ...input, content })
    else (failuresOf(content.kind) < tries ? passed : dead).push({ ...input, content })
  }
  return { passed, dead }
}

const idsOf = (records: readonly Taken[]): string[] => records.map(({ content }) => String(content.id))

function ofCore(scenario: Scenario, passed: readonly Taken[], { out, late }: Written): string[] {
  const partitions = Array.from({ length: MOST_PARTITIONS }, (_, partition) => partition)
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
    case 'route':
      return [0, 1].flatMap((odd) =>
        differing(
          odd === 0 ? 'out' : 'late',
          sorted((odd === 0 ? out : late).map(({ value }) => String(value))),
          sorted(idsOf(passed.filter(({ content }) => content.id % 2 === odd))),
        ),
      )
    case 'schedule': {
      const found = out.map(({ value }) => String(value))
      const last = new Map(passed.map(({ key, content }) => [key, String(content.id)]))
      const lost = [...last.values()].filter((id) => !found.includes(id))
      const known = new Set(idsOf(passed))
      return [
        ...differing('the last of each key that did not pass', lost, []),
        ...differing('passed', sorted(found), sorted([...new Set(found)].filter((id) => known.has(id)))),
      ]
    }
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
    case 'hopping':
    case 'sliding':
    case 'session': {
      const windows = scenario.core === 'session' ? session(GAP_MS) : windowsOf(scenario.core)
      return partitions.flatMap((partition) => {
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
    }
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
    case 'joinTableLeft':
      return differing(
        'out',
        sorted(out.map(({ value }) => String(value))),
        sorted(passed.map(({ content, key }) => `${content.id} ${content.key % 2 === 0 ? 'no row' : `row of ${key}`}`)),
      )
    case 'joinStream':
    case 'joinLeft':
    case 'joinOuter': {
      const pairs = passed
        .filter(({ topic }) => topic === 'in')
        .flatMap((left) =>
          passed
            .filter((right) => right.topic === 'right' && right.key === left.key && Math.abs(right.timestamp - left.timestamp) <= WITHIN_MS)
            .map((right) => `${left.content.id}+${right.content.id}`),
        )
      const side = (topic: string): Taken[] => passed.filter((one) => one.topic === topic && !one.key.endsWith('-last'))
      const alone = (records: readonly Taken[], at: number): string[] => {
        const paired = new Set(pairs.map((pair) => pair.split('+')[at]))
        return idsOf(records).filter((id) => !paired.has(id))
      }
      const left = scenario.core === 'joinStream' ? [] : alone(side('in'), 0).map((id) => `${id}+-`)
      const right = scenario.core === 'joinOuter' ? alone(side('right'), 1).map((id) => `-+${id}`) : []
      return differing('pairs', sorted(out.map(({ value }) => String(value))), sorted([...pairs, ...left, ...right]))
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

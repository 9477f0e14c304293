import fc from 'fast-check'
import { beforeAll, describe, expect, it } from 'vitest'
import { comesLate, compared, handedOutAtOnce, missing } from '../support/streams/compare.js'
import { runMillrace } from '../support/streams/millrace.js'
import { runStreams } from '../support/streams/oracle.js'
import {
  joinScenarios,
  tableScenarios,
  windowScenarios,
  type Input,
  type Scenario,
  type WindowScenario,
} from '../support/streams/scenarios.js'

/**
 * Windows and joins against the semantics of somebody else: Kafka Streams itself, by its TopologyTestDriver, is given the same records in
 * the same order. STREAMS_SEED gives other courses than those of every day.
 */

const seed = Number(process.env['STREAMS_SEED'] ?? 20_260_101)
const scenarios: readonly Scenario[] = [
  ...fc.sample(windowScenarios, { numRuns: 240, seed }),
  ...fc.sample(joinScenarios, { numRuns: 160, seed }),
  ...fc.sample(tableScenarios, { numRuns: 50, seed }),
]

const at = (topic: Input['topic'], key: string, value: string | null, time: number): Input => ({ topic, key, value, time })
const end = at('in', 'last', 'last', 10_000)
const alone = { maxRecords: 1, before: 10, after: 10, grace: 5, size: 10, advance: 10 }
const nothing = [at('in', 'a', '0', 1_000), at('in', 'a', null, 1_003), end]
/** The differences that docs/state.md names: were one to go, on either side, the docs would have to say so. */
const different: readonly (readonly [what: string, scenario: Scenario, ours: readonly string[], theirs: readonly string[]])[] = [
  ['null in an aggregate', { ...alone, kind: 'aggregate', records: nothing.slice(0, 2) }, ['a 0', 'a 0,null'], ['a 0']],
  [
    'null in a sliding window',
    { ...alone, kind: 'sliding', records: nothing },
    ['a 990-1000 0', 'a 993-1003 0,null', 'a 1001-1011 null'],
    ['a 990-1000 0'],
  ],
  [
    'null in a stream join',
    { ...alone, kind: 'outer', records: [at('left', 'a', null, 1_000), at('right', 'a', '1', 1_003), at('left', 'last', '', 10_000)] },
    ['a null+1'],
    ['a -+1'],
  ],
  ['null in a table join', { ...alone, kind: 'table-left', records: [at('rows', 'a', '0', 1), at('in', 'a', null, 2)] }, ['a null+0'], []],
  [
    'a hopping window before the epoch',
    { ...alone, kind: 'hopping', advance: 5, grace: 0, records: [at('in', 'a', '0', 3), end] },
    ['a -5-5 0', 'a 0-10 0'],
    ['a 0-10 0'],
  ],
  [
    'a sliding window before the epoch',
    { ...alone, kind: 'sliding', records: [at('in', 'a', '0', 3), at('in', 'a', '1', 7), end] },
    ['a -7-3 0', 'a -3-7 0,1', 'a 4-14 1'],
    ['a 0-10 0,1', 'a 4-14 1'],
  ],
  [
    'a closed session',
    {
      ...alone,
      kind: 'session',
      grace: 0,
      records: [at('in', 'a', '0', 1_000), at('in', 'b', '1', 1_011), at('in', 'a', '2', 1_004), end],
    },
    ['a 1000-1000 0', 'a 1004-1004 2', 'b 1011-1011 1'],
    ['a 1000-1000 0', 'a 1000-1004 0,2', 'b 1011-1011 1'],
  ],
  [
    'a sliding window that is closed when its record comes',
    {
      ...alone,
      kind: 'sliding',
      grace: 0,
      records: [at('in', 'b', '0', 1_005), at('in', 'a', '1', 1_000), at('in', 'a', '2', 1_008), end],
    },
    ['a 998-1008 1,2', 'a 1001-1011 2', 'b 995-1005 0'],
    ['a 998-1008 2', 'b 995-1005 0'],
  ],
  [
    'a record of a left join that is out of order',
    {
      ...alone,
      kind: 'left',
      before: 0,
      after: 0,
      records: [at('left', 'b', '0', 1_003), at('left', 'a', '1', 1_000), at('right', 'a', '2', 1_000), at('left', 'last', '', 10_000)],
    },
    ['a 1+2', 'b 0+-'],
    ['a 1+-', 'a 1+2', 'b 0+-'],
  ],
  [
    'a partner whose window is closed',
    {
      ...alone,
      kind: 'left',
      grace: 0,
      records: [at('left', 'a', '0', 1_000), at('left', 'b', '1', 1_015), at('right', 'a', '2', 1_006), at('left', 'last', '', 10_000)],
    },
    ['a 0+-', 'b 1+-'],
    ['a 0+-', 'a 0+2', 'b 1+-'],
  ],
]

let streams: ReadonlyMap<Scenario, readonly string[]>
beforeAll(async () => {
  const all = [...scenarios, ...different.map(([, scenario]) => scenario)]
  const results = await runStreams(all)
  streams = new Map(all.map((scenario, i) => [scenario, results[i] as readonly string[]]))
})
const theirs = (scenario: Scenario): readonly string[] => streams.get(scenario) as readonly string[]

const of = (kind: Scenario['kind']): readonly Scenario[] => scenarios.filter((scenario) => scenario.kind === kind)
const kinds: readonly Scenario['kind'][] = [
  'tumbling',
  'hopping',
  'sliding',
  'session',
  'inner',
  'left',
  'outer',
  'table-inner',
  'table-left',
]

/** In sight when they differ. */
function readable({ records, ...rest }: Scenario): unknown {
  return { ...rest, records: records.map(({ topic, key, value, time }) => `${topic} ${key} ${value} @${time}`) }
}

describe('as Kafka Streams has it', () => {
  for (const kind of kinds) {
    it(`${kind}: the results are the same`, async () => {
      let results = 0
      for (const scenario of of(kind)) {
        const both = compared(scenario, await runMillrace(scenario), theirs(scenario))
        expect({ scenario: readable(scenario), results: both.ours }).toEqual({ scenario: readable(scenario), results: both.theirs })
        results += both.theirs.length
      }
      expect(results).toBeGreaterThan(of(kind).length)
    })
  }

  it('sliding: a window that is open has each record that lies in it, also one whose own window is closed', async () => {
    let held = 0
    for (const scenario of of('sliding') as readonly WindowScenario[]) {
      const ours = await runMillrace(scenario)
      const late = new Map(comesLate(scenario).map(({ value, time }) => [value, time]))
      expect({ scenario: readable(scenario), missing: missing(scenario, ours, theirs(scenario)) }).toEqual({
        scenario: readable(scenario),
        missing: [],
      })
      held += theirs(scenario).filter((line) => (line.split(' ')[2] as string).split(',').some((id) => late.has(id))).length
    }
    expect(held).toBeGreaterThan(5)
  })

  it('what is left out because Streams is known to differ is there to be left out', () => {
    const early = scenarios
      .filter(({ kind }) => kind === 'left' || kind === 'outer')
      .filter((scenario) => {
        const alone = handedOutAtOnce(scenario as never)
        return theirs(scenario).some((line) => alone.has(line))
      })
    expect(early.length).toBeGreaterThan(0)
  })
})

describe('other than Kafka Streams', () => {
  for (const [what, scenario, ours, its] of different) {
    it(what, async () => {
      expect([...theirs(scenario)].sort()).toEqual([...its].sort())
      expect((await runMillrace(scenario)).sort()).toEqual([...ours].sort())
    })
  }
})

describe('the same, broken', () => {
  const wrong: readonly (readonly [
    what: string,
    kinds: readonly Scenario['kind'][],
    told: (scenario: never) => Partial<WindowScenario>,
  ])[] = [
    ['windows a millisecond too long', ['tumbling', 'hopping', 'sliding', 'session'], ({ size }: WindowScenario) => ({ size: size + 1 })],
    ['no grace', ['tumbling', 'hopping', 'sliding', 'session'], () => ({ grace: 0 })],
    ['a millisecond more grace', ['tumbling', 'hopping', 'sliding', 'session'], ({ grace }: WindowScenario) => ({ grace: grace + 1 })],
    [
      'partners a millisecond too far apart',
      ['inner', 'left', 'outer'],
      ({ before }: { before: number }) => ({ before: before + 1 }) as never,
    ],
    ['sides changed over', ['left'], () => ({ kind: 'inner' }) as never],
  ]
  for (const [what, kinds, told] of wrong) {
    for (const kind of kinds) {
      it(`${kind}, ${what}, is told`, async () => {
        for (const scenario of of(kind)) {
          const both = compared(scenario, await runMillrace({ ...scenario, ...told(scenario as never) } as Scenario), theirs(scenario))
          if (JSON.stringify(both.ours) !== JSON.stringify(both.theirs)) return
        }
        expect.unreachable('nobody noticed')
      })
    }
  }
})

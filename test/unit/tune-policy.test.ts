import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  NOTHING_SEEN,
  RULES,
  decide,
  nameOf,
  type Change,
  type Knob,
  type TuneRules,
  type TuneSample,
} from '../../src/runtime/tuning/policy.js'

/** What a pipeline does with the values it has, look after look. */
type Plant = (values: Readonly<Record<string, number>>, look: number) => Partial<TuneSample>

const QUIET: TuneSample = {
  recordsPerSecond: 100,
  keepsUp: true,
  calling: 0,
  waiting: 0.9,
  fullOfRecords: 0,
  fullOfBytes: 0,
  memory: 0.3,
  collecting: 0.02,
  calls: [],
  broken: false,
}
const KNOBS: readonly Knob[] = [
  { setting: 'prefetchBytes', step: undefined, value: 16, min: 4, max: 64 },
  { setting: 'maxBytes', step: undefined, value: 24, min: 6, max: 48 },
  { setting: 'maxRecords', step: undefined, value: 1_000, min: 1_000, max: 4_000 },
  { setting: 'concurrency', step: 'charge', value: 16, min: 4, max: 64 },
]

interface Course {
  readonly changes: readonly (Change & { readonly look: number })[]
  readonly values: Readonly<Record<string, number>>
  /** At each look. */
  readonly rates: readonly number[]
}

function course(plant: Plant, looks: number, rules: TuneRules = RULES, given: readonly Knob[] = KNOBS): Course {
  let state = NOTHING_SEEN
  const values = Object.fromEntries(given.map((knob) => [nameOf(knob), knob.value]))
  const changes: (Change & { look: number })[] = []
  const rates: number[] = []
  for (let look = 0; look < looks; look++) {
    const sample = { ...QUIET, ...plant(values, look) }
    rates.push(sample.recordsPerSecond)
    const knobs = given.map((knob) => ({ ...knob, value: values[nameOf(knob)] as number }))
    const decided = decide(state, sample, knobs, rules)
    state = decided.state
    if (decided.change === undefined) continue
    values[nameOf(decided.change)] = decided.change.to
    changes.push({ ...decided.change, look })
  }
  return { changes, values, rates }
}

const told = ({ changes }: Course): string[] => changes.map((change) => `${nameOf(change)} ${change.from} to ${change.to}: ${change.why}`)

/** A service that takes so many calls a second, each of which takes so long until that is reached, and then its turn. */
const service =
  (baseMs: number, capacity: number, arrivals: number): Plant =>
  (values) => {
    const atOnce = values['concurrency of charge'] as number
    const possible = Math.min((atOnce * 1_000) / baseMs, capacity)
    const meanMs = Math.max(baseMs, (atOnce * 1_000) / capacity)
    const keepsUp = possible >= arrivals
    const recordsPerSecond = Math.min(possible, arrivals)
    return {
      keepsUp,
      recordsPerSecond,
      calling: keepsUp ? 0.2 : 0.9,
      waiting: 0,
      calls: [{ step: 'charge', meanMs, allMs: meanMs * recordsPerSecond }],
    }
  }

const LOOKS = 200
const LAST = 100

/** What is asked of the policy over a service, whatever that is. */
function check(baseMs: number, capacity: number, arrivals: number, rules: TuneRules = RULES, given: readonly Knob[] = KNOBS): void {
  const { changes, rates } = course(service(baseMs, capacity, arrivals), LOOKS, rules, given)
  for (const { to } of changes) if (to < 4 || to > 64) throw new Error(`it left its bounds: ${to}`)
  const late = changes.filter(({ look }) => look >= LOOKS - LAST)
  // A trial that does no good is two changes, and is not made again for long.
  if (late.length > 2 * Math.ceil(LAST / RULES.patience)) throw new Error(`it flaps: ${late.length} changes in ${LAST} looks`)
  const best = Math.min(arrivals, capacity, 64_000 / baseMs)
  const mean = rates.slice(-LAST).reduce((sum, rate) => sum + rate, 0) / LAST
  if (mean < 0.8 * best) throw new Error(`it is slow: ${mean} of ${best} records a second`)
}

describe('what autoTune decides', () => {
  it('raises the calls at once while records wait and the rate rises, and takes back what did no good', () => {
    const seen = course(service(1_000, 33, 1_000), 20)
    expect(told(seen)).toEqual([
      'concurrency of charge 16 to 32: calls',
      'concurrency of charge 32 to 64: calls',
      'concurrency of charge 64 to 32: no gain',
    ])
  })

  it('leaves all as it is where it keeps up, and where no reason lasts', () => {
    expect(course(() => ({}), 300).changes).toEqual([])
    expect(course(service(10, 1_000_000, 100), 300).changes).toEqual([])
    const now = { keepsUp: false, calling: 0.9, calls: [{ step: 'charge', meanMs: 10, allMs: 100 }] }
    expect(course((_, look) => (look % 2 === 0 ? now : {}), 300).changes).toEqual([])
  })

  it('halves what is read ahead, then what a transaction holds, while memory is short; down to the bounds, and gives none of it back at once', () => {
    const short = course((_, look) => (look < 20 ? { memory: 0.85, keepsUp: false } : { keepsUp: false, waiting: 0.9 }), 30)
    expect(told(short)).toEqual([
      'prefetchBytes 16 to 8: memory',
      'prefetchBytes 8 to 4: memory',
      'maxBytes 24 to 12: memory',
      'maxBytes 12 to 6: memory',
    ])
    expect(course(() => ({ collecting: 0.4 }), 1).changes).toMatchObject([{ setting: 'prefetchBytes', to: 8 }])
  })

  it('raises the limits of transactions that are full, and what is read ahead where fetching is waited for, unless memory is scarce', () => {
    const full: Plant = (values) => ({ keepsUp: false, waiting: 0, fullOfRecords: 1, recordsPerSecond: values['maxRecords'] as number })
    expect(told(course(full, 40))).toEqual(['maxRecords 1000 to 2000: records', 'maxRecords 2000 to 4000: records'])
    const bytes: Plant = (values) => ({ keepsUp: false, waiting: 0, fullOfBytes: 1, recordsPerSecond: values['maxBytes'] as number })
    expect(told(course(bytes, 40))).toEqual(['maxBytes 24 to 48: bytes'])
    const fetch: Plant = (values) => ({ keepsUp: false, waiting: 0.9, recordsPerSecond: Math.min(20, values['prefetchBytes'] as number) })
    expect(told(course(fetch, 30))).toEqual([
      'prefetchBytes 16 to 32: fetch',
      'prefetchBytes 32 to 64: fetch',
      'prefetchBytes 64 to 32: no gain',
    ])
    expect(course((values, look) => ({ ...fetch(values, look), memory: 0.7 }), 30).changes).toEqual([])
  })

  it('makes fewer calls at once where each takes twice as long as before, and keeps that if they are quicker and as many', () => {
    const crowded: Plant = (values, look) => {
      const atOnce = values['concurrency of charge'] as number
      // From look 5 on, more than 8 at once are in one another's way.
      const meanMs = look >= 5 && atOnce > 8 ? 100 : 20
      return { calls: [{ step: 'charge', meanMs, allMs: meanMs }] }
    }
    expect(told(course(crowded, 60))).toEqual(['concurrency of charge 16 to 8: slower'])
    // The service alone is slower now.
    const slow: Plant = (_, look) => ({ calls: [{ step: 'charge', meanMs: look >= 5 ? 100 : 20, allMs: 1 }] })
    const changes = told(course(slow, 30))
    expect(changes).toEqual(['concurrency of charge 16 to 8: slower', 'concurrency of charge 8 to 16: no gain'])
  })

  it('does nothing to the calls behind a breaker that is open', () => {
    const now = { keepsUp: false, calling: 0.9, waiting: 0, broken: true, calls: [{ step: 'charge', meanMs: 10, allMs: 100 }] }
    expect(course(() => now, 50).changes).toEqual([])
  })

  const plants = [fc.integer({ min: 1, max: 5_000 }), fc.integer({ min: 1, max: 2_000 }), fc.integer({ min: 1, max: 3_000 })] as const

  it('stays in its bounds, does not flap and is fast, whatever the service', () => {
    fc.assert(
      fc.property(...plants, (baseMs, capacity, arrivals) => check(baseMs, capacity, arrivals)),
      { numRuns: 300 },
    )
  })

  it('broken on purpose: without patience it flaps, with other bounds it leaves them, and deaf it is slow; the check sees each', () => {
    expect(() => check(1_000, 20, 1_000, { ...RULES, patience: 0 })).toThrow('flaps')
    expect(() =>
      check(
        1_000,
        1_000,
        1_000,
        RULES,
        KNOBS.map((knob) => ({ ...knob, max: 1_000 })),
      ),
    ).toThrow('left its bounds')
    expect(() => check(1_000, 1_000, 1_000, { ...RULES, looks: Number.POSITIVE_INFINITY })).toThrow('is slow')
  })
})

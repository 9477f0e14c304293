import fc from 'fast-check'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { EmbeddedProducer } from '../../src/embedded/producer.js'
import { Committer } from '../../src/runtime/committer.js'
import { EntryStore } from '../../src/state/entry-store.js'
import { simulate } from '../simulation/run.js'
import { CORES, scenarios, type Core, type Scenario } from '../simulation/scenario.js'
import { Trace } from '../simulation/trace.js'

function scenarioOf(seed: number, cores: readonly Core[] = CORES): Scenario {
  return (fc.sample(scenarios(cores), { seed, numRuns: 1 }) as [Scenario])[0]
}

/** What goes wrong in so many scenarios made from seeds. `npm run simulate` runs as many as one likes, elsewhere than here. */
async function problemsOf(first: number, runs: number, cores: readonly Core[] = CORES): Promise<string[]> {
  const found: string[] = []
  for (let seed = first; seed < first + runs; seed++) {
    for (const problem of await simulate(scenarioOf(seed, cores))) found.push(`seed ${seed}: ${problem}`)
  }
  return found
}

describe('whole pipelines, made from a seed', () => {
  afterEach(() => vi.restoreAllMocks())

  it('every record comes to what it is to become, once, through faults, crashes and rebalances', async () => {
    expect(await problemsOf(10_000, 200)).toEqual([])
  }, 300_000)

  it('a seed replays exactly, however fast the machine is', async () => {
    const digestOf = async (seed: number): Promise<string> => {
      const trace = new Trace()
      await simulate(scenarioOf(seed), { trace })
      return trace.digest
    }
    for (let seed = 20_000; seed < 20_010; seed++) {
      const first = await digestOf(seed)
      const now = performance.now.bind(performance)
      let lost = 0
      vi.spyOn(performance, 'now').mockImplementation(() => now() + (lost += 3))
      expect(await digestOf(seed), `seed ${seed}`).toBe(first)
      vi.restoreAllMocks()
    }
  }, 120_000)

  it('would notice state that is not rolled back', async () => {
    vi.spyOn(EntryStore.prototype, 'rollback').mockImplementation(() => {})
    expect(await problemsOf(1, 25, ['count', 'store'])).not.toEqual([])
  }, 120_000)

  it('would notice a commit without an answer that is taken for a failed one', async () => {
    vi.spyOn(Committer.prototype as unknown as { outcomeOf: () => Promise<string> }, 'outcomeOf').mockResolvedValue('aborted')
    expect(await problemsOf(1, 25, ['copy', 'repartition'])).not.toEqual([])
  }, 120_000)

  it('would notice a member that commits after its generation is over', async () => {
    const { commit } = EmbeddedProducer.prototype
    vi.spyOn(EmbeddedProducer.prototype, 'commit').mockImplementation(function (this: EmbeddedProducer, offsets) {
      return commit.call(this, offsets, undefined)
    })
    expect(await problemsOf(1, 40, ['copy', 'delay'])).not.toEqual([])
  }, 120_000)
})

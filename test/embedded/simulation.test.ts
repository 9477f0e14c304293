import fc from 'fast-check'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { EmbeddedProducer } from '../../src/embedded/producer.js'
import type { Groups } from '../../src/embedded/groups.js'
import { ClaimSession } from '../../src/operators/dedupe/claim-session.js'
import { Committer } from '../../src/runtime/committer.js'
import { overlap } from '../../src/runtime/plan.js'
import { Task } from '../../src/runtime/task.js'
import { TaskState } from '../../src/runtime/task-state.js'
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

/** Whether something goes wrong in one of so many. */
async function isNoticed(first: number, runs: number, cores: readonly Core[]): Promise<boolean> {
  for (let seed = first; seed < first + runs; seed++) if ((await problemsOf(seed, 1, cores)).length > 0) return true
  return false
}

describe('whole pipelines, made from a seed', () => {
  afterEach(() => {
    vi.restoreAllMocks()
    overlap.withState = false
  })

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
    expect(await isNoticed(1, 25, ['count', 'store'])).toBe(true)
  }, 120_000)

  it('the same where the next transaction of a pipeline with state is made while the one before commits', async () => {
    overlap.withState = true
    const stateful: readonly Core[] = ['count', 'store', 'window', 'session', 'joinLeft', 'joinTable', 'repartition']
    expect(await problemsOf(410_000, 60, stateful)).toEqual([])
  }, 120_000)

  it('would notice changes of the next transaction that are taken for those of the one that commits', async () => {
    vi.spyOn(TaskState.prototype, 'seal').mockImplementation(function (this: TaskState) {
      Object.assign(this, { flushed: false })
    })
    overlap.withState = true
    expect(await isNoticed(1, 60, ['count', 'store', 'window'])).toBe(true)
  }, 120_000)

  it('would notice records that do not come again after an abort', async () => {
    const { rollback } = Task.prototype
    vi.spyOn(Task.prototype, 'rollback').mockImplementation(function (this: Task) {
      const { replay } = this as unknown as { readonly replay: unknown[] }
      rollback.call(this)
      Object.assign(this, { replay })
    })
    expect(await isNoticed(1, 10, ['copy', 'route'])).toBe(true)
  }, 120_000)

  it('would notice claims that count before their transaction has committed', async () => {
    vi.spyOn(ClaimSession.prototype as unknown as { judge: () => string }, 'judge').mockReturnValue('duplicate')
    expect(await isNoticed(1, 40, ['copy'])).toBe(true)
  }, 120_000)

  it('would notice records that count as read before what is made of them is written', async () => {
    const { commit } = EmbeddedProducer.prototype
    vi.spyOn(EmbeddedProducer.prototype, 'commit').mockImplementation(async function (this: EmbeddedProducer, offsets, member) {
      if (member !== undefined) (this as unknown as { groups: Groups }).groups.offsets(member.group).store(offsets)
      await commit.call(this, offsets, member)
    })
    expect(await isNoticed(1, 40, ['copy', 'route'])).toBe(true)
  }, 120_000)

  it('would notice a commit without an answer that is taken for a failed one', async () => {
    vi.spyOn(Committer.prototype as unknown as { outcomeOf: () => Promise<string> }, 'outcomeOf').mockResolvedValue('aborted')
    expect(await isNoticed(1, 25, ['copy', 'repartition'])).toBe(true)
  }, 120_000)

  it('would notice a member that commits after its generation is over', async () => {
    const { commit } = EmbeddedProducer.prototype
    vi.spyOn(EmbeddedProducer.prototype, 'commit').mockImplementation(function (this: EmbeddedProducer, offsets) {
      return commit.call(this, offsets, undefined)
    })
    expect(await isNoticed(1, 40, ['copy', 'delay'])).toBe(true)
  }, 120_000)
})

/** Runs seeds one after the other and tells of each; a process of its own, so that one that never ends can be ended from outside. */
import fc from 'fast-check'
import { simulate } from './run.js'
import { scenarios, type Core, type Scenario } from './scenario.js'

export interface Order {
  readonly from: number
  readonly to: number
  readonly cores: readonly Core[]
  readonly shrink: boolean
}

export interface Told {
  readonly seed: number
  readonly scenario: Scenario
  /** Empty where nothing was wrong. */
  readonly problems: readonly string[]
}

process.on('message', (order: Order) => {
  void obey(order).then(() => process.disconnect())
})

async function obey({ from, to, cores, shrink }: Order): Promise<void> {
  for (let seed = from; seed < to; seed++) {
    const [drawn] = fc.sample(scenarios(cores), { seed, numRuns: 1 }) as [Scenario]
    process.send?.({ seed, scenario: drawn })
    let told: Told = { seed, scenario: drawn, problems: await simulate(drawn) }
    if (shrink && told.problems.length > 0) told = await shrunk(told, cores)
    process.send?.(told)
  }
}

/** The simplest scenario found that fails as this one does. */
async function shrunk(told: Told, cores: readonly Core[]): Promise<Told> {
  let simplest = told
  const property = fc.asyncProperty(scenarios(cores), async (scenario) => {
    const problems = await simulate(scenario)
    if (problems.length === 0) return
    simplest = { ...told, scenario, problems }
    throw new Error('fails')
  })
  await fc.check(property, { seed: told.seed, numRuns: 1, interruptAfterTimeLimit: 120_000 })
  return simplest
}

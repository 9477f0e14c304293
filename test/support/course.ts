import fc from 'fast-check'
import type { Fault, RunningPipeline, TestKit } from '../../src/testing/index.js'

/** What may happen to the members of a group and their broker, in random order. */
export type CourseStep =
  | { readonly do: 'start' | 'crash' | 'stop'; readonly which: number }
  | { readonly do: 'rebalance' | 'expire' }
  | { readonly do: 'fault'; readonly fault: Fault }
  | { readonly do: 'advance'; readonly ms: number }

/** One member of a group, and what dies with it. */
export type Member = Pick<RunningPipeline, 'ended' | 'stop' | 'crash'>

const MOST_MEMBERS = 3

const after = fc.nat(3)
const delayMs = fc.integer({ min: 10, max: 3_000 })
/** Of what a pipeline writes, to 'out': the records fed to it come whole. */
const fault = fc.oneof(
  fc.record({ at: fc.constant('produce'), of: fc.constant('out'), reaction: fc.constantFrom('abort', 'reinit', 'retry'), after }),
  fc.record({ at: fc.constant('offsets'), reaction: fc.constantFrom('abort', 'reinit', 'lost'), after }),
  fc.record({ at: fc.constant('end'), reaction: fc.constant('indeterminate'), tookEffect: fc.boolean(), after }),
  fc.record({
    at: fc.constant('committedOffsets'),
    reaction: fc.constant('retry'),
    after,
    times: fc.integer({ min: 1, max: 3 }),
  }),
  fc.record({ at: fc.constant('produce'), of: fc.constant('out'), delayMs, after }),
  fc.record({ at: fc.constantFrom('end', 'offsets'), delayMs, after }),
) as fc.Arbitrary<Fault>

/** Steps for `fc.oneof`; `members` is how much weight their coming and going has. */
export const courseSteps = (members: number) =>
  [
    { weight: 5, arbitrary: fc.record({ do: fc.constant('advance' as const), ms: fc.constantFrom(1, 10, 60, 400, 3_000) }) },
    {
      weight: members,
      arbitrary: fc.record({ do: fc.constantFrom('start' as const, 'crash' as const, 'stop' as const), which: fc.nat(2) }),
    },
    { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('rebalance' as const, 'expire' as const) }) },
    { weight: 4, arbitrary: fc.record({ do: fc.constant('fault' as const), fault }) },
  ] as const

/** Lets a step happen. `members` are those of `group` that were neither stopped nor crashed; `start` makes another. */
export async function takeStep(kit: TestKit, step: CourseStep, group: string, members: Member[], start: () => Member): Promise<void> {
  switch (step.do) {
    case 'start':
      if (members.filter(({ ended }) => !ended).length < MOST_MEMBERS) members.push(start())
      break
    case 'crash':
    case 'stop': {
      const [victim] = members.splice(step.which % Math.max(1, members.length), 1)
      await victim?.[step.do]()
      break
    }
    case 'rebalance':
      kit.broker.rebalance(group)
      break
    case 'expire':
      kit.broker.expire(group)
      break
    case 'fault':
      kit.broker.faults.inject(step.fault)
      break
    case 'advance':
      await kit.advance(step.ms)
  }
}

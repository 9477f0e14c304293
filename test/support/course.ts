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

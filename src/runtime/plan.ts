import type { LogClient, TopicInfo } from '../log/port.js'
import { MillraceError, errorMessage } from '../record/error.js'
import { runInSlice, type Meter, type SliceContext } from './context.js'
import { TopicOutput } from './outputs.js'
import type { Project } from './slice.js'
import { SliceStream } from './slice-stream.js'

/** What a pipeline reads, writes and is made of, as its dry subscription told. */
export interface Plan {
  readonly inputs: readonly string[]
  readonly outputs: readonly { readonly topic: string; readonly writtenBy: readonly string[] }[]
}

export interface Declarations {
  /** Topics written by branches that planning does not take. */
  readonly topics: readonly string[]
}

class PlanContext implements SliceContext {
  readonly mode = 'plan'
  closed = false
  readonly found = new Map<string, Set<string>>()

  outputs(operator: string, topics: readonly string[]): ReadonlyMap<string, TopicOutput> {
    return new Map(
      topics.map((topic) => {
        const by = this.found.get(topic) ?? new Set<string>()
        this.found.set(topic, by.add(operator))
        return [topic, new TopicOutput(topic, 1, undefined, false)] as const
      }),
    )
  }

  meter(): Meter {
    return { count: 0 }
  }

  progress(): void {}
}

/**
 * Subscribes the project function once over an empty slice and notes what its operators use. Values that appear
 * (startWith, defaultIfEmpty, reduce) reach no topic.
 *
 * @throws MillraceError PLAN_FAILED, or what the operators refuse
 */
export function planOf(project: Project, inputs: readonly string[], declared: Declarations): Plan {
  const context = new PlanContext()
  for (const topic of declared.topics) context.outputs('declare', [topic])
  const slice = new SliceStream(inputs, -1)
  let failure: { readonly error: unknown } | undefined
  runInSlice(context, () => {
    try {
      const subscription = project(slice).subscribe({ error: (error: unknown) => (failure = { error }) })
      slice.complete()
      // What is still to come waits on timers or promises; planning looks at what is subscribed, not at what comes.
      subscription.unsubscribe()
    } catch (error) {
      failure = { error }
    }
  })
  context.closed = true
  if (failure !== undefined) {
    if (failure.error instanceof MillraceError) throw failure.error
    throw new MillraceError(
      'PLAN_FAILED',
      `the project function failed on an empty slice, with which it is tried before anything is read: ${errorMessage(failure.error)}. Operators that need a value (first, last, single) need a default`,
      { cause: failure.error },
    )
  }
  return {
    inputs,
    outputs: [...context.found].map(([topic, by]) => ({ topic, writtenBy: [...by] })),
  }
}

/** How missing output topics are made. */
export interface Provision {
  readonly partitions?: number | undefined
  readonly replicationFactor?: number | undefined
  readonly config?: Readonly<Record<string, string>> | undefined
}

export interface CheckedPlan extends Plan {
  /** Number of tasks: the partition count that all inputs share. */
  readonly tasks: number
  readonly outputInfos: readonly TopicInfo[]
}

/**
 * Checks a plan against the log, and creates missing output topics if asked to.
 *
 * @throws MillraceError MISSING_TOPIC, PARTITION_MISMATCH, and what the log refuses
 */
export async function checkPlan(plan: Plan, log: LogClient, provision: Provision | undefined): Promise<CheckedPlan> {
  const outputs = plan.outputs.map((output) => output.topic)
  let infos = await log.topics([...new Set([...plan.inputs, ...outputs])])
  const missingInputs = plan.inputs.filter((topic) => !infos.has(topic))
  if (missingInputs.length > 0) {
    throw new MillraceError('MISSING_TOPIC', `input ${list(missingInputs)} does not exist. Create it first (cluster.createTopics), or check the name and the rights to see it`)
  }
  const tasks = taskCount(plan.inputs, infos)
  const missing = outputs.filter((topic) => !infos.has(topic))
  if (missing.length > 0) {
    if (provision === undefined) {
      throw new MillraceError('MISSING_TOPIC', `output ${list(missing)} does not exist. Create it first (cluster.createTopics), or let withTransaction do it: provision: true`)
    }
    const { partitions = tasks, replicationFactor, config } = provision
    await log.createTopics(
      missing.map((topic) => ({ topic, partitions, ...(replicationFactor === undefined ? {} : { replicationFactor }), ...(config === undefined ? {} : { config }) })),
    )
    infos = await log.topics([...new Set([...plan.inputs, ...outputs])])
  }
  return { ...plan, tasks, outputInfos: outputs.map((topic) => infos.get(topic)).filter((info) => info !== undefined) }
}

/** All inputs must have as many partitions: task p is partition p of each. */
export function taskCount(inputs: readonly string[], infos: ReadonlyMap<string, TopicInfo>): number {
  const counts = inputs.map((topic) => infos.get(topic)?.partitions ?? 0)
  if (new Set(counts).size > 1) {
    throw new MillraceError(
      'PARTITION_MISMATCH',
      `the topics of one source must have the same number of partitions, since partition p of all of them is one task: ${inputs.map((topic, i) => `${topic} has ${counts[i]}`).join(', ')}. Use a source for each, or give them the same count`,
    )
  }
  return counts[0] ?? 0
}

function list(topics: readonly string[]): string {
  return topics.length === 1 ? `topic '${topics[0]}'` : `topics ${topics.map((topic) => `'${topic}'`).join(', ')}`
}

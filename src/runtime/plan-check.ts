import { logError } from '../log/error.js'
import type { LogAdmin, OwnTopic, TopicInfo } from '../log/port.js'
import { MillraceError } from '../record/error.js'
import type { Plan } from './plan.js'

/** How missing output topics are made. */
export interface Provision {
  readonly partitions?: number | undefined
  readonly replicationFactor?: number | undefined
  readonly config?: Readonly<Record<string, string>> | undefined
}

/** The topics of a plan. */
export type PlanTopics = Pick<Plan, 'inputs' | 'outputs' | 'inlets' | 'stores'>

/** What the log says of them. */
export interface CheckedTopics {
  /** Number of tasks: the partition count that all inputs share. */
  readonly tasks: number
  /** Of outputs and inlets. */
  readonly outputInfos: readonly TopicInfo[]
  readonly changelogInfos: readonly TopicInfo[]
}

export type CheckedPlan = Plan & CheckedTopics

/** Changelogs live as long as their last value of each key. */
const CHANGELOG_CONFIG = { 'cleanup.policy': 'compact' } as const

/**
 * Records carry times of their own, and of any age: what an input takes its outputs, repartitions and dead letters take too, whatever the
 * broker's own limits are.
 */
const OWN_TIMES = { 'message.timestamp.type': 'CreateTime' } as const
const NO_LIMIT = '9223372036854775807'
const ANY_TIME = { 'message.timestamp.before.max.ms': NO_LIMIT, 'message.timestamp.after.max.ms': NO_LIMIT } as const

/**
 * Checks a plan against the log, and creates missing topics of its own if asked to.
 *
 * @throws MillraceError MISSING_TOPIC, PARTITION_MISMATCH, STATE_MISMATCH, and what the log refuses
 */
export async function checkPlan<P extends PlanTopics>(
  plan: P,
  log: LogAdmin,
  provision: Provision | undefined,
): Promise<P & CheckedTopics & { readonly newChangelogs: readonly string[]; readonly newInlets: readonly string[] }> {
  const { inputs, outputs, inlets, changelogs, all } = namesOf(plan)
  let infos = await log.topics(all)
  const missingInputs = inputs.filter((topic) => !infos.has(topic))
  if (missingInputs.length > 0) {
    throw new MillraceError(
      'MISSING_TOPIC',
      `input ${list(missingInputs)} does not exist. Create it first (cluster.createTopics), or check the name and the rights to see it`,
    )
  }
  const tasks = taskCount(plan.inputs, infos)
  checkViews(plan, infos, tasks)
  const missing = all.filter((topic) => !infos.has(topic))
  if (missing.length > 0) {
    if (provision === undefined) {
      const kind = changelogs.includes(missing[0] as string) ? 'changelog' : inlets.includes(missing[0] as string) ? 'internal' : 'output'
      throw new MillraceError(
        'MISSING_TOPIC',
        `${kind} ${list(missing)} does not exist. Create it first (cluster.createTopics${kind === 'output' ? '' : ` with ${tasks} partitions${kind === 'changelog' ? ' and cleanup.policy=compact' : ''}`}), or let withTransaction do it: provision: true`,
      )
    }
    await createMissing(
      log,
      missing.map((topic) => newTopic(topic, provision)),
    )
    infos = await log.topics(all)
    const left = missing.filter((topic) => !infos.has(topic))
    if (left.length > 0) throw logError('MISSING_TOPIC', 'retry', `${list(left)} was created and is not to be seen yet`)
  }
  checkOwn(plan, infos, tasks)
  const made = (topics: readonly string[]): string[] => topics.filter((topic) => missing.includes(topic))
  return { ...plan, tasks, newChangelogs: made(changelogs), newInlets: made(inlets), ...found(outputs, changelogs, infos) }

  function newTopic(topic: string, { partitions = tasks, replicationFactor, config = {} }: Provision): OwnTopic {
    const inlet = plan.inlets.find((one) => one.topic === topic)
    const replicas = replicationFactor === undefined ? {} : { replicationFactor }
    const make = (count: number, own: Readonly<Record<string, string>>): OwnTopic => ({
      topic,
      partitions: count,
      ...replicas,
      config: { ...OWN_TIMES, ...own },
      // What was asked for is not overruled.
      ifKnown: Object.fromEntries(Object.entries(ANY_TIME).filter(([name]) => !(name in own))),
    })
    if (changelogs.includes(topic)) return make(tasks, CHANGELOG_CONFIG)
    return inlet === undefined ? make(partitions, config) : make(tasks, { ...inlet.config, ...roomConfig(inlet.roomBytes) })
  }

  /** What fits into an input fits with so much more. */
  function roomConfig(roomBytes: number | undefined): Record<string, string> {
    const largest = Math.max(0, ...plan.inputs.map((topic) => infos.get(topic)?.maxMessageBytes ?? 0))
    return roomBytes === undefined || largest === 0 ? {} : { 'max.message.bytes': String(largest + roomBytes) }
  }
}

/**
 * Checks the topics of a plan again while it runs: partitions may have been added.
 *
 * @throws MillraceError PARTITION_MISMATCH where state or a topic of the pipeline's own does not go with the inputs any more;
 * STATE_MISMATCH; 'retry' MISSING_TOPIC and PARTITION_MISMATCH where inputs are not to be seen, or do not go with each other, which may
 * pass
 */
export async function checkAgain(plan: PlanTopics, log: LogAdmin): Promise<CheckedTopics> {
  const { inputs, outputs, changelogs, all } = namesOf(plan)
  const infos = await log.topics(all)
  const missing = inputs.filter((topic) => !infos.has(topic))
  if (missing.length > 0)
    throw logError('MISSING_TOPIC', 'retry', `input ${list(missing)} was deleted while it was read, or may not be seen any more`)
  let tasks: number
  try {
    tasks = taskCount(plan.inputs, infos)
  } catch (error) {
    throw logError('PARTITION_MISMATCH', 'retry', (error as MillraceError).message)
  }
  checkViews(plan, infos, tasks)
  checkOwn(plan, infos, tasks)
  return { tasks, ...found(outputs, changelogs, infos) }
}

function namesOf(plan: PlanTopics): Record<'inputs' | 'outputs' | 'inlets' | 'changelogs' | 'all', readonly string[]> {
  const views = plan.stores.filter(({ spec }) => spec.source !== undefined).map(({ topic }) => topic)
  const changelogs = plan.stores.filter(({ spec }) => spec.source === undefined).map(({ topic }) => topic)
  const inlets = plan.inlets.map(({ topic }) => topic)
  const outputs = [...new Set([...plan.outputs.map(({ topic }) => topic), ...inlets])]
  const inputs = [...plan.inputs, ...views]
  return { inputs, outputs, inlets, changelogs, all: [...new Set([...inputs, ...outputs, ...changelogs])] }
}

/** Members that start together all find the same topics missing: what another one has just made is as good as ours. */
async function createMissing(log: LogAdmin, topics: readonly OwnTopic[]): Promise<void> {
  try {
    await log.createTopics(topics)
  } catch (error) {
    if (!(error instanceof MillraceError) || error.code !== 'TOPIC_EXISTS') throw error
  }
}

function found(
  outputs: readonly string[],
  changelogs: readonly string[],
  infos: ReadonlyMap<string, TopicInfo>,
): Pick<CheckedTopics, 'outputInfos' | 'changelogInfos'> {
  const of = (topics: readonly string[]): TopicInfo[] => topics.map((topic) => infos.get(topic)).filter((info) => info !== undefined)
  return { outputInfos: of(outputs), changelogInfos: of(changelogs) }
}

function checkViews(plan: PlanTopics, infos: ReadonlyMap<string, TopicInfo>, tasks: number): void {
  for (const { spec, topic } of plan.stores) if (spec.source !== undefined) checkView(spec.name, infos.get(topic), tasks, plan.inputs)
}

function checkOwn({ stores, inlets }: PlanTopics, infos: ReadonlyMap<string, TopicInfo>, tasks: number): void {
  for (const { spec, topic } of stores) if (spec.source === undefined) checkOwnTopic(infos.get(topic), tasks, true)
  for (const { topic } of inlets) checkOwnTopic(infos.get(topic), tasks, false)
}

/** A topic of the pipeline's own has a partition a task, and a changelog keeps what it is told. */
function checkOwnTopic(info: TopicInfo | undefined, tasks: number, changelog: boolean): void {
  if (info === undefined) return
  const { topic, partitions, cleanupPolicy } = info
  if (partitions !== tasks) {
    throw new MillraceError(
      'PARTITION_MISMATCH',
      `topic '${topic}' has ${partitions} partitions and the inputs have ${tasks}; it must have as many, since partition p of it belongs to task p. ` +
        (changelog
          ? 'Partitions were added to the inputs: keys are now elsewhere than their state. Move the data to new topics, or start with another name'
          : 'Create it anew with as many'),
    )
  }
  if (changelog && cleanupPolicy !== undefined && cleanupPolicy !== 'compact') {
    throw new MillraceError(
      'STATE_MISMATCH',
      `changelog '${topic}' has cleanup.policy=${cleanupPolicy}: old state would be deleted from it. Set cleanup.policy=compact`,
    )
  }
}

/** Partition p of a table belongs to task p. */
function checkView(name: string, info: TopicInfo | undefined, tasks: number, inputs: readonly string[]): void {
  if (info === undefined || info.partitions === tasks) return
  throw new MillraceError(
    'PARTITION_MISMATCH',
    `table '${name}' cannot be joined: its topic '${info.topic}' has ${info.partitions} partitions and ${list(inputs)} ${inputs.length === 1 ? 'has' : 'have'} ${tasks}, so records and rows of one key would be in partitions of different numbers. ` +
      `Give the table a topic with ${tasks} partitions, written with the same partitioner, or put the inputs into topics with ${info.partitions}`,
  )
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

import { hasEnded, type PipelineStatus, type PartitionStatus, type EventStatus } from '../src/runtime/status/status.js'
import type { PageState } from '../src/serve/page/state.js'

/** One pipeline of one process. */
export interface Member {
  /** How the page names it. */
  readonly name: string
  /** Undefined: of the process the page comes from. */
  readonly address: string | undefined
  /** Which of the pipelines of that process. */
  readonly index: number
  readonly status: PipelineStatus
}

export interface PartitionRow extends Pick<PartitionStatus, 'topic' | 'partition'> {
  readonly owner: string
  readonly member: Member | undefined
  readonly state: string
  readonly place: PartitionStatus | undefined
}

/** All members of one group that are told of, taken together. */
export interface Group {
  readonly name: string
  readonly members: readonly Member[]
  /** The one whose plan is shown. */
  readonly first: PipelineStatus
  readonly partitions: readonly PartitionRow[]
  readonly lag: number
  readonly lagMs: number | undefined
  readonly records: number
  readonly outputs: number
  readonly commits: number
  readonly written: ReadonlyMap<string, number>
  readonly events: readonly (EventStatus & { readonly member: string })[]
  /** Members of other processes that do not answer, and why. */
  readonly unreachable: readonly { readonly address: string; readonly error: string }[]
}

export function groupsOf({ here, others }: PageState): readonly Group[] {
  const all: Member[] = []
  const add = (address: string | undefined, pipelines: readonly PipelineStatus[]): void =>
    pipelines.forEach((status, index) => {
      const before = all.filter((one) => one.status.group === status.group && one.address === address).length
      const { instanceId, address: own } = status.member
      const name = instanceId ?? address ?? own ?? (address === undefined ? 'this process' : address)
      all.push({ name: before > 0 && instanceId === undefined ? `${name} (${before + 1})` : name, address, index, status })
    })
  add(undefined, here.pipelines)
  for (const { address, status } of others) if (status !== undefined) add(address, status.pipelines)
  const unreachable = others.flatMap(({ address, error }) => (error === undefined ? [] : [{ address, error }]))
  return [...new Set(here.pipelines.map(({ group }) => group))].map((name) =>
    groupOf(
      name,
      all.filter(({ status }) => status.group === name),
      unreachable,
    ),
  )
}

function groupOf(name: string, members: readonly Member[], unreachable: Group['unreachable']): Group {
  const running = members.filter(({ status }) => !hasEnded(status))
  const [first] = (running.length > 0 ? running : members) as readonly [Member]
  const sum = (of: (status: PipelineStatus) => number): number => members.reduce((total, { status }) => total + of(status), 0)
  const written = new Map<string, number>()
  for (const { status } of members)
    for (const [topic, count] of Object.entries(status.written)) written.set(topic, (written.get(topic) ?? 0) + count)
  const ages = members.flatMap(({ status }) => status.lag.ms ?? [])
  return {
    name,
    members,
    first: first.status,
    partitions: rowsOf(members, first.status),
    lag: sum(({ lag }) => lag.records),
    lagMs: ages.length === 0 ? undefined : Math.max(...ages),
    records: sum(({ rates }) => rates.records),
    outputs: sum(({ rates }) => rates.outputs),
    commits: sum(({ rates }) => rates.commits),
    written,
    events: members
      .flatMap((member) => member.status.events.map((event) => ({ ...event, member: member.name })))
      .sort((a, b) => b.at - a.at),
    unreachable,
  }
}

/** The part of a step in the time that all steps took, where they are timed (`sampleSteps`): computing, and waiting to end. */
export function shareOf({ members }: Group, step: string): number | undefined {
  let [own, all] = [0, 0]
  for (const { status } of members)
    for (const { operator, busyMs, heldMs } of status.time.steps) {
      all += busyMs + heldMs
      if (operator === step) own += busyMs + heldMs
    }
  return all === 0 ? undefined : own / all
}

/** Those of the members, and those that somebody else has who is not told of. */
function rowsOf(members: readonly Member[], first: PipelineStatus): readonly PartitionRow[] {
  const rows = members.flatMap((member) => {
    const states = new Map(member.status.tasks.map((task) => [task.partition, task.state]))
    return member.status.partitions.map((place) => ({
      topic: place.topic,
      partition: place.partition,
      owner: member.name,
      member,
      state: place.held ? 'held' : (states.get(place.partition) ?? 'running'),
      place,
    }))
  })
  const known = new Set(members.flatMap(({ status }) => status.tasks.map(({ partition }) => partition)))
  const elsewhere = Array.from({ length: first.taskCount }, (_, task) => task).filter((task) => !known.has(task))
  const others = elsewhere.flatMap((partition) =>
    first.topics.map((topic) => ({
      topic,
      partition,
      owner: first.member.owners[partition] ?? 'another member',
      member: undefined,
      state: 'elsewhere',
      place: undefined,
    })),
  )
  return [...rows, ...others].sort((a, b) => (a.topic < b.topic ? -1 : a.topic > b.topic ? 1 : a.partition - b.partition))
}

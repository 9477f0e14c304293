import { logError } from '../log/error.js'
import type { LogClient, LogReader, TopicPartition } from '../log/port.js'
import type { UnreadPartitions } from '../log/unread.js'
import type { Clock } from '../record/clock.js'
import type { SourceSettings } from './settings.js'
import type { InletSpec } from './context.js'
import { TaskState, type PlannedStore } from './task-state.js'
import type { TaskStart } from './piece.js'
import { Task } from './task.js'

export interface StartEnvironment {
  readonly log: LogClient
  readonly reader: LogReader
  readonly settings: SourceSettings
  readonly clock: Clock
  /** Tasks of the assignment before: one that stayed keeps what it has fetched. */
  readonly earlier: readonly Task[]
  /** Whether nobody else can have had those tasks since: only then is the state they hold what is in the log. */
  readonly uninterrupted: boolean
  readonly stores: readonly PlannedStore[]
  /** The state of a task that was kept warm here, if it was. */
  readonly warmCopy: (task: number) => TaskState | undefined
  readonly inlets: readonly InletSpec[]
  readonly unread: UnreadPartitions
  readonly onPositions: () => void
}

/** Finds where each task starts and sets the reader on it. */
export async function openTasks(environment: StartEnvironment, partitions: readonly number[]): Promise<Task[]> {
  const { log, reader, settings, clock, earlier, uninterrupted, stores, warmCopy, unread, onPositions } = environment
  const { group, startFrom, onUnreadable } = settings
  const inlets = new Map(environment.inlets.map((inlet) => [inlet.topic, inlet]))
  const topics = [...settings.topics, ...inlets.keys()]
  const wanted = partitions.flatMap((partition) => topics.map((topic) => ({ topic, partition })))
  const stored = await log.committedPositions(group, wanted)
  const starts = new Map<string, TaskStart>()
  const without: TopicPartition[] = []
  wanted.forEach((at, i) => {
    const position = stored[i]
    if (position === undefined) without.push(at)
    else starts.set(nameOf(at), { ...position, stored: true })
  })
  // What a pipeline wrote for itself is read from the beginning, wherever the inputs start.
  const own = without.filter(({ topic }) => inlets.has(topic))
  if (own.length > 0) {
    const offsets = await log.offsets(own, 'earliest')
    own.forEach((at, i) => starts.set(nameOf(at), { topic: at.topic, offset: offsets[i] as number, stored: false }))
  }
  const inputs = without.filter(({ topic }) => !inlets.has(topic))
  if (inputs.length > 0) {
    if (startFrom === 'committed') {
      throw logError(
        'NO_COMMITTED_OFFSET',
        'fatal',
        `group '${group}' has no committed offset for ${inputs.map(nameOf).join(', ')}, and startFrom is 'committed': give 'earliest', 'latest' or a timestamp to start without one`,
      )
    }
    const offsets = await log.offsets(inputs, typeof startFrom === 'object' ? { timestamp: Number(startFrom.timestamp) } : startFrom)
    inputs.forEach((at, i) => starts.set(nameOf(at), { topic: at.topic, offset: offsets[i] as number, stored: false }))
  }
  const byPartition = new Map(earlier.map((task) => [task.partition, task]))
  const tasks = partitions.map((partition) => {
    const own = topics.map((topic) => starts.get(nameOf({ topic, partition })) as TaskStart)
    const before = byPartition.get(partition)
    const kept = own.every((start) => start.stored && before?.isCommittedAt(start) === true) ? before : undefined
    if (kept !== undefined && (stores.length === 0 || (uninterrupted && kept.ready))) return kept
    const state = warmCopy(partition) ?? new TaskState(partition, stores)
    const task = new Task(partition, topics, own, reader, clock, state, inlets, unread, onUnreadable, onPositions)
    task.ready = state.isEmpty
    return task
  })
  reader.assign(tasks.flatMap((task) => task.fetchPositions()))
  return tasks
}

function nameOf({ topic, partition }: TopicPartition): string {
  return `${topic}/${partition}`
}

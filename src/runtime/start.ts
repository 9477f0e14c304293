import { logError } from '../log/error.js'
import type { LogClient, LogReader, TopicPartition } from '../log/port.js'
import type { Clock } from '../record/clock.js'
import type { SourceSettings } from './settings.js'
import { Task, type TaskStart } from './task.js'

export interface StartEnvironment {
  readonly log: LogClient
  readonly reader: LogReader
  readonly settings: SourceSettings
  readonly clock: Clock
  /** Tasks of the assignment before: one that stayed keeps what it has fetched. */
  readonly earlier: readonly Task[]
}

/** Finds where each task starts and sets the reader on it. */
export async function openTasks({ log, reader, settings, earlier }: StartEnvironment, partitions: readonly number[]): Promise<Task[]> {
  const { group, topics, startFrom } = settings
  const wanted = partitions.flatMap((partition) => topics.map((topic) => ({ topic, partition })))
  const stored = await log.committedOffsets(group, wanted)
  const starts = new Map<string, TaskStart>()
  const without: TopicPartition[] = []
  wanted.forEach((at, i) => {
    const offset = stored[i]
    if (offset === undefined) without.push(at)
    else starts.set(nameOf(at), { topic: at.topic, offset, stored: true })
  })
  if (without.length > 0) {
    if (startFrom === 'committed') {
      throw logError(
        'NO_COMMITTED_OFFSET',
        'fatal',
        `group '${group}' has no committed offset for ${without.map(nameOf).join(', ')}, and startFrom is 'committed': give 'earliest', 'latest' or a timestamp to start without one`,
      )
    }
    const offsets = await log.offsets(without, typeof startFrom === 'object' ? { timestamp: Number(startFrom.timestamp) } : startFrom)
    without.forEach((at, i) => starts.set(nameOf(at), { topic: at.topic, offset: offsets[i] as number, stored: false }))
  }
  const tasks = partitions.map((partition) => {
    const own = topics.map((topic) => starts.get(nameOf({ topic, partition })) as TaskStart)
    const kept = earlier.find((task) => task.partition === partition && own.every(({ topic, offset, stored: known }) => known && task.committedOffset(topic) === offset))
    return kept ?? new Task(partition, topics, own, reader)
  })
  reader.assign(tasks.flatMap((task) => task.fetchPositions()))
  return tasks
}

function nameOf({ topic, partition }: TopicPartition): string {
  return `${topic}/${partition}`
}

import { logError } from '../log/error.js'
import type { LogError, NewTopic, Reaction, TopicInfo, TopicPartition } from '../log/port.js'
import { PartitionLog } from './partition.js'
import { TOPIC_CONFIGS } from './topic-configs.js'

const DEFAULT_MAX_MESSAGE_BYTES = 1_048_588
const MAX_MESSAGE_BYTES = 'max.message.bytes'
const ALLOWED_NAME = /^[a-zA-Z0-9._-]{1,249}$/

interface Topic {
  readonly partitions: readonly PartitionLog[]
  readonly maxMessageBytes: number
  /** What is said here has no effect: nothing is ever deleted. */
  readonly cleanupPolicy: string
}

/** The topics of the broker. None comes into being by itself. */
export class Topics {
  private readonly topics = new Map<string, Topic>()
  private readonly listeners = new Set<() => void>()
  private readonly paused = new Set<string>()
  private allPaused = false

  constructor(private readonly defaultPartitions: number) {}

  /** @throws LogError TOPIC_EXISTS, BROKER_REFUSED */
  create({ topic, partitions = this.defaultPartitions, replicationFactor = 1, config = {} }: NewTopic): void {
    const refuse = (why: string): never => {
      throw logError('BROKER_REFUSED', 'fatal', `creating topic '${topic}': ${why}`)
    }
    if (!ALLOWED_NAME.test(topic) || topic === '.' || topic === '..')
      refuse('the name is not allowed: at most 249 of letters, digits, ".", "_" and "-"')
    if (this.topics.has(topic)) throw logError('TOPIC_EXISTS', 'fatal', `creating topic '${topic}': it exists already`)
    if (!Number.isInteger(partitions) || partitions < 1) refuse(`${partitions} is not a number of partitions`)
    if (!Number.isInteger(replicationFactor) || replicationFactor === 0) refuse(`${replicationFactor} is not a replication factor`)
    for (const name of Object.keys(config)) if (!TOPIC_CONFIGS.has(name)) refuse(`there is no topic configuration named '${name}'`)
    const maxMessageBytes = Number(config[MAX_MESSAGE_BYTES] ?? DEFAULT_MAX_MESSAGE_BYTES)
    if (!Number.isInteger(maxMessageBytes) || maxMessageBytes < 0) refuse(`${MAX_MESSAGE_BYTES} must be a whole number`)
    const logs = Array.from({ length: partitions }, (_, partition) => new PartitionLog(`${topic}/${partition}`, maxMessageBytes))
    this.topics.set(topic, { partitions: logs, maxMessageBytes, cleanupPolicy: config['cleanup.policy'] ?? 'delete' })
    this.changed()
  }

  /** @throws LogError MISSING_TOPIC, BROKER_REFUSED */
  addPartitions(topic: string, count: number): void {
    const logs = this.logs(topic)
    if (!Number.isInteger(count) || count <= logs.length)
      throw logError('BROKER_REFUSED', 'fatal', `topic '${topic}' has ${logs.length} partitions: ${count} is not more`)
    const found = this.topics.get(topic) as Topic
    const added = Array.from(
      { length: count - logs.length },
      (_, i) => new PartitionLog(`${topic}/${logs.length + i}`, found.maxMessageBytes),
    )
    this.topics.set(topic, { ...found, partitions: [...logs, ...added] })
    this.changed()
  }

  delete(topic: string): void {
    if (this.topics.delete(topic)) this.changed()
  }

  info(topic: string): TopicInfo | undefined {
    const found = this.topics.get(topic)
    return (
      found && { topic, partitions: found.partitions.length, maxMessageBytes: found.maxMessageBytes, cleanupPolicy: found.cleanupPolicy }
    )
  }

  /** @throws LogError MISSING_TOPIC */
  logs(topic: string): readonly PartitionLog[] {
    const found = this.topics.get(topic)
    if (found === undefined) throw logError('MISSING_TOPIC', 'retry', `topic '${topic}' does not exist: create it first`)
    return found.partitions
  }

  find({ topic, partition }: TopicPartition): PartitionLog | undefined {
    return this.topics.get(topic)?.partitions[partition]
  }

  /** @throws LogError MISSING_TOPIC */
  partition(at: TopicPartition, reaction: Reaction = 'retry'): PartitionLog {
    const log = this.find(at)
    if (log === undefined) throw missing(at, reaction)
    return log
  }

  /** Holds back what readers would get, of one topic or of all. */
  pause(topic?: string): void {
    if (topic === undefined) this.allPaused = true
    else this.paused.add(topic)
  }

  resume(topic?: string): void {
    if (topic === undefined) {
      this.allPaused = false
      this.paused.clear()
    } else this.paused.delete(topic)
    this.changed()
  }

  isPaused(topic: string): boolean {
    return this.allPaused || this.paused.has(topic)
  }

  /** Calls `listener` when topics come, go, or are let go on. Returns how to stop that. */
  onChange(listener: () => void): () => void {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  private changed(): void {
    for (const listener of this.listeners) listener()
  }
}

export function missing({ topic, partition }: TopicPartition, reaction: Reaction): LogError {
  return logError(
    'MISSING_TOPIC',
    reaction,
    `${topic}/${partition} does not exist: the topic was not created, was deleted, or has fewer partitions`,
  )
}

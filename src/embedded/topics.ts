import { logError } from '../log/error.js'
import type { NewTopic, PartitionOffset, TopicInfo, TopicPartition } from '../log/port.js'
import type { Clock } from '../record/clock.js'
import { PartitionLog } from './partition.js'

const DEFAULT_MAX_MESSAGE_BYTES = 1_048_588

interface Topic {
  readonly partitions: readonly PartitionLog[]
  readonly maxMessageBytes: number
}

/** What the broker holds, and who waits for more of it. */
export class Topics {
  private readonly topics = new Map<string, Topic>()
  private readonly listeners = new Set<() => void>()

  constructor(readonly clock: Clock) {}

  create({ topic, partitions = 1, config = {} }: NewTopic): void {
    if (this.topics.has(topic)) throw logError('TOPIC_EXISTS', 'fatal', `topic '${topic}' exists already`)
    this.topics.set(topic, {
      partitions: Array.from({ length: partitions }, (_, partition) => new PartitionLog(`${topic}/${partition}`)),
      maxMessageBytes: Number(config['max.message.bytes'] ?? DEFAULT_MAX_MESSAGE_BYTES),
    })
  }

  delete(topic: string): void {
    this.topics.delete(topic)
    this.changed()
  }

  info(topic: string): TopicInfo | undefined {
    const found = this.topics.get(topic)
    return found && { topic, partitions: found.partitions.length, maxMessageBytes: found.maxMessageBytes }
  }

  partition({ topic, partition }: TopicPartition): PartitionLog {
    const found = this.topics.get(topic)?.partitions[partition]
    if (found === undefined) throw logError('MISSING_TOPIC', 'abort', `partition ${topic}/${partition} does not exist`)
    return found
  }

  append(at: TopicPartition, bytes: Buffer): void {
    const log = this.partition(at)
    const limit = this.topics.get(at.topic)?.maxMessageBytes ?? DEFAULT_MAX_MESSAGE_BYTES
    if (bytes.length > limit) {
      throw logError('RECORD_TOO_LARGE', 'abort', `a batch of ${bytes.length} bytes for ${at.topic}/${at.partition} is larger than max.message.bytes=${limit}: raise the topic's limit or make the records smaller`)
    }
    log.append(bytes)
  }

  /** Deletes the records before an offset, as retention would. */
  truncate({ topic, partition, offset }: PartitionOffset): void {
    const log = this.partition({ topic, partition })
    log.start = Math.min(offset, log.end)
    log.batches.splice(0, log.indexOf(log.start))
  }

  onChange(listener: () => void): () => void {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  changed(): void {
    for (const listener of this.listeners) listener()
  }
}

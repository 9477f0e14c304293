import { truncationOf } from '../log/error.js'
import { UNKNOWN_EPOCH } from '../log/leader-epochs.js'
import type {
  Fetched,
  GroupOptions,
  LogCapabilities,
  LogClient,
  LogError,
  LogGroup,
  LogProducer,
  LogReader,
  OwnTopic,
  OffsetAt,
  PartitionOffset,
  Position,
  ProducerOptions,
  ReaderOptions,
  TopicInfo,
  TopicPartition,
} from '../log/port.js'
import { MillraceError } from '../record/error.js'
import { changelogTopic } from '../state/store.js'
import { REDRIVEN } from './redriven-store.js'

/** The part of a topic that is to be read. */
export interface Part {
  readonly topic: string
  /** Whose redrive it is. */
  readonly group: string
  /** By partition: the offset behind the last record. */
  readonly ends: readonly number[]
  /** Whether anything from one offset to before another is wanted; where not, it is stepped over. */
  readonly wanted: (partition: number, start: number, end: number) => boolean
}

/** A log of which one topic ends where it is told to, whatever is written behind that. */
export class BoundedLog implements LogClient {
  constructor(
    private readonly log: LogClient,
    private readonly part: Part,
    /** Told of the offsets that were looked up. */
    private readonly onCommitted: (offsets: readonly PartitionOffset[]) => void,
  ) {}

  reader(options: ReaderOptions): LogReader {
    return new BoundedReader(this.log.reader(options), this.part)
  }

  connect(): Promise<LogCapabilities> {
    return this.log.connect()
  }
  producer(options: ProducerOptions): LogProducer {
    return this.log.producer(options)
  }
  group(options: GroupOptions): LogGroup {
    return this.log.group(options)
  }
  close(): Promise<void> {
    return this.log.close()
  }
  topics(names: readonly string[]): Promise<ReadonlyMap<string, TopicInfo>> {
    return this.log.topics(names)
  }
  createTopics(topics: readonly OwnTopic[]): Promise<void> {
    return this.log.createTopics(topics)
  }
  deleteTopics(names: readonly string[]): Promise<void> {
    return this.log.deleteTopics(names)
  }
  offsets(partitions: readonly TopicPartition[], at: OffsetAt): Promise<readonly number[]> {
    return this.log.offsets(partitions, at)
  }
  committedOffsets(group: string, partitions: readonly TopicPartition[]): Promise<readonly (number | undefined)[]> {
    return this.log.committedOffsets(group, partitions)
  }
  async committedPositions(group: string, partitions: readonly TopicPartition[]): Promise<readonly (Position | undefined)[]> {
    const stored = await this.log.committedPositions(group, partitions)
    this.onCommitted(
      partitions
        .map(({ topic, partition }, i) => ({ topic, partition, offset: stored[i]?.offset ?? -1 }))
        .filter(({ topic }) => topic === this.part.topic),
    )
    return stored
  }
}

class BoundedReader implements LogReader {
  /** Where the reader stands, of partitions that have not ended. */
  private positions: Position[] = []

  constructor(
    private readonly reader: LogReader,
    private readonly part: Part,
  ) {}

  assign(positions: readonly Position[]): void {
    this.positions = positions.filter((at) => at.offset < this.endOf(at))
    this.reader.assign(this.positions)
  }

  take(topic: string, partition: number): Fetched | undefined {
    const i = this.positions.findIndex((at) => at.topic === topic && at.partition === partition)
    if (i < 0) return undefined
    const fetched = this.fetched(topic, partition)
    if (fetched === undefined) return undefined
    const end = this.endOf({ topic, partition })
    const { fromOffset, fromEpoch } = fetched
    const nextOffset = Math.min(fetched.nextOffset, end)
    const nextEpoch = nextOffset === fetched.nextOffset ? fetched.nextEpoch : (fetched.batch?.leaderEpoch ?? UNKNOWN_EPOCH)
    if (nextOffset < end) this.positions[i] = { topic, partition, offset: nextOffset, leaderEpoch: nextEpoch }
    else {
      // What was fetched behind the end would keep its room for ever.
      this.positions.splice(i, 1)
      this.reader.assign(this.positions)
    }
    const wanted = topic !== this.part.topic || this.part.wanted(partition, fromOffset, nextOffset)
    return { batch: wanted ? fetched.batch : undefined, fromOffset, fromEpoch, nextOffset, nextEpoch }
  }

  private fetched(topic: string, partition: number): Fetched | undefined {
    try {
      return this.reader.take(topic, partition)
    } catch (error) {
      if (topic !== this.part.topic || truncationOf(error) === undefined) throw error
      throw otherLetters((error as MillraceError).origin as PartitionOffset, this.part.group, error)
    }
  }

  end(topic: string, partition: number): number | undefined {
    const end = this.endOf({ topic, partition })
    const known = this.reader.end(topic, partition)
    if (known !== undefined) return Math.min(known, end)
    return Number.isFinite(end) && !this.positions.some((at) => at.topic === topic && at.partition === partition) ? end : undefined
  }

  nextTime(topic: string, partition: number): number | undefined {
    return this.reader.nextTime(topic, partition)
  }

  trouble(topic: string, partition: number): LogError | undefined {
    return this.reader.trouble(topic, partition)
  }

  close(): void {
    this.reader.close()
  }

  private endOf({ topic, partition }: TopicPartition): number {
    return (topic === this.part.topic ? this.part.ends[partition] : undefined) ?? Number.POSITIVE_INFINITY
  }
}

/** Letters were redriven that the topic no longer has, so others may have their offsets. */
export function otherLetters({ topic, partition, offset }: PartitionOffset, group: string, cause?: unknown): MillraceError {
  return new MillraceError(
    'STATE_MISMATCH',
    `redrive: '${topic}' no longer holds what group '${group}' read of partition ${partition} up to offset ${offset}: its leader was elected without it (an unclean election), or the topic was made anew. ` +
      'Other letters may have the offsets of those that were sent before. ' +
      `Name another group, or delete the topic '${changelogTopic(group, REDRIVEN.name)}', to send all that is left`,
    { origin: { topic, partition, offset }, cause },
  )
}

import type { Api, Throttled } from './api.js'

export interface BrokerAddress {
  readonly node: number
  readonly host: string
  readonly port: number
}

export interface PartitionMetadata {
  readonly error: number
  readonly partition: number
  /** -1 while there is none. */
  readonly leader: number
  /** How many elections there were before: which leader is meant. -1 where the broker does not say. */
  readonly leaderEpoch: number
}

export interface TopicMetadata {
  readonly error: number
  readonly topic: string
  readonly partitions: readonly PartitionMetadata[]
}

export interface MetadataResponse extends Throttled {
  readonly brokers: readonly BrokerAddress[]
  readonly controller: number
  readonly topics: readonly TopicMetadata[]
}

/** Asks for the topics named, none if the list is empty; never creates one. */
export const Metadata: Api<{ readonly topics: readonly string[] }, MetadataResponse> = {
  key: 3,
  name: 'Metadata',
  version: 7,
  flexible: false,
  encode(writer, { topics }) {
    writer.array(topics, (topic) => writer.string(topic))
    writer.bool(false)
  },
  decode(reader) {
    const throttleMs = reader.int32()
    const brokers = reader.array(() => {
      const broker = { node: reader.int32(), host: reader.string(), port: reader.int32() }
      reader.nullableString()
      return broker
    })
    reader.nullableString()
    const controller = reader.int32()
    const topics = reader.array(() => {
      const error = reader.int16()
      const topic = reader.string()
      reader.bool()
      const partitions = reader.array(() => {
        const partition = { error: reader.int16(), partition: reader.int32(), leader: reader.int32(), leaderEpoch: reader.int32() }
        reader.array(() => reader.int32())
        reader.array(() => reader.int32())
        reader.array(() => reader.int32())
        return partition
      })
      return { error, topic, partitions }
    })
    return { throttleMs, brokers, controller, topics }
  },
}

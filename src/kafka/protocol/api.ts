import type { Reader } from './reader.js'
import type { Writer } from './writer.js'

export type ApiName =
  | 'Produce'
  | 'Fetch'
  | 'ListOffsets'
  | 'Metadata'
  | 'OffsetCommit'
  | 'OffsetFetch'
  | 'FindCoordinator'
  | 'JoinGroup'
  | 'Heartbeat'
  | 'LeaveGroup'
  | 'SyncGroup'
  | 'ApiVersions'
  | 'CreateTopics'
  | 'DeleteTopics'
  | 'InitProducerId'
  | 'AddPartitionsToTxn'
  | 'AddOffsetsToTxn'
  | 'EndTxn'
  | 'TxnOffsetCommit'
  | 'DescribeConfigs'
  | 'DescribeTransactions'

/** One kind of request in the one version of it that is used. */
export interface Api<Request, Response extends Throttled> {
  readonly key: number
  readonly name: ApiName
  readonly version: number
  /** Whether the headers of request and response end in tagged fields. */
  readonly flexible: boolean
  encode(writer: Writer, request: Request): void
  decode(reader: Reader): Response
}

export interface Throttled {
  /** How long the broker asks the client to keep quiet. (KIP-219) */
  readonly throttleMs: number
}

/** Partitions of one topic, the way Kafka's requests list them. */
export interface OfTopic<T> {
  readonly topic: string
  readonly items: T[]
}

export function byTopic<T extends { readonly topic: string }>(items: Iterable<T>): OfTopic<T>[] {
  const topics = new Map<string, OfTopic<T>>()
  for (const item of items) {
    const of = topics.get(item.topic)
    if (of === undefined) topics.set(item.topic, { topic: item.topic, items: [item] })
    else of.items.push(item)
  }
  return [...topics.values()]
}

/** What a response says of one partition. */
export interface PartitionResult {
  readonly topic: string
  readonly partition: number
  readonly error: number
}

/** The commonest form of response: an error per partition, after the throttle time, in the old encoding. */
export function decodePartitionErrors(reader: Reader): Throttled & { readonly results: PartitionResult[] } {
  const throttleMs = reader.int32()
  const results = reader.array(() => {
    const topic = reader.string()
    return reader.array(() => ({ topic, partition: reader.int32(), error: reader.int16() }))
  })
  return { throttleMs, results: results.flat() }
}

/** The same in the compact encoding. */
export function decodeCompactPartitionErrors(reader: Reader): Throttled & { readonly results: PartitionResult[] } {
  const throttleMs = reader.int32()
  const results = reader.compactArray(() => {
    const topic = reader.compactString()
    const items = reader.compactArray(() => {
      const item = { topic, partition: reader.int32(), error: reader.int16() }
      reader.tags()
      return item
    })
    reader.tags()
    return items
  })
  reader.tags()
  return { throttleMs, results: results.flat() }
}

export type PartitionErrors = Throttled & { readonly results: readonly PartitionResult[] }
export type ErrorOnly = Throttled & { readonly error: number }

export function decodeErrorOnly(reader: Reader): ErrorOnly {
  return { throttleMs: reader.int32(), error: reader.int16() }
}

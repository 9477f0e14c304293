import type { Kafka } from 'kafkajs'
import { Hopeless, until } from '../until.js'
import type { Isolation, PartitionOffsets, SeenRecord } from './client.js'

/**
 * Reads a topic over kafkajs's connections, one fetch after the other, without a group: a group would take seconds to form
 * on some clusters, and kafkajs's own consumer lets aborted records through when transactions interleave.
 */
export async function readThroughKafkaJs(kafka: Kafka, topic: string, isolation: Isolation): Promise<SeenRecord[]> {
  return withCluster(kafka, topic, isolation, async (cluster) => {
    const seen: SeenRecord[] = []
    for (const partition of await listOffsets(cluster, topic)) {
      seen.push(...(await readPartition(cluster, topic, partition, isolation)))
    }
    return seen
  })
}

export function offsetsOf(kafka: Kafka, topic: string, isolation: Isolation): Promise<PartitionOffsets[]> {
  return withCluster(kafka, topic, isolation, (cluster) => listOffsets(cluster, topic))
}

async function readPartition(
  cluster: InnerCluster,
  topic: string,
  { partition, low, high }: PartitionOffsets,
  isolation: Isolation,
): Promise<SeenRecord[]> {
  const seen: SeenRecord[] = []
  let position = low
  while (position < high) {
    const [leader] = Object.keys(cluster.findLeaderForPartitions(topic, [partition]))
    if (leader === undefined) throw new Error(`partition ${partition} of ${topic} has no leader`)
    const broker = await cluster.findBroker({ nodeId: leader })
    const { responses } = await broker.fetch({
      isolationLevel: LEVEL[isolation],
      maxWaitTime: 1_000,
      topics: [{ topic, partitions: [{ partition, currentLeaderEpoch: -1, fetchOffset: position, maxBytes: 4 << 20 }] }],
    })
    const { messages, abortedTransactions } = responses[0]!.partitions[0]!
    const visible = isolation === 'read_committed' ? withoutAborted(messages, abortedTransactions ?? []) : messages
    for (const message of visible) {
      const offset = Number(message.offset)
      if (!message.isControlRecord && offset >= position && offset < high) seen.push(asSeen(partition, message))
    }
    const last = messages.at(-1)
    // Bytes there are, as the end is not reached; no record in them means that compaction left an empty batch behind.
    position = Math.max(position, last === undefined ? position : Number(last.offset)) + 1
  }
  return seen
}

/** A producer's records are aborted from an aborted transaction's first offset on, up to that producer's next marker. */
function withoutAborted(messages: readonly InnerMessage[], aborted: readonly InnerAborted[]): InnerMessage[] {
  const coming = [...aborted].sort((a, b) => Number(a.firstOffset) - Number(b.firstOffset))
  const aborting = new Set<string>()
  return messages.filter((message) => {
    while (coming[0] !== undefined && Number(coming[0].firstOffset) <= Number(message.offset)) {
      aborting.add(coming.shift()!.producerId)
    }
    const { producerId, inTransaction } = message.batchContext
    if (message.isControlRecord) aborting.delete(producerId)
    return !(inTransaction && aborting.has(producerId))
  })
}

function asSeen(partition: number, message: InnerMessage): SeenRecord {
  return {
    partition,
    offset: Number(message.offset),
    timestamp: Number(message.timestamp),
    key: message.key,
    value: message.value,
    headers: Object.entries(message.headers).flatMap(([name, values]) =>
      (Array.isArray(values) ? values : [values]).map((value) => [name, value] as const),
    ),
  }
}

async function listOffsets(cluster: InnerCluster, topic: string): Promise<PartitionOffsets[]> {
  const partitions = cluster.findTopicPartitionMetadata(topic).map(({ partitionId }) => ({ partition: partitionId }))
  const at = async (fromBeginning: boolean): Promise<Map<number, number>> => {
    const [found] = await cluster.fetchTopicsOffset([{ topic, partitions, fromBeginning }])
    return new Map(found!.partitions.map(({ partition, offset }) => [partition, Number(offset)]))
  }
  const [low, high] = [await at(true), await at(false)]
  return partitions
    .map(({ partition }) => ({ partition, low: low.get(partition) ?? 0, high: high.get(partition) ?? 0 }))
    .sort((a, b) => a.partition - b.partition)
}

/** From the start again when a leader moved or a broker went away meanwhile: reading changes nothing. */
async function withCluster<T>(kafka: Kafka, topic: string, isolation: Isolation, use: (cluster: InnerCluster) => Promise<T>): Promise<T> {
  const { done } = await until(() => tryWithCluster(kafka, topic, isolation, use), {
    what: `${topic} to be readable`,
    within: 30_000,
    every: 100,
  })
  return done
}

async function tryWithCluster<T>(
  kafka: Kafka,
  topic: string,
  isolation: Isolation,
  use: (cluster: InnerCluster) => Promise<T>,
): Promise<{ readonly done: T }> {
  const cluster = innerCluster(kafka, isolation)
  try {
    await cluster.connect()
    await cluster.addTargetTopic(topic)
    return { done: await use(cluster) }
  } catch (error) {
    if (error instanceof Error && !isTransient(error)) throw new Hopeless(error)
    throw error
  } finally {
    await cluster.disconnect()
  }
}

function isTransient(error: Error): boolean {
  // kafkajs has tried again for an unknown topic already, in case it was but new.
  const { retriable, type } = error as { readonly retriable?: boolean; readonly type?: string }
  return retriable === true && type !== 'UNKNOWN_TOPIC_OR_PARTITION'
}

/** kafkajs does not show the part of itself that its consumers and its admin client are made of; this gets at it. */
function innerCluster(kafka: Kafka, isolation: Isolation): InnerCluster {
  const name = 'private:Kafka:createCluster'
  const symbol = Object.getOwnPropertySymbols(kafka).find(({ description }) => description === name)
  if (symbol === undefined) throw new Error(`this kafkajs has no ${name}`)
  const create = (kafka as unknown as Record<symbol, (options: object) => InnerCluster>)[symbol]!
  return create({ metadataMaxAge: 300_000, allowAutoTopicCreation: false, isolationLevel: LEVEL[isolation] })
}

const LEVEL = { read_uncommitted: 0, read_committed: 1 } as const

interface InnerCluster {
  connect(): Promise<void>
  disconnect(): Promise<void>
  addTargetTopic(topic: string): Promise<void>
  findTopicPartitionMetadata(topic: string): { readonly partitionId: number }[]
  findLeaderForPartitions(topic: string, partitions: readonly number[]): Record<string, number[]>
  findBroker(node: { nodeId: string }): Promise<InnerBroker>
  fetchTopicsOffset(
    topics: readonly { topic: string; partitions: readonly { partition: number }[]; fromBeginning: boolean }[],
  ): Promise<{ partitions: { partition: number; offset: string }[] }[]>
}

interface InnerBroker {
  fetch(request: object): Promise<{
    responses: { partitions: { messages: InnerMessage[]; abortedTransactions: InnerAborted[] | null }[] }[]
  }>
}

interface InnerAborted {
  readonly producerId: string
  readonly firstOffset: string
}

interface InnerMessage {
  readonly offset: string
  readonly timestamp: string
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers: Record<string, Buffer | null | (Buffer | null)[]>
  readonly isControlRecord: boolean
  readonly batchContext: { readonly producerId: string; readonly inTransaction: boolean }
}

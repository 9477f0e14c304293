import { randomUUID } from 'node:crypto'
import { Kafka, Partitioners, logLevel, type Admin, type Producer } from 'kafkajs'
import { copied, type KafkaConnection } from './options.js'
import { readThroughJava } from './java-reader.js'
import { offsetsOf, readThroughKafkaJs } from './kafkajs-reader.js'

export type Isolation = 'read_committed' | 'read_uncommitted'

export interface SeenRecord {
  readonly partition: number
  readonly offset: number
  readonly timestamp: number
  readonly key: Buffer | null
  readonly value: Buffer | null
  /** In order, repeated names included. (kafkajs puts repeated names together, where the first stood.) */
  readonly headers: readonly (readonly [name: string, value: Buffer | null])[]
}

export interface SentRecord {
  readonly key?: Buffer | string | null
  readonly value: Buffer | string | null
  readonly headers?: Readonly<Record<string, Buffer | string>>
  readonly partition?: number
  readonly timestamp?: number
}

export interface TopicSettings {
  readonly name?: string
  readonly partitions?: number
  readonly replicas?: number
  readonly config?: Readonly<Record<string, string>>
}

export interface PartitionOffsets {
  readonly partition: number
  readonly low: number
  readonly high: number
}

/**
 * What tests set up and look at a cluster with. None of it is millrace's own code, so a mistake there cannot hide itself
 * here.
 */
export interface Observer {
  readonly connection: KafkaConnection
  /** A connected kafkajs admin client. */
  admin(): Promise<Admin>
  /** Creates a topic, of a unique name unless told, and waits until every partition has a leader. */
  createTopic(settings?: TopicSettings): Promise<string>
  /** Writes records as they come, without a transaction, and waits for all replicas. */
  produce(topic: string, records: readonly SentRecord[]): Promise<void>
  /** First and end offset of each partition; the end is the last stable offset where only committed records count. */
  offsets(topic: string, isolation?: Isolation): Promise<PartitionOffsets[]>
  /** The offsets a group has stored for a topic; partitions it has none for are left out. */
  committed(group: string, topic: string): Promise<Map<number, number>>
  /**
   * The whole topic up to its end offsets as they are now, by partition and offset. Quick; its view of committed records
   * rests on a few lines of this test support.
   */
  readAll(topic: string, options?: { readonly isolation?: Isolation }): Promise<SeenRecord[]>
  /** The same, read by Kafka's own consumer: takes seconds, and has the last word on what is committed. */
  readAllJava(topic: string, options?: { readonly isolation?: Isolation; readonly within?: number }): Promise<SeenRecord[]>
  close(): Promise<void>
}

/** Deletes the records before an offset, as retention does. */
export async function deleteBefore(
  brokers: readonly string[],
  { topic, partition, offset }: { readonly topic: string; readonly partition: number; readonly offset: number },
): Promise<void> {
  const admin = kafkaJs(brokers).admin()
  await admin.connect()
  try {
    // kafkajs asks whom it knows to lead the partition, and knows only of topics it has asked for offsets.
    await admin.fetchTopicOffsets(topic)
    await admin.deleteTopicRecords({ topic, partitions: [{ partition, offset: String(offset) }] })
  } finally {
    await admin.disconnect()
  }
}

/** A name that no other test, process or run has used. */
export function uniqueName(prefix = 'test'): string {
  return `${prefix}-${randomUUID().slice(0, 13)}`
}

/** A plain kafkajs client that keeps quiet. */
export function kafkaJs(connection: KafkaConnection | readonly string[]): Kafka {
  return new Kafka({
    // kafkajs writes into the sasl object that it is given.
    ...copied(asConnection(connection)),
    clientId: 'observer',
    logLevel: logLevel.NOTHING,
    // A broker under SIGSTOP accepts and never answers: give up on it soon and ask another.
    requestTimeout: 5_000,
    // A broker that has just come up may not have found its coordinators yet.
    retry: { initialRetryTime: 100, retries: 12, maxRetryTime: 2_000 },
  })
}

export function observe(target: KafkaConnection | readonly string[]): Observer {
  const connection = asConnection(target)
  const kafka = kafkaJs(connection)
  const admin = lazily(() => kafka.admin())
  const producer = lazily(() => kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner }))
  return {
    connection,
    admin: admin.get,
    createTopic: async (settings) => createTopic(await admin.get(), settings),
    produce: async (topic, records) => produce(await producer.get(), topic, records),
    offsets: (topic, isolation = 'read_committed') => offsetsOf(kafka, topic, isolation),
    committed: async (group, topic) => committed(await admin.get(), group, topic),
    readAll: (topic, { isolation = 'read_committed' } = {}) => readThroughKafkaJs(kafka, topic, isolation),
    readAllJava: async (topic, { isolation = 'read_committed', within = 60_000 } = {}) =>
      readThroughJava({ connection, admin: await admin.get(), kafka, topic, isolation, within }),
    close: async () => {
      await Promise.all([admin.close(), producer.close()])
    },
  }
}

async function createTopic(admin: Admin, settings: TopicSettings = {}): Promise<string> {
  const { name = uniqueName(), partitions = 1, replicas = -1, config = {} } = settings
  await admin.createTopics({
    topics: [
      {
        topic: name,
        numPartitions: partitions,
        replicationFactor: replicas,
        configEntries: Object.entries(config).map(([name, value]) => ({ name, value })),
      },
    ],
  })
  return name
}

async function produce(producer: Producer, topic: string, records: readonly SentRecord[]): Promise<void> {
  await producer.send({
    topic,
    acks: -1,
    messages: records.map(({ key = null, value, headers, partition, timestamp }) => ({
      key,
      value,
      ...(headers === undefined ? {} : { headers: { ...headers } }),
      ...(partition === undefined ? {} : { partition }),
      ...(timestamp === undefined ? {} : { timestamp: String(timestamp) }),
    })),
  })
}

async function committed(admin: Admin, group: string, topic: string): Promise<Map<number, number>> {
  const [found] = await admin.fetchOffsets({ groupId: group, topics: [topic] })
  return new Map(
    (found?.partitions ?? []).map(({ partition, offset }) => [partition, Number(offset)] as const).filter(([, offset]) => offset >= 0),
  )
}

function asConnection(target: KafkaConnection | readonly string[]): KafkaConnection {
  return 'brokers' in target ? target : { brokers: [...target] }
}

/** Connects at first use, and once. */
function lazily<T extends { connect(): Promise<void>; disconnect(): Promise<void> }>(create: () => T) {
  let client: Promise<T> | undefined
  return {
    get(): Promise<T> {
      client ??= (async () => {
        const created = create()
        await created.connect()
        return created
      })()
      return client
    },
    async close(): Promise<void> {
      await (await client?.catch(() => undefined))?.disconnect()
      client = undefined
    },
  }
}

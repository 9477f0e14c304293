// What the examples share: a cluster (Kafka where KAFKA_BROKERS names one, else the broker in this process), topics, and an end.
import { lastValueFrom, scan, takeWhile, type Observable } from 'rxjs'
import { embedded, kafka, quietLogger, type Cluster, type Commit, type ProduceRecord } from 'millrace'

export interface Example<Name extends string> {
  readonly cluster: Cluster
  /** By which its members, its positions and its state are known. */
  readonly group: string
  /** The topics by the names the example has for them: on a Kafka, each run has its own. */
  readonly topics: Readonly<Record<Name, string>>
  /** Writes JSON; what is no object is written as it is. */
  fill(
    topic: Name,
    records: readonly { key?: string; value: unknown; timestamp?: number; headers?: Record<string, string> }[],
  ): Promise<void>
  /** Runs a pipeline until it has read so many records. */
  until(records: number, pipeline: Observable<Commit>): Promise<void>
  /** What a topic holds, a line a record, ordered so that two runs read the same. */
  show(topic: Name, line?: (key: string, value: string) => string): Promise<void>
}

export async function example<const Name extends string>(title: string, names: readonly Name[], partitions = 2): Promise<Example<Name>> {
  const { KAFKA_BROKERS } = process.env
  const cluster =
    KAFKA_BROKERS === undefined ? embedded({ logger: quietLogger }) : kafka({ brokers: KAFKA_BROKERS.split(','), logger: quietLogger })
  const suffix = KAFKA_BROKERS === undefined ? '' : `-${Date.now()}`
  const topics = Object.fromEntries(names.map((name) => [name, `${name}${suffix}`])) as Record<Name, string>
  // Examples carry old times: by Kafka's default their records would be deleted.
  await cluster.createTopics(Object.values<string>(topics).map((topic) => ({ topic, partitions, config: { 'retention.ms': '-1' } })))
  return {
    cluster,
    group: `${title}${suffix}`,
    topics,
    async fill(name, records) {
      const rows = records.map(({ value, ...rest }): ProduceRecord => ({
        ...rest,
        value: typeof value === 'string' || value === null ? value : JSON.stringify(value),
      }))
      await cluster.produce({ topic: topics[name], records: rows })
    },
    async until(records, pipeline) {
      const counted = pipeline.pipe(
        scan((sum, commit) => sum + commit.records, 0),
        takeWhile((sum) => sum < records, true),
      )
      await lastValueFrom(counted)
    },
    async show(name, line = (key, value) => `${key} ${value}`) {
      const lines: string[] = []
      for await (const { key, value } of cluster.read({ topic: topics[name] })) lines.push(line(String(key), String(value)))
      console.log([`${name}:`, ...lines.sort().map((text) => `  ${text}`)].join('\n'))
    },
  }
}

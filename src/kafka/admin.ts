import type { LogAdmin, OwnTopic, OffsetAt, Position, TopicInfo, TopicPartition } from '../log/port.js'
import { systemClock } from '../record/clock.js'
import type { Cluster } from './cluster.js'
import { ERROR, Refused, check, kafkaErrorInfo, mayBeDone } from './errors.js'
import type { Api, Throttled } from './protocol/api.js'
import { CreateTopics } from './protocol/create-topics.js'
import { DeleteTopics } from './protocol/delete-topics.js'
import { DescribeConfigs } from './protocol/describe-configs.js'
import { EARLIEST, LATEST, ListOffsets } from './protocol/list-offsets.js'
import { Metadata } from './protocol/metadata.js'
import { OffsetFetch } from './protocol/offset-fetch.js'

/** A pending transaction can keep an offset unstable for as long as its producer's timeout, 60 s by Kafka's default. */
const UNSTABLE_MS = 120_000
const MAX_MESSAGE_BYTES = 'max.message.bytes'
const CLEANUP_POLICY = 'cleanup.policy'

export class KafkaAdmin implements Omit<LogAdmin, 'committedOffsets'> {
  /** A broker that runs out of time says so before the try is over. */
  private readonly brokerMs: number

  constructor(private readonly cluster: Cluster) {
    this.brokerMs = Math.ceil(cluster.tryMs / 2)
  }

  async topics(names: readonly string[]): Promise<ReadonlyMap<string, TopicInfo>> {
    const found = new Map<string, TopicInfo>()
    if (names.length === 0) return found
    const what = 'looking up topics'
    const listed = await this.cluster.retry({ what }, async () => {
      const topics = await this.cluster.refresh(names)
      for (const { topic, error } of topics) if (!isMissing(error)) check(Metadata, error, `looking up topic '${topic}'`)
      return topics.filter(({ error }) => !isMissing(error))
    })
    const configs = await this.cluster.retry({ what }, () => this.configs(listed.map(({ topic }) => topic)))
    for (const { topic, partitions } of listed) {
      const config = configs.get(topic)
      const limit = Number(config?.get(MAX_MESSAGE_BYTES) ?? Number.NaN)
      found.set(topic, {
        topic,
        partitions: partitions.length,
        maxMessageBytes: Number.isFinite(limit) ? limit : undefined,
        cleanupPolicy: config?.get(CLEANUP_POLICY) ?? undefined,
      })
    }
    return found
  }

  async createTopics(topics: readonly OwnTopic[]): Promise<void> {
    if (topics.length === 0) return
    const names = topics.map(({ topic }) => topic)
    const what = `creating ${names.map((name) => `'${name}'`).join(', ')}`
    const left = new Map(topics.map((topic) => [topic.topic, { ...topic, config: { ...topic.config, ...topic.ifKnown } }]))
    const wished = new Set(topics.filter(({ ifKnown }) => ifKnown !== undefined).map(({ topic }) => topic))
    // Where an answer was lost, a topic that exists is most likely the one asked for.
    let unanswered = false
    const create = async (): Promise<void> => {
      const { results } = await this.onController(
        CreateTopics,
        { topics: [...left.values()], timeoutMs: this.brokerMs },
        () => (unanswered = true),
      )
      for (const { topic, error } of results)
        if (error === ERROR.none || (unanswered && error === ERROR.topicAlreadyExists)) left.delete(topic)
      unanswered ||= results.some(({ error }) => error !== ERROR.none && kafkaErrorInfo(CreateTopics.name, error).done === 'maybe')
      const unknown = new Set(
        results.filter(({ topic, error }) => error === ERROR.invalidConfig && wished.delete(topic)).map(({ topic }) => topic),
      )
      for (const { topic, error, message } of results)
        if (left.has(topic) && !unknown.has(topic)) check(CreateTopics, error, `creating topic '${topic}'`, message)
      for (const topic of topics) if (unknown.has(topic.topic)) left.set(topic.topic, { ...topic, config: { ...topic.config } })
      if (unknown.size > 0) await create()
    }
    await this.cluster.retry({ what }, create)
    await this.cluster.retry({ what, topics: names }, () => this.writable(names))
  }

  async deleteTopics(names: readonly string[]): Promise<void> {
    if (names.length === 0) return
    const what = `deleting ${names.map((name) => `'${name}'`).join(', ')}`
    await this.cluster.retry({ what }, async () => {
      const { results } = await this.onController(DeleteTopics, { topics: names, timeoutMs: this.brokerMs })
      for (const { topic, error } of results) if (!isMissing(error)) check(DeleteTopics, error, `deleting topic '${topic}'`)
    })
    await this.cluster.retry({ what }, async () => {
      const left = (await this.cluster.refresh(names)).find(({ error }) => !isMissing(error))
      if (left !== undefined) throw new Refused(Metadata, ERROR.requestTimedOut, `waiting for topic '${left.topic}' to go`)
    })
  }

  async offsets(partitions: readonly TopicPartition[], at: OffsetAt): Promise<readonly number[]> {
    const timestamp = at === 'earliest' ? EARLIEST : typeof at === 'string' ? LATEST : at.timestamp
    // A leader that was deposed knows nothing of what was written since: state restored up to its end would be that of then.
    if (timestamp === LATEST) await this.lookUpLeaders(partitions)
    const found = await this.listOffsets(partitions, timestamp, at === 'stable')
    const none = partitions.filter(({ topic, partition }) => (found.get(keyOf(topic, partition)) ?? -1) < 0)
    const ends = none.length === 0 ? found : await this.listOffsets(none, LATEST, false)
    return partitions.map(({ topic, partition }) => {
      const key = keyOf(topic, partition)
      const offset = found.get(key) ?? -1
      return offset < 0 ? (ends.get(key) ?? 0) : offset
    })
  }

  async committedPositions(group: string, partitions: readonly TopicPartition[]): Promise<readonly (Position | undefined)[]> {
    if (partitions.length === 0) return []
    const what = `reading the committed offsets of group '${group}'`
    const coordinator = { kind: 'group', key: group } as const
    const { results } = await this.cluster.retry({ what, coordinator, until: systemClock.monotonic() + UNSTABLE_MS }, async () => {
      const address = await this.cluster.coordinator('group', group)
      const response = await this.cluster.request(address, OffsetFetch, { group, partitions })
      check(OffsetFetch, response.error, what)
      for (const { topic, partition, error } of response.results) {
        if (error !== ERROR.unknownTopicOrPartition) check(OffsetFetch, error, `${what}: ${topic}/${partition}`)
      }
      return response
    })
    const found = new Map(results.map((result) => [keyOf(result.topic, result.partition), result]))
    return partitions.map(({ topic, partition }) => {
      const { offset, leaderEpoch, metadata } = found.get(keyOf(topic, partition)) ?? { offset: -1, leaderEpoch: -1, metadata: '' }
      if (offset < 0) return undefined
      return { topic, partition, offset, ...(leaderEpoch < 0 ? {} : { leaderEpoch }), ...(metadata === '' ? {} : { metadata }) }
    })
  }

  private async lookUpLeaders(partitions: readonly TopicPartition[]): Promise<void> {
    const topics = [...new Set(partitions.map(({ topic }) => topic))]
    if (topics.length > 0) await this.cluster.retry({ what: 'looking up leaders' }, () => this.cluster.refresh(topics))
  }

  private async listOffsets(
    partitions: readonly TopicPartition[],
    timestamp: number,
    readCommitted: boolean,
  ): Promise<Map<string, number>> {
    const found = new Map<string, number>()
    const topics = [...new Set(partitions.map(({ topic }) => topic))]
    const what = 'looking up offsets'
    await this.cluster.retry({ what, topics }, async () => {
      const missing = partitions.filter(({ topic, partition }) => !found.has(keyOf(topic, partition)))
      const groups = await this.cluster.byLeader(missing, what)
      await Promise.all(
        [...groups].map(async ([node, items]) => {
          const asked = items.map(({ topic, partition }) => ({
            topic,
            partition,
            leaderEpoch: this.cluster.leaderEpoch(topic, partition),
            timestamp,
          }))
          const request = { readCommitted, partitions: asked }
          const { results } = await this.cluster.request(this.cluster.addressOf(node), ListOffsets, request)
          for (const { topic, partition, offset, error } of results) if (error === ERROR.none) found.set(keyOf(topic, partition), offset)
          for (const { topic, partition, error } of results) check(ListOffsets, error, `${what} of ${topic}/${partition}`)
        }),
      )
    })
    return found
  }

  /** A leader that knows of being one answers; a topic can be listed before that. */
  private async writable(names: readonly string[]): Promise<void> {
    const partitions: TopicPartition[] = []
    for (const { topic, error, partitions: listed } of await this.cluster.refresh(names)) {
      check(Metadata, error, `waiting for topic '${topic}'`)
      for (const { partition } of listed) partitions.push({ topic, partition })
    }
    await this.listOffsets(partitions, LATEST, false)
  }

  /** Of the topics whose configuration may be read. */
  private async configs(topics: readonly string[]): Promise<ReadonlyMap<string, ReadonlyMap<string, string | null>>> {
    const configs = new Map<string, ReadonlyMap<string, string | null>>()
    if (topics.length === 0) return configs
    const { results } = await this.cluster.any(DescribeConfigs, { topics, names: [MAX_MESSAGE_BYTES, CLEANUP_POLICY] })
    for (const { topic, error, config } of results) {
      if (error === ERROR.topicUnauthorized || error === ERROR.clusterUnauthorized || isMissing(error)) continue
      check(DescribeConfigs, error, `reading the configuration of topic '${topic}'`)
      configs.set(topic, config)
    }
    return configs
  }

  private async onController<Request, Response extends Throttled & { readonly results: readonly { readonly error: number }[] }>(
    api: Api<Request, Response>,
    body: Request,
    onUnanswered?: () => void,
  ): Promise<Response> {
    const address = await this.cluster.controllerAddress()
    try {
      const response = await this.cluster.request(address, api, body)
      if (response.results.some(({ error }) => error === ERROR.notController)) this.cluster.forgetController()
      return response
    } catch (error) {
      this.cluster.forgetController()
      if (mayBeDone(error)) onUnanswered?.()
      throw error
    }
  }
}

function keyOf(topic: string, partition: number): string {
  return `${topic}/${partition}`
}

function isMissing(error: number): boolean {
  return error === ERROR.unknownTopicOrPartition || error === ERROR.invalidTopic
}

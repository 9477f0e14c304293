import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Observable } from 'rxjs'
import { aggregate, count, json, kafka, toTopic, type Cluster, type RecordStream } from '../../src/index.js'
import { startKafka, type KafkaServer } from '../support/kafka/broker.js'
import { contents, runUntil } from '../support/pipelines.js'
import { until } from '../support/until.js'
import { uniqueName } from '../support/kafka/client.js'

const KEYS = 20
const PARTITIONS = 2
const rows = (n: number): { key: string; value: string }[] =>
  Array.from({ length: n * KEYS }, (_, i) => ({ key: `k${i % KEYS}`, value: '1' }))

describe.each([2, 0] as const)('state on Kafka, transaction.version %i', (transactionVersion) => {
  let server: KafkaServer
  let cluster: Cluster

  beforeAll(async () => {
    server = await startKafka({ transactionVersion, config: { 'log.cleaner.backoff.ms': '100' } })
    cluster = kafka({ brokers: server.brokers })
  })
  afterAll(async () => {
    await cluster.close()
    await server.stop()
  })

  const counting =
    (output: string) =>
    (records: RecordStream): Observable<unknown> =>
      records.pipe(aggregate(count()), toTopic({ topic: output, value: json() }))
  const last = async (output: string): Promise<Record<string, number>> => {
    const counts: Record<string, number> = {}
    for (const { key, value } of await contents(cluster, output)) counts[key as string] = Number(value)
    return counts
  }
  const all = (n: number): Record<string, number> => Object.fromEntries(Array.from({ length: KEYS }, (_, i) => [`k${i}`, n]))

  it('is restored from a changelog with gaps of compaction, transaction after transaction', async () => {
    const group = uniqueName('counts')
    const [input, output, changelog] = [`${group}-in`, `${group}-out`, `${group}-aggregate-changelog`]
    const compacting = {
      'cleanup.policy': 'compact',
      'segment.ms': '200',
      'min.cleanable.dirty.ratio': '0.01',
      'max.compaction.lag.ms': '200',
      'delete.retention.ms': '0',
    }
    await cluster.createTopics([
      { topic: input, partitions: PARTITIONS },
      { topic: output, partitions: PARTITIONS },
      { topic: changelog, partitions: PARTITIONS, config: compacting },
    ])
    const run = async (n: number): Promise<void> => {
      await cluster.produce({ topic: input, records: rows(n) })
      await runUntil(cluster, { group, topics: [input], records: n * KEYS, options: { maxRecords: KEYS, every: 5 } }, counting(output))
    }
    await run(10)
    let total = 10
    // The active segment is never compacted: writing on closes it.
    const left = await until(
      async () => {
        await run(1)
        total++
        const { length } = await contents(cluster, changelog)
        return length < (total - 3) * KEYS ? length : undefined
      },
      { within: 45_000, every: 300, what: 'the changelog to be compacted' },
    )
    expect(left).toBeGreaterThanOrEqual(KEYS)
    await run(1)
    expect(await last(output)).toEqual(all(total + 1))
  })

  it('makes its changelog as it has to be, and refuses one that deletes', async () => {
    const group = uniqueName('made')
    const [input, output] = [`${group}-in`, `${group}-out`]
    await cluster.createTopics([input, output].map((topic) => ({ topic, partitions: PARTITIONS })))
    await cluster.produce({ topic: input, records: rows(1) })
    const run = (name: string): Promise<unknown> =>
      runUntil(cluster, { group, topics: [input], records: KEYS, options: { provision: true } }, (records) =>
        records.pipe(aggregate(count(), { name }), toTopic({ topic: output, value: json() })),
      )
    await run('counts')
    expect((await cluster.topics([`${group}-counts-changelog`])).get(`${group}-counts-changelog`)).toMatchObject({
      partitions: PARTITIONS,
      cleanupPolicy: 'compact',
    })
    await cluster.createTopics([{ topic: `${group}-other-changelog`, partitions: PARTITIONS }])
    await expect(run('other')).rejects.toMatchObject({
      code: 'STATE_MISMATCH',
      message: expect.stringContaining('cleanup.policy=delete') as string,
    })
  })
})

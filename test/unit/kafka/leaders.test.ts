import { describe, expect, it } from 'vitest'
import { KafkaAdmin } from '../../../src/kafka/admin.js'
import type { Cluster } from '../../../src/kafka/cluster.js'
import { Leaders } from '../../../src/kafka/leaders.js'
import type { ListOffsetsRequest } from '../../../src/kafka/protocol/list-offsets.js'
import type { TopicMetadata } from '../../../src/kafka/protocol/metadata.js'

const topic = (leader: number, leaderEpoch: number, error = 0): TopicMetadata => ({
  error,
  topic: 't',
  partitions: error === 0 ? [{ error: 0, partition: 0, leader, leaderEpoch }] : [],
})

describe('the leader of a partition', () => {
  it('is not taken from a broker that has not heard of the latest election', () => {
    const leaders = new Leaders(() => 0)
    leaders.accept(topic(1, 4))
    leaders.accept(topic(2, 5))
    leaders.accept(topic(1, 4))
    expect(leaders.of('t', 0)).toEqual({ node: 2, epoch: 5 })
    // Asked again since it did not answer: better none than one that was deposed.
    leaders.forget({ topic: 't', partition: 0 })
    leaders.accept(topic(1, 4))
    expect(leaders.of('t', 0)).toBeUndefined()
    leaders.accept(topic(3, 6))
    expect(leaders.of('t', 0)).toEqual({ node: 3, epoch: 6 })
  })

  it('is one of a topic made anew where brokers keep telling so, or said that there was none', () => {
    let now = 0
    const leaders = new Leaders(() => now)
    leaders.accept(topic(2, 5))
    leaders.accept(topic(1, 0))
    now = 9_999
    leaders.accept(topic(1, 0))
    expect(leaders.of('t', 0)).toEqual({ node: 2, epoch: 5 })
    now = 10_000
    leaders.accept(topic(1, 0))
    expect(leaders.of('t', 0)).toEqual({ node: 1, epoch: 0 })
    leaders.accept(topic(2, 3))
    leaders.accept(topic(-1, -1, 3))
    leaders.accept(topic(1, 0))
    expect(leaders.of('t', 0)).toEqual({ node: 1, epoch: 0 })
  })
})

describe('the end of a partition', () => {
  it('is that of the leader of now, not of one that was deposed: state is restored up to there', async () => {
    const leaders = new Leaders()
    leaders.accept(topic(1, 4))
    /** The deposed one knows of no election, and of nothing written since. */
    const brokers = new Map([
      [1, { epoch: 4, end: 50 }],
      [2, { epoch: 5, end: 80 }],
    ])
    const cluster = {
      tryMs: 1_000,
      retry: <T>(_options: unknown, attempt: () => Promise<T>) => attempt(),
      refresh: async () => leaders.accept(topic(2, 5)),
      byLeader: async (partitions: readonly unknown[]) => new Map([[leaders.of('t', 0)?.node as number, partitions]]),
      leaderEpoch: () => leaders.of('t', 0)?.epoch ?? -1,
      addressOf: (node: number) => node,
      request: async (node: number, _api: unknown, { partitions }: ListOffsetsRequest) => {
        const { epoch, end } = brokers.get(node) as { epoch: number; end: number }
        return {
          throttleMs: 0,
          results: partitions.map(({ partition, leaderEpoch }) => ({
            topic: 't',
            partition,
            error: leaderEpoch === epoch ? 0 : 74,
            offset: leaderEpoch === epoch ? end : -1,
          })),
        }
      },
    }
    const admin = new KafkaAdmin(cluster as unknown as Cluster)
    expect(await admin.offsets([{ topic: 't', partition: 0 }], 'latest')).toEqual([80])
  })
})

import { describe, expect, it } from 'vitest'
import type { Cluster } from '../../../src/kafka/cluster.js'
import type { Lane } from '../../../src/kafka/lane.js'
import type { ProduceRequest, ProduceResponse } from '../../../src/kafka/protocol/produce.js'
import { Sender } from '../../../src/kafka/sender.js'
import { BatchWriter } from '../../../src/log/batch/write.js'
import { silentLogger } from '../../../src/record/logger.js'

const CONCURRENT_TRANSACTIONS = 51

describe('a sender', () => {
  it('sends what was refused together together again, in one request', async () => {
    const requests: number[] = []
    const lane = {
      async send(_: unknown, __: unknown, { batches }: ProduceRequest): Promise<ProduceResponse> {
        requests.push(batches.length)
        // As a broker that is still writing the markers of the transaction before.
        const error = requests.length <= 3 ? CONCURRENT_TRANSACTIONS : 0
        return { throttleMs: 0, results: batches.map(({ topic, partition }) => ({ topic, partition, error, message: null, offset: 0 })) }
      },
    }
    const cluster = { leader: () => 1, addressOf: () => ({ host: 'h', port: 1 }), forgetLeader() {}, logger: silentLogger }
    const sender = new Sender(cluster as unknown as Cluster, [lane as unknown as Lane], {
      transactionalId: 't',
      compression: 'none',
      deliveryMs: 60_000,
      requestMs: 1_000,
      onSent() {},
      onAcknowledged() {},
      addPartitions: () => Promise.resolve(),
      renew: () => Promise.resolve({ producerId: 2n, producerEpoch: 0 }),
    })
    sender.begin({ producerId: 1n, producerEpoch: 0, protocol: 2 })
    await sender.send(
      Array.from({ length: 100 }, (_, partition) => {
        const writer = new BatchWriter('out', partition, 1_000)
        writer.append(null, 'value', {}, 0)
        return writer.take(true)
      }).flat(),
    )
    expect(requests).toEqual([100, 100, 100, 100])
  })
})

import { setImmediate } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { Cluster, type ClusterSettings } from '../../../src/kafka/cluster.js'
import { silentLogger } from '../../../src/record/logger.js'

describe('the end of a cluster', () => {
  it('is listened to by as many connections as are being made at once, without a warning', async () => {
    const warnings: string[] = []
    const note = ({ name }: Error): void => void warnings.push(name)
    process.on('warning', note)
    try {
      const cluster = new Cluster({ brokers: ['127.0.0.1:1'], requestTimeoutMs: 1_000, logger: silentLogger } as unknown as ClusterSettings)
      for (let i = 0; i < 100; i++) cluster.signal.addEventListener('abort', () => {})
      await setImmediate()
      cluster.close()
    } finally {
      process.off('warning', note)
    }
    expect(warnings).toEqual([])
  })
})

import { afterAll, describe, expect, inject, it } from 'vitest'
import { readPartition } from '../../contract/support.js'
import { observe } from '../../support/kafka/client.js'
import { client } from './support.js'

const NANOSECONDS = 1_755_933_141_855_875_000

describe('timestamps in nanoseconds', () => {
  const brokers = inject('kafkaBrokers')
  const observer = observe(brokers)
  const log = client(brokers)
  afterAll(async () => {
    await log.close()
    await observer.close()
  })

  it('do not count where the topic says LogAppendTime', async () => {
    const topic = await observer.createTopic({ config: { 'message.timestamp.type': 'LogAppendTime' } })
    const before = Date.now()
    await observer.produce(topic, [{ value: 'a', timestamp: NANOSECONDS }, { value: 'b' }])
    const { records } = await readPartition(log, topic, 0)
    expect(records.map(({ value }) => String(value))).toEqual(['a', 'b'])
    for (const { timestamp } of records) expect(timestamp - before).toBeLessThan(600_000)
  })
})

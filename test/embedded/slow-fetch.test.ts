import { expect, it } from 'vitest'
import { toTopic, withTransaction } from '../../src/index.js'
import { createTestKit } from '../../src/testing/index.js'

it('each fetch of a slow log takes its time, and then has its records', async () => {
  const kit = await createTestKit({ topics: { in: {}, out: {} } })
  kit.broker.faults.inject({ at: 'fetch', of: 'in', delayMs: 5_000, times: Number.POSITIVE_INFINITY })
  kit.run(kit.cluster.source({ group: 'g', topics: ['in'] }).pipe(withTransaction((records) => records.pipe(toTopic({ topic: 'out' })))))
  for (const value of ['a', 'b']) {
    await kit.feed('in', { value })
    await kit.advance('4s')
    expect(await kit.read('out')).toEqual([])
    await kit.advance('2s')
    expect(await kit.read('out')).toMatchObject([{ value }])
  }
  await kit.stop()
})

import { defer, map, mergeMap, retry } from 'rxjs'
import { expect, it } from 'vitest'
import { toTopic, withTransaction } from '../../src/index.js'
import { createTestKit } from '../../src/testing/index.js'

it('asks again after a minute, and commits only then', async () => {
  const kit = await createTestKit({ topics: { orders: {}, prices: {} }, start: new Date('2026-03-01T12:00:00Z') })
  let calls = 0
  const price = async (order: string): Promise<string> => {
    if (++calls < 3) throw new Error('the price service is down')
    return `${order} costs 5`
  }
  kit.run(
    kit.cluster.source({ group: 'pricing', topics: ['orders'] }).pipe(
      withTransaction(
        (orders) =>
          orders.pipe(
            mergeMap((order) =>
              defer(() => price(String(order.value))).pipe(
                retry({ delay: 60_000 }), // RxJS's time goes by the kit's clock wherever a pipeline of the kit calls it
                map((value) => order.with({ value })),
              ),
            ),
            toTopic({ topic: 'prices' }),
          ),
        { stallAfter: '5m' },
      ),
    ),
  )
  await kit.feed('orders', { key: 'a', value: 'o1' })
  await kit.advance('1m')
  expect(calls).toBe(2)
  expect(await kit.read('prices')).toEqual([])
  await kit.advance('2m')
  expect(await kit.read('prices')).toMatchObject([{ key: 'a', value: 'o1 costs 5' }])
  await kit.stop()
})

import { filter } from 'rxjs'
import { expect, it } from 'vitest'
import { z } from 'zod'
import { decode, dropFailed, json, mapValue, toTopic, withTransaction, type Cluster } from '../../src/index.js'
import { createTestKit } from '../../src/testing/index.js'

const Order = z.object({ id: z.string(), amount: z.number(), country: z.string() })

const billing = (cluster: Cluster) =>
  cluster.source({ group: 'billing', topics: ['orders'] }).pipe(
    withTransaction((orders) =>
      orders.pipe(
        decode(Order),
        dropFailed(),
        filter((order) => order.value.amount > 0),
        mapValue((order) => ({ ...order, vat: order.amount * 0.2 })),
        toTopic({ topic: 'invoices', value: json() }),
      ),
    ),
  )

it('the example of the README', async () => {
  const kit = await createTestKit({ topics: { orders: { partitions: 2 }, invoices: {} } })
  kit.run(billing(kit.cluster)) // your pipeline, a function of the cluster
  await kit.feed('orders', { key: 'a', value: '{"id":"a","amount":3,"country":"DE"}' })
  await kit.advance('1h') // virtual time: hours pass in a moment, RxJS's own time included
  expect(await kit.read('invoices')).toMatchObject([{ key: 'a' }])
  await kit.stop()
})

import { filter } from 'rxjs'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { z } from 'zod'
import { decode, dropFailed, json, mapValue, string, toTopic, withTransaction, type Cluster } from '../../src/index.js'
import { createTestKit, type TestKit } from '../../src/testing/index.js'

// The pipeline under test: a function of the cluster, so that production gives it kafka(...) and a test the kit's.
const Order = z.object({ id: z.string(), amount: z.number() })
type Order = z.infer<typeof Order>
interface Invoice {
  readonly order: string
  readonly total: number
}

const billing = (cluster: Cluster) =>
  cluster.source({ group: 'billing', topics: ['orders'] }).pipe(
    withTransaction((orders) =>
      orders.pipe(
        decode(Order),
        dropFailed(),
        filter((order) => order.value.amount > 0),
        mapValue(({ id, amount }): Invoice => ({ order: id, total: amount * 1.19 })),
        toTopic({ topic: 'invoices', value: json() }),
      ),
    ),
  )

const topics = { orders: { partitions: 4, value: json<Order>() }, invoices: { value: json<Invoice>() } }
let kit: TestKit<typeof topics>

beforeEach(async () => {
  kit = await createTestKit({ topics })
})
afterEach(() => kit.stop())

it('bills orders, and nothing below a cent', async () => {
  const running = kit.run(billing(kit.cluster))
  await kit.feed('orders', [
    { key: 'ada', value: { id: 'o1', amount: 100 } },
    { key: 'ada', value: { id: 'o2', amount: 0 } },
  ])
  await kit.advance('100ms') // the default of `every`
  expect(await kit.read('invoices')).toMatchObject([{ key: 'ada', value: { order: 'o1', total: 119 } }])
  expect(running.commits).toMatchObject([{ records: 2, processed: 1, filtered: 1, outputs: 1 }])
})

it('counts what it cannot read, and goes on', async () => {
  const running = kit.run(billing(kit.cluster))
  await kit.feed('orders', { value: 'not JSON' }, { value: string() })
  await kit.advance('1s')
  expect(await kit.read('invoices')).toEqual([])
  expect(running.commits).toMatchObject([{ records: 1, failed: 1 }])
})

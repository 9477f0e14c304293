import { afterEach, beforeEach, expect, it } from 'vitest'
import { z } from 'zod'
import { attempt, deadLetter, decode, json, readFailure, retryTopic, toTopic, withTransaction, type Cluster } from '../../src/index.js'
import { createTestKit, type TestKit } from '../../src/testing/index.js'

const Order = z.object({ id: z.string(), card: z.string() })

class CardDeclined extends Error {}

/** The service that is called: up or down, and with an opinion on cards. */
let serviceUp = true
const charge = async (order: z.infer<typeof Order>, idempotencyKey: string): Promise<{ receipt: string }> => {
  if (!serviceUp) throw Object.assign(new Error('connection refused'), { code: 'ECONNREFUSED' })
  if (order.card === 'stolen') throw new CardDeclined('the card was reported stolen')
  return { receipt: idempotencyKey }
}

const billing = (cluster: Cluster) =>
  cluster.source({ group: 'billing', topics: ['orders'] }).pipe(
    withTransaction(
      (orders) =>
        orders.pipe(
          decode(Order), //                                              not JSON, or no order: a FailedRecord
          // A hiccup: again, in place; but a declined card is charged once.
          attempt((order) => charge(order.value, order.id), { timeout: '5s', retry: { times: 2, except: CardDeclined } }),
          retryTopic({ delays: ['10s', '5m'] }), //                      down for longer: again later, while others go on
          deadLetter({ topic: 'orders.dead' }), //                       for good: stored, with its bytes and why
          toTopic({ topic: 'receipts', value: json() }),
        ),
      { provision: true },
    ),
  )

const topics = { orders: { partitions: 2 }, receipts: { value: json<{ receipt: string }>() }, 'orders.dead': { partitions: 2 } }
let kit: TestKit<typeof topics>

beforeEach(async () => {
  serviceUp = true
  kit = await createTestKit({ topics })
})
afterEach(() => kit.stop())

const why = async () =>
  (await kit.read('orders.dead'))
    .map(({ headers }) => readFailure(headers))
    .map((failure) => [failure?.step, failure?.error, failure?.attempts])

it('what is no order goes to the dead letters at once: time does not change it', async () => {
  kit.run(billing(kit.cluster))
  await kit.feed('orders', [{ value: 'not JSON' }, { value: '{"id":"a","card":"visa"}' }])
  await kit.advance('1s')
  expect(await kit.read('receipts')).toHaveLength(1)
  expect(await why()).toEqual([['decode', 'MillraceError', 1]])
})

it('an order that is refused goes there too: the service has spoken', async () => {
  kit.run(billing(kit.cluster))
  await kit.feed('orders', { value: '{"id":"a","card":"stolen"}' })
  await kit.advance('10s')
  expect(await why()).toEqual([['attempt', 'CardDeclined', 1]])
})

it('while the service is down orders wait in the retry topics, and are charged when it is back', async () => {
  kit.run(billing(kit.cluster))
  serviceUp = false
  await kit.feed('orders', [{ key: 'ada', value: '{"id":"a","card":"visa"}' }])
  await kit.advance('2s')
  expect(await kit.read('orders.billing.retry.10s')).toMatchObject([{ key: 'ada', value: '{"id":"a","card":"visa"}' }])
  serviceUp = true
  await kit.advance('15s')
  expect(await kit.read('receipts')).toMatchObject([
    { key: 'ada', value: { receipt: expect.stringMatching(/^orders\/[01]\/0$/) as string } },
  ])
  expect(await why()).toEqual([])
})

it('if it never comes back they end as dead letters, all tries counted', async () => {
  kit.run(billing(kit.cluster))
  serviceUp = false
  await kit.feed('orders', { value: '{"id":"a","card":"visa"}' })
  await kit.advance('10m')
  expect(await why()).toEqual([['attempt', 'Error', 9]]) // three in place, on each of three attempts
})

import { z } from 'zod'
import { attempt, circuitBreaker, deadLetter, decode, json, toTopic, withTransaction, type Cluster } from '../../../src/index.js'

const Order = z.object({ item: z.string() })

class UnknownItem extends Error {}
const priceOf = async (item: string, _options: { idempotencyKey: string; signal: AbortSignal }): Promise<number> => {
  if (item !== 'lamp') throw new UnknownItem(`no '${item}' in the list`)
  return 100
}

export const pipeline = (cluster: Cluster) =>
  cluster.source({ group: 'pricing', topics: ['orders'] }).pipe(
    withTransaction(
      (orders) =>
        orders.pipe(
          decode(Order),
          attempt(
            async (order, { signal }) => ({
              ...order.value,
              price: await priceOf(order.value.item, { idempotencyKey: order.id, signal }),
            }),
            { step: 'price', concurrency: 32, timeout: '5s', retry: { times: 3, except: UnknownItem }, breaker: circuitBreaker() },
          ),
          deadLetter({ topic: 'orders.dead' }),
          toTopic({ topic: 'priced', value: json() }),
        ),
      { provision: true },
    ),
  )

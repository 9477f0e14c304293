import { map } from 'rxjs'
import { z } from 'zod'
import { decode, dropFailed, json, toTopic, withTransaction, type Cluster } from '../../../src/index.js'

const Order = z.object({ id: z.string(), customer: z.string(), rush: z.boolean() })

export const pipeline = (cluster: Cluster) =>
  cluster.source({ group: 'dispatch', topics: ['orders'] }).pipe(
    withTransaction((orders) =>
      orders.pipe(
        toTopic({ topic: 'orders-archive' }), // byte for byte
        decode(Order),
        dropFailed(),
        map((order) => order.with({ key: order.value.customer })),
        toTopic({
          topic: (order) => (order.value.rush ? 'rush' : 'normal'),
          topics: ['rush', 'normal'],
          value: json(),
          headers: (order) => ({ 'order-id': order.value.id }),
        }),
      ),
    ),
  )

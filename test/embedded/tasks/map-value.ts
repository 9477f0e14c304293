import { filter } from 'rxjs'
import { z } from 'zod'
import { decode, dropFailed, json, mapValue, toTopic, withTransaction, type Cluster } from '../../../src/index.js'

const Order = z.object({ id: z.string(), amount: z.number() })

export const pipeline = (cluster: Cluster) =>
  cluster.source({ group: 'vat', topics: ['orders'] }).pipe(
    withTransaction((orders) =>
      orders.pipe(
        decode(Order),
        dropFailed({ tap: (failed) => console.warn(failed.record.id, failed.error.message) }),
        filter((order) => order.value.amount > 0),
        mapValue((order) => ({ ...order, vat: order.amount * 0.2 })),
        toTopic({ topic: 'orders-with-vat', value: json() }),
      ),
    ),
  )

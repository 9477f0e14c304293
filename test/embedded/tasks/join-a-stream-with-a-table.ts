import { z } from 'zod'
import { decode, dropFailed, joinTable, json, table, toTopic, withTransaction, type Cluster } from '../../../src/index.js'

const Order = z.object({ id: z.string(), amount: z.number() })
const Customer = z.object({ name: z.string(), city: z.string() })

const customers = table({ topic: 'customers', value: Customer })

export const pipeline = (cluster: Cluster) =>
  cluster
    .source({ group: 'enrichment', topics: ['orders'] })
    .pipe(
      withTransaction((orders) =>
        orders.pipe(
          decode(Order),
          dropFailed(),
          joinTable(customers, { kind: 'left', join: (order, customer) => ({ ...order.value, city: customer?.city ?? 'unknown' }) }),
          toTopic({ topic: 'orders-by-city', value: json() }),
        ),
      ),
    )

import { z } from 'zod'
import { aggregate, decode, dropFailed, json, repartition, sum, toTopic, withTransaction, type Cluster } from '../../../src/index.js'

const Order = z.object({ customer: z.string(), amount: z.number() })

export const pipeline = (cluster: Cluster) =>
  cluster
    .source({ group: 'spending', topics: ['orders'] })
    .pipe(
      withTransaction(
        (orders) =>
          orders.pipe(
            decode(Order),
            dropFailed(),
            repartition({ key: (order) => order.value.customer, value: json() }),
            aggregate(sum((order) => order.value.amount)),
            toTopic({ topic: 'spent', value: json() }),
          ),
        { provision: true },
      ),
    )

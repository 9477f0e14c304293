import { filter } from 'rxjs'
import { joinStream, json, toTopic, withTransaction, type Cluster } from '../../../src/index.js'

export const pipeline = (cluster: Cluster) =>
  cluster.source({ group: 'settling', topics: ['orders', 'payments'] }).pipe(
    withTransaction(
      (records) => {
        const orders = records.pipe(filter((record) => record.origin.topic === 'orders'))
        const payments = records.pipe(filter((record) => record.origin.topic === 'payments'))
        return orders.pipe(
          joinStream(payments, {
            within: '5m',
            kind: 'left',
            join: (order, payment) => ({ order: String(order.value), paid: payment === undefined ? 0 : Number(payment.value) }),
          }),
          toTopic({ topic: 'settled', value: json() }),
        )
      },
      { provision: true },
    ),
  )

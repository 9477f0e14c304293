// Orders with the city of their customer: a stream joined with a table.
import { decode, dropFailed, joinTable, json, table, toTopic, withTransaction } from 'millrace'
import { z } from 'zod'
import { example } from './example.js'

const Order = z.object({ id: z.string(), amount: z.number() })
const Customer = z.object({ name: z.string(), city: z.string() })

const { cluster, group, topics, fill, until, show } = await example('enrichment', ['orders', 'customers', 'orders-by-city'])

await fill('customers', [
  { key: 'c1', value: { name: 'Ada', city: 'London' } },
  { key: 'c2', value: { name: 'Blaise', city: 'Rouen' } },
  { key: 'c2', value: { name: 'Blaise', city: 'Paris' } },
])
await fill('orders', [
  { key: 'c1', value: { id: 'o1', amount: 10 } },
  { key: 'c2', value: { id: 'o2', amount: 20 } },
  { key: 'c9', value: { id: 'o3', amount: 30 } },
])

const customers = table({ topic: topics.customers, value: Customer })

await until(
  3,
  cluster.source({ group, topics: [topics.orders] }).pipe(
    withTransaction((orders) =>
      orders.pipe(
        decode(Order),
        dropFailed(),
        // The record is the first argument here, not its value; 'left' keeps orders of unknown customers.
        joinTable(customers, { kind: 'left', join: (order, customer) => ({ ...order.value, city: customer?.city ?? 'unknown' }) }),
        toTopic({ topic: topics['orders-by-city'], value: json() }),
      ),
    ),
  ),
)
await show('orders-by-city')
await cluster.close()

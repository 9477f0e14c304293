// An order becomes one record for each of its items, each routed to the topic of its warehouse.
import { concatMap } from 'rxjs'
import { decode, dropFailed, json, route, withTransaction } from 'millrace'
import { z } from 'zod'
import { example } from './example.js'

const Order = z.object({ items: z.array(z.object({ sku: z.string(), warehouse: z.string() })) })

const { cluster, group, topics, fill, until, show } = await example('fan-out', ['orders', 'north', 'south', 'elsewhere'])

await fill('orders', [
  {
    key: 'o1',
    value: {
      items: [
        { sku: 'lamp', warehouse: 'north' },
        { sku: 'rug', warehouse: 'south' },
      ],
    },
  },
  { key: 'o2', value: { items: [{ sku: 'desk', warehouse: 'moon' }] } },
  { key: 'o3', value: { items: [] } },
])

await until(
  3,
  cluster.source({ group, topics: [topics.orders] }).pipe(
    withTransaction((orders) =>
      orders.pipe(
        decode(Order),
        dropFailed(),
        // Derived with `with`, each item keeps the origin of its order.
        concatMap((order) => order.value.items.map((item) => order.with({ value: item }))),
        route({
          to: (item) => item.value.warehouse,
          topics: { north: topics.north, south: topics.south },
          fallback: topics.elsewhere,
          value: json(),
        }),
      ),
    ),
  ),
)
for (const name of ['north', 'south', 'elsewhere'] as const) await show(name)
await cluster.close()

// Webhooks that are delivered more than once: each is handled once, also over restarts, and the others are counted.
import { dedupe, header, toTopic, withTransaction } from 'millrace'
import { map } from 'rxjs'
import { example } from './example.js'

const { cluster, group, topics, fill, until, show } = await example('webhooks', ['webhooks', 'events', 'deliveries-again'])

await fill('webhooks', [
  { key: 'shop-1', value: 'order.created', headers: { 'webhook-id': 'w-1' } },
  { key: 'shop-1', value: 'order.paid', headers: { 'webhook-id': 'w-2' } },
  { key: 'shop-1', value: 'order.created', headers: { 'webhook-id': 'w-1' } },
  { key: 'shop-2', value: 'order.created', headers: { 'webhook-id': 'w-3' } },
  { key: 'shop-2', value: 'order.created', headers: { 'webhook-id': 'w-3' } },
])

await until(
  5,
  cluster.source({ group, topics: [topics.webhooks] }).pipe(
    withTransaction(
      (webhooks) =>
        webhooks.pipe(
          dedupe({
            by: header('webhook-id'),
            within: '1d',
            // All deliveries of a webhook are in one partition: they have the key of their shop.
            partitioned: true,
            onDuplicate: (again) =>
              again.pipe(
                map(({ record }) => record),
                toTopic({ topic: topics['deliveries-again'] }),
              ),
          }),
          toTopic({ topic: topics.events }),
        ),
      { provision: true },
    ),
  ),
)
await show('events')
await show('deliveries-again')
await cluster.close()

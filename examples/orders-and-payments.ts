// Orders with their payment, which comes within five minutes or not at all: two streams joined.
import { filter, type Observable } from 'rxjs'
import { joinStream, json, toTopic, withTransaction, type RawRecord } from 'millrace'
import { example } from './example.js'

const { cluster, group, topics, fill, until, show } = await example('orders-and-payments', ['orders', 'payments', 'settled'], 1)

const at = (time: string): number => Date.parse(`2026-01-01T12:${time}Z`)
await fill('orders', [
  { key: 'o1', value: 'lamp', timestamp: at('00:00') },
  { key: 'o2', value: 'rug', timestamp: at('01:00') },
  { key: 'o3', value: 'desk', timestamp: at('02:00') },
  { key: 'clock', value: '', timestamp: at('30:00') },
])
await fill('payments', [
  { key: 'o3', value: '300', timestamp: at('01:30') },
  { key: 'o1', value: '100', timestamp: at('03:00') },
  { key: 'o2', value: '200', timestamp: at('09:00') },
])

await until(
  7,
  cluster.source({ group, topics: [topics.orders, topics.payments] }).pipe(
    withTransaction(
      (records) => {
        const from = (topic: string): Observable<RawRecord> => records.pipe(filter((record) => record.origin.topic === topic))
        return from(topics.orders).pipe(
          joinStream(from(topics.payments), {
            within: '5m',
            kind: 'left',
            join: (order, payment) => ({ order: String(order.value), cents: payment === undefined ? 'unpaid' : Number(payment.value) }),
          }),
          filter(({ key }) => String(key) !== 'clock'),
          toTopic({ topic: topics.settled, value: json() }),
        )
      },
      { provision: true },
    ),
  ),
)
await show('settled')
await cluster.close()

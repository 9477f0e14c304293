// Payments through a service that is sometimes down: tried again later, given up into a dead-letter topic, sent back once it is mended.
import { attempt, deadLetter, decode, json, redrive, retryTopic, toTopic, withTransaction } from 'millrace'
import { z } from 'zod'
import { example } from './example.js'

const Payment = z.object({ id: z.string(), cents: z.number().int() })
class CardDeclined extends Error {}

const { cluster, group, topics, fill, until, show } = await example('payments', ['payments', 'paid', 'payments-dead'])

let mended = false
const calls = new Map<string, number>()
/** The idempotency key is the record's id: the same each time the record comes again, so that nobody is charged twice. */
async function charge({ id, cents }: z.infer<typeof Payment>, idempotencyKey: string): Promise<void> {
  calls.set(idempotencyKey, (calls.get(idempotencyKey) ?? 0) + 1)
  if (id === 'declined') throw new CardDeclined('no')
  if (id === 'slow' && calls.get(idempotencyKey) === 1) throw new Error('the service is busy')
  if (cents > 1_000 && !mended) throw new Error('the service cannot do large amounts')
}

const pipeline = cluster.source({ group, topics: [topics.payments] }).pipe(
  withTransaction(
    (payments) =>
      payments.pipe(
        decode(Payment),
        attempt(async (payment) => void (await charge(payment.value, payment.id))),
        retryTopic({ delays: ['100ms'], except: CardDeclined }),
        deadLetter({ topic: topics['payments-dead'] }),
        toTopic({ topic: topics.paid, value: json() }),
      ),
    { provision: true },
  ),
)

await fill('payments', [
  { key: 'a', value: { id: 'plain', cents: 100 } },
  { key: 'b', value: { id: 'slow', cents: 200 } },
  { key: 'c', value: { id: 'declined', cents: 300 } },
  { key: 'd', value: { id: 'large', cents: 5_000 } },
  { key: 'e', value: 'no JSON' },
])
// Five payments, of which two come a second time.
await until(7, pipeline)
await show('paid')
await show('payments-dead')

// What could not be read stays where it is.
mended = true
const { sent } = await redrive(cluster, { from: topics['payments-dead'], filter: { step: 'attempt' } })
console.log(`sent back: ${sent}`)
await until(sent, pipeline)
await show('paid')
await cluster.close()

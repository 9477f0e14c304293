// Calls an HTTP service for each record with an idempotency key, so that a call made twice takes effect once, until SIGTERM.
import { lastValueFrom } from 'rxjs'
import { attempt, deadLetter, json, kafka, retryTopic, shutdownSignal, toTopic, withTransaction } from 'millrace'

const {
  KAFKA_BROKERS = 'localhost:9092',
  INPUT_TOPIC = 'orders',
  OUTPUT_TOPIC = 'receipts',
  GROUP_ID = 'billing',
  SERVICE_URL = 'http://localhost:8080/charges',
  INSTANCE_ID,
  COMMIT_MS = '100',
} = process.env

/** What the service has understood and refuses, which no repetition changes. */
class Refused extends Error {}

const charge = async (body: string, idempotencyKey: string, signal: AbortSignal): Promise<unknown> => {
  const response = await fetch(SERVICE_URL, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'idempotency-key': idempotencyKey },
    body,
    signal,
  })
  if (response.ok) return response.json()
  const text = `${response.status}: ${await response.text()}`
  // 409: the same key is being worked on; 429 and 5xx pass too.
  throw response.status === 409 || response.status === 429 || response.status >= 500 ? new Error(text) : new Refused(text)
}

const cluster = kafka({ brokers: KAFKA_BROKERS.split(',') })

const instance = INSTANCE_ID === undefined ? {} : { instanceId: INSTANCE_ID }
const commits = cluster.source({ group: GROUP_ID, topics: [INPUT_TOPIC], signal: shutdownSignal(), ...instance }).pipe(
  withTransaction(
    (orders) =>
      orders.pipe(
        attempt(
          // Who calls, and for which record: the same over retries, redrives and restarts.
          (order, { signal }) => charge(String(order.value), `${GROUP_ID}/charge/${order.id}`, signal),
          { timeout: '5s', retry: { times: 3, except: Refused } },
        ),
        retryTopic({ delays: ['1s', '1m'] }),
        deadLetter({ topic: `${INPUT_TOPIC}.dead` }),
        toTopic({ topic: OUTPUT_TOPIC, value: json() }),
      ),
    { every: Number(COMMIT_MS), provision: true },
  ),
)

await lastValueFrom(commits, { defaultValue: undefined })
await cluster.close()

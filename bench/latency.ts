/**
 * How long after it was produced a record is committed, at a steady rate: `npm run bench:latency -- --rate=5000 --seconds=20 --commit=100,10
 * --json`. The rate is kept whatever the pipeline does, so that waiting in the topic counts.
 */
import { parseArgs } from 'node:util'
import { tap } from 'rxjs'
import { kafka, toTopic, withTransaction } from 'millrace'
import { startKafka } from '../test/support/kafka/broker.js'
import { percentile } from './compare/median.js'

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    rate: { type: 'string', default: '5000' },
    seconds: { type: 'string', default: '20' },
    commit: { type: 'string', default: '100' },
  },
})
const rate = Number(values.rate)
const total = rate * Number(values.seconds)
const TICK_MS = 10

const server = process.env.KAFKA_BROKERS ? undefined : await startKafka()
const brokers = server?.brokers ?? (process.env.KAFKA_BROKERS as string).split(',')
const cluster = kafka({ brokers })

async function measure(commitMs: number): Promise<Record<string, number>> {
  const [input, output] = [`latency-in-${Date.now()}`, `latency-out-${Date.now()}`]
  await cluster.createTopics([input, output].map((topic) => ({ topic, partitions: 4 })))

  const latencies: number[] = []
  const inSlice: number[] = []
  let committed = 0
  const stop = new AbortController()
  const finished = new Promise<void>((resolve, reject) => {
    cluster
      .source({ group: input, topics: [input], signal: stop.signal })
      .pipe(
        withTransaction(
          (records) =>
            records.pipe(
              tap((record) => inSlice.push(record.timestamp)),
              toTopic({ topic: output }),
            ),
          { every: commitMs },
        ),
      )
      .subscribe({
        next: (commit) => {
          const now = Date.now()
          // The next round may have begun: what it took in is not committed yet.
          const done = inSlice.splice(0, commit.records)
          // The first second warms up: joining, first metadata, compilation.
          if (committed > rate) for (const producedAt of done) latencies.push(now - producedAt)
          committed += commit.records
          if (committed >= total) stop.abort()
        },
        error: reject,
        complete: resolve,
      })
  })

  const began = performance.now()
  const value = 'x'.repeat(100)
  async function* steady(): AsyncGenerator<{ key: string; value: string }[]> {
    for (let sent = 0; sent < total;) {
      const due = Math.min(total, Math.floor(((performance.now() - began) / 1000) * rate))
      if (due > sent) {
        yield Array.from({ length: due - sent }, (_, i) => ({ key: `k${(sent + i) % 1000}`, value }))
        sent = due
      }
      await new Promise((resolve) => setTimeout(resolve, TICK_MS))
    }
  }
  for await (const records of steady()) await cluster.produce({ topic: input, records })
  await finished
  return {
    rate,
    records: latencies.length,
    commitMs,
    p50: percentile(latencies, 50),
    p99: percentile(latencies, 99),
    max: percentile(latencies, 100),
  }
}

const results: Record<string, number>[] = []
for (const commit of values.commit.split(',')) results.push(await measure(Number(commit)))
await cluster.close()
await server?.stop()
if (values.json) console.log(JSON.stringify(results))
else console.table(results)

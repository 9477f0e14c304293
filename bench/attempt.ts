/**
 * How many records a second go through a step that waits, against what so many calls at once allow: `npm run bench:attempt -- --json`.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { takeWhile } from 'rxjs'
import { attempt, dropFailed, embedded, kafka, silentLogger, toTopic, withTransaction, type Cluster } from 'millrace'
import { startKafka } from '../test/support/kafka/broker.js'

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    ms: { type: 'string', default: '1,10,100,300,2000' },
    concurrency: { type: 'string', default: '64' },
    /** Measured for so long, after as long a time to find its pace. */
    seconds: { type: 'string', default: '20' },
    on: { type: 'string', default: 'embedded,kafka' },
  },
})
const PARTITIONS = 4
const concurrency = Number(values.concurrency)
const say = (text: string): void => void process.stderr.write(`${text}\n`)

/** The same calls, as many at once, with nothing around them: what a timer costs and how late it fires bounds the rest. */
async function plainLoop(ms: number): Promise<number> {
  const began = performance.now()
  const until = began + Math.max(3_000, 3 * ms)
  let calls = 0
  const one = async (): Promise<void> => {
    while (performance.now() < until) {
      await pause(ms)
      calls++
    }
  }
  await Promise.all(Array.from({ length: PARTITIONS * concurrency }, one))
  return (calls * 1_000) / (performance.now() - began)
}

async function measure(cluster: Cluster, on: string, ms: number): Promise<Record<string, unknown>> {
  const name = `attempt-${ms}-${Date.now()}`
  await cluster.createTopics([`${name}-in`, `${name}-out`].map((topic) => ({ topic, partitions: PARTITIONS })))
  const possible = (PARTITIONS * concurrency * 1_000) / ms
  const seconds = Math.max(Number(values.seconds), (8 * ms) / 1_000)
  // At 1 ms the calls themselves are more work than one core does.
  const count = Math.ceil(Math.min(possible, 150_000) * seconds * 2.5)
  let left = count
  const records = (function* () {
    for (let i = 0; i < count; i++) yield { partition: i % PARTITIONS, value: 'x' }
  })()
  await cluster.produce({ topic: `${name}-in`, records })
  const began = performance.now()
  const marks: { readonly at: number; readonly records: number }[] = []
  await new Promise<void>((resolve, reject) => {
    cluster
      .source({ group: name, topics: [`${name}-in`] })
      .pipe(
        withTransaction((stream) =>
          stream.pipe(
            attempt(() => pause(ms), { concurrency }),
            dropFailed(),
            toTopic({ topic: `${name}-out` }),
          ),
        ),
        takeWhile(({ records }) => {
          marks.push({ at: performance.now() - began, records })
          left -= records
          return left > 0 && performance.now() - began < seconds * 2_000
        }, true),
      )
      .subscribe({ error: reject, complete: resolve })
  })
  const first = marks.findIndex(({ at }) => at > Math.min(seconds * 1_000, (marks.at(-1)?.at ?? 0) / 2))
  const counted = marks.slice(first + 1)
  const elapsed = ((counted.at(-1)?.at ?? 0) - (marks[first]?.at ?? 0)) / 1_000
  const rate = counted.reduce((sum, { records }) => sum + records, 0) / elapsed
  const alone = await plainLoop(ms)
  const row = {
    on,
    ms,
    recordsPerSecond: Math.round(rate),
    possible: Math.round(possible),
    share: Number((rate / possible).toFixed(2)),
    plainLoop: Math.round(alone),
    shareOfPlainLoop: Number((rate / alone).toFixed(2)),
    commits: counted.length,
  }
  say(JSON.stringify(row))
  return row
}

const rows: Record<string, unknown>[] = []
for (const on of values.on.split(',')) {
  const server = on === 'kafka' ? await startKafka() : undefined
  const cluster = server === undefined ? embedded() : kafka({ brokers: server.brokers, logger: silentLogger })
  try {
    for (const ms of values.ms.split(',')) rows.push(await measure(cluster, on, Number(ms)))
  } finally {
    await cluster.close()
    await server?.stop()
  }
}
if (values.json) console.log(JSON.stringify(rows))
else console.table(rows)

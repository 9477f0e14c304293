/**
 * How late records are passed on that wait for a time of their own, while others go through at full speed: `npm run bench:delay --
 * --due=1000 --seconds=15 --json`.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { lastValueFrom, partition, merge, tap } from 'rxjs'
import { delayUntil, kafka, silentLogger, toTopic, withTransaction, type RawRecord } from 'millrace'
import { startKafka } from '../test/support/kafka/broker.js'
import { percentile } from './compare/median.js'

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    due: { type: 'string', default: '1000' },
    load: { type: 'string', default: '20000' },
    seconds: { type: 'string', default: '15' },
    partitions: { type: 'string', default: '4' },
  },
})
const [rate, load, seconds, partitions] = [values.due, values.load, values.seconds, values.partitions].map(Number) as [
  number,
  number,
  number,
  number,
]
const AHEAD_MS = 3_000

const server = process.env['KAFKA_BROKERS'] ? undefined : await startKafka()
const cluster = kafka({ brokers: server?.brokers ?? (process.env['KAFKA_BROKERS'] as string).split(','), logger: silentLogger })
const name = `delay-${Date.now()}`
await cluster.createTopics([
  { topic: name, partitions },
  { topic: `${name}-out`, partitions },
])

const late: number[] = []
const others = { passed: 0 }
const total = rate * seconds
const stop = new AbortController()
const isDelayed = ({ value }: RawRecord): boolean => value?.[0] === 64
const running = lastValueFrom(
  cluster.source({ group: name, topics: [name], signal: stop.signal }).pipe(
    withTransaction(
      (records) => {
        const [delayed, quick] = partition(records, isDelayed)
        return merge(
          delayed.pipe(
            delayUntil(({ value }) => Number(String(value).slice(1))),
            tap(({ value }) => {
              late.push(Date.now() - Number(String(value).slice(1)))
              if (late.length >= total) stop.abort()
            }),
          ),
          quick.pipe(tap(() => others.passed++)),
        ).pipe(toTopic({ topic: `${name}-out` }))
      },
      { provision: true },
    ),
  ),
  { defaultValue: undefined },
)

const began = performance.now()
let sent = 0
let sentOthers = 0
const filler = 'x'.repeat(100)
while (sent < total) {
  const elapsed = (performance.now() - began) / 1_000
  const [due, dueOthers] = [Math.min(total, Math.floor(elapsed * rate)), Math.floor(elapsed * load)]
  const at = Date.now() + AHEAD_MS
  await cluster.produce({
    topic: name,
    records: [
      ...Array.from({ length: due - sent }, (_, i) => ({ value: `@${at + i}`, partition: (sent + i) % partitions })),
      ...Array.from({ length: dueOthers - sentOthers }, (_, i) => ({ value: filler, partition: i % partitions })),
    ],
  })
  ;[sent, sentOthers] = [due, dueOthers]
  await pause(10)
}
await running
await cluster.close()
await server?.stop()

// The first second warms up: joining, first metadata, compilation.
const measured = late.slice(rate)
const result = {
  duePerSecond: rate,
  othersPerSecond: Math.round(others.passed / ((performance.now() - began) / 1_000)),
  records: measured.length,
  p50: percentile(measured, 50),
  p99: percentile(measured, 99),
  max: percentile(measured, 100),
  early: measured.filter((ms) => ms < 0).length,
}
if (values.json) console.log(JSON.stringify(result))
else console.table([result])

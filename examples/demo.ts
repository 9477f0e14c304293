/**
 * The main job: 20,000 real flight records go through a topic, are checked with zod, filtered, transformed and written, exactly
 * once. Runs on the embedded broker, or on Kafka with KAFKA_BROKERS=host:port. At the end the result is computed again from the
 * input file, without millrace, and compared. `--json` prints it for machines.
 */
import { readFileSync } from 'node:fs'
import { filter, lastValueFrom, scan, takeWhile, tap } from 'rxjs'
import { z } from 'zod'
import { decode, describe, dropFailed, embedded, json, kafka, mapValue, toTopic, withTransaction } from 'millrace'

const LATE_MINUTES = 15
const Flight = z.object({
  date: z.string().regex(/^\d{4}\/\d\d\/\d\d \d\d:\d\d$/),
  delay: z.number().int().max(300, 'more than five hours late is taken for a mistake'),
  distance: z.number().positive(),
  origin: z.string().length(3),
  destination: z.string().length(3),
})

const asJson = process.argv.includes('--json')
const say = (line: string): void => void process.stderr.write(`${line}\n`)

const file = new URL('../data/flights-20k.json', import.meta.resolve('vega-datasets'))
const flights = JSON.parse(readFileSync(file, 'utf8')) as z.infer<typeof Flight>[]
const departure = (date: string): number => Date.parse(`${date.replaceAll('/', '-').replace(' ', 'T')}:00Z`)

const cluster = process.env.KAFKA_BROKERS ? kafka({ brokers: process.env.KAFKA_BROKERS.split(',') }) : embedded()
const [input, output] = [`flights-${Date.now()}`, `delays-${Date.now()}`]
// The flights are of 2001: with a limited retention a broker would delete them.
await cluster.createTopics([input, output].map((topic) => ({ topic, partitions: 4, config: { 'retention.ms': '-1' } })))
await cluster.produce({
  topic: input,
  records: flights.map((flight) => ({ key: flight.origin, value: JSON.stringify(flight), timestamp: departure(flight.date) })),
})
say(`${flights.length} flights produced to ${process.env.KAFKA_BROKERS ?? 'the embedded broker'}`)

const pipeline = cluster.source({ group: `demo-${Date.now()}`, topics: [input] }).pipe(
  withTransaction(
    (records) =>
      records.pipe(
        decode(Flight),
        dropFailed(),
        filter((flight) => flight.value.delay >= LATE_MINUTES),
        mapValue(({ origin, destination, delay, distance }) => ({ route: `${origin}-${destination}`, delay, km: Math.round(distance * 1.609) })),
        toTopic({ topic: output, value: json() }),
      ),
    { every: '50ms' },
  ),
)
say(String(describe(pipeline)))

const began = performance.now()
const total = await lastValueFrom(
  pipeline.pipe(
    scan(
      (sum, commit) => ({
        transactions: sum.transactions + 1,
        in: sum.in + commit.records,
        out: sum.out + commit.outputs,
        filtered: sum.filtered + commit.filtered,
        failed: sum.failed + commit.failed,
      }),
      { transactions: 0, in: 0, out: 0, filtered: 0, failed: 0 },
    ),
    tap((sum) => say(`  committed ${sum.in} of ${flights.length}`)),
    takeWhile((sum) => sum.in < flights.length, true),
  ),
)
const seconds = (performance.now() - began) / 1000

// The same from the file alone.
const failed = flights.filter((flight) => flight.delay > 300)
const late = flights.filter((flight) => flight.delay <= 300 && flight.delay >= LATE_MINUTES)
const expected = { in: flights.length, out: late.length, filtered: flights.length - failed.length - late.length, failed: failed.length }
let written = 0
let delay = 0
for await (const record of cluster.read({ topic: output })) {
  written++
  delay += (JSON.parse(String(record.value)) as { delay: number }).delay
}
await cluster.deleteTopics([input, output])
await cluster.close()

const rows = [
  ...(['in', 'out', 'filtered', 'failed'] as const).map((name) => ({ what: name, millrace: total[name], file: expected[name] })),
  { what: 'in the topic', millrace: written, file: late.length },
  { what: 'minutes late', millrace: delay, file: late.reduce((sum, flight) => sum + flight.delay, 0) },
]
const right = rows.every((row) => row.millrace === row.file) && total.in === total.out + total.filtered + total.failed
if (asJson) console.log(JSON.stringify({ right, seconds, transactions: total.transactions, rows }))
else {
  const cell = (text: string | number): string => String(text).padStart(14)
  console.log(['', 'millrace', 'from the file'].map(cell).join(''))
  for (const row of rows) console.log([row.what, row.millrace, row.file].map(cell).join(''))
  console.log(`${total.transactions} transactions in ${seconds.toFixed(2)} s; ${right ? 'every record is accounted for' : 'THE NUMBERS DIFFER'}`)
}
process.exitCode = right ? 0 : 1

/**
 * The main job: 20,000 real flight records, out of order, become the average and the 95th percentile of the delay of each airport
 * in each hour, exactly once, late ones counted. Runs on the embedded broker, or on Kafka with KAFKA_BROKERS=host:port. At the end
 * all of it is computed again from the input file, without millrace, and compared. `--json` prints it for machines.
 */
import { lastValueFrom, scan, takeWhile, tap } from 'rxjs'
import { describe, embedded, kafka } from 'millrace'
import { delaysPipeline } from './delays.js'
import { arrivals, expected, lineOf } from './flights.js'

const asJson = process.argv.includes('--json')
const say = (line: string): void => void process.stderr.write(`${line}\n`)

const departures = arrivals()
const cluster = process.env.KAFKA_BROKERS ? kafka({ brokers: process.env.KAFKA_BROKERS.split(',') }) : embedded()
const run = Date.now()
const [input, output, late, group] = [`flights-${run}`, `delays-${run}`, `late-${run}`, `demo-${run}`] as const
// The flights are of 2001: with a limited retention a broker would delete them.
await cluster.createTopics([input, output, late].map((topic) => ({ topic, partitions: 4, config: { 'retention.ms': '-1' } })))
await cluster.produce({
  topic: input,
  records: departures.map(({ flight, time }) => ({ key: flight.origin, value: JSON.stringify(flight), timestamp: time })),
})
say(`${departures.length} flights produced to ${process.env.KAFKA_BROKERS ?? 'the embedded broker'}`)

const partitions = new Map<string, number>()
for await (const { key, origin } of cluster.read({ topic: input })) partitions.set(String(key), origin.partition)
const file = expected(departures, (origin) => partitions.get(origin) as number)

const pipeline = delaysPipeline(cluster, { group, input, output, late })
say(String(describe(pipeline)))
const began = performance.now()
const total = await lastValueFrom(
  pipeline.pipe(
    scan(
      (sum, commit) => ({
        transactions: sum.transactions + 1,
        in: sum.in + commit.records,
        processed: sum.processed + commit.processed,
        late: sum.late + commit.late,
        failed: sum.failed + commit.failed,
        out: sum.out + commit.outputs,
      }),
      { transactions: 0, in: 0, processed: 0, late: 0, failed: 0, out: 0 },
    ),
    tap((sum) => say(`  committed ${sum.in} of ${departures.length} flights, ${sum.out} results`)),
    // The last hours close when the input has been quiet for a while.
    takeWhile((sum) => sum.in < departures.length || sum.out < file.lines.length + file.late, true),
  ),
)
const seconds = (performance.now() - began) / 1000

const lines: string[] = []
for await (const { key, value } of cluster.read({ topic: output })) {
  const { start, result } = JSON.parse(String(value)) as { start: number; result: { flights: number; average: number; p95: number } }
  lines.push(lineOf(String(key), start, result))
}
lines.sort()
let tooLate = 0
for await (const _ of cluster.read({ topic: late })) tooLate++
await cluster.deleteTopics([input, output, late, `${group}-window-changelog`])
await cluster.close()

const rows = [
  { what: 'flights', millrace: total.in, file: departures.length },
  { what: 'in windows', millrace: total.processed, file: departures.length - file.late - file.failed },
  { what: 'late', millrace: total.late, file: file.late },
  { what: 'in the late topic', millrace: tooLate, file: file.late },
  { what: 'failed', millrace: total.failed, file: file.failed },
  { what: 'airport-hours', millrace: lines.length, file: file.lines.length },
  { what: 'equal to the file', millrace: lines.filter((line, i) => line === file.lines[i]).length, file: file.lines.length },
]
const right = rows.every((row) => row.millrace === row.file)
if (asJson) console.log(JSON.stringify({ right, seconds, transactions: total.transactions, rows, sample: lines.slice(0, 5) }))
else {
  const row = (what: string | number, a: string | number, b: string | number): void =>
    console.log(`${String(what).padEnd(20)}${String(a).padStart(12)}${String(b).padStart(16)}`)
  for (const line of lines.slice(1_000, 1_005)) console.log(line)
  row('', 'millrace', 'from the file')
  for (const { what, millrace, file } of rows) row(what, millrace, file)
  console.log(
    `${total.transactions} transactions in ${seconds.toFixed(2)} s; ${right ? 'every flight is accounted for, every result is right' : 'THE NUMBERS DIFFER'}`,
  )
}
process.exitCode = right ? 0 : 1

/**
 * The main job: 20,000 real flight records, out of order, become the average and the 95th percentile of the delay of each airport
 * in each hour, exactly once, late ones counted, by two members of a group, of which one is killed half way. Runs on the embedded broker,
 * or on Kafka with KAFKA_BROKERS=host:port. At the end all of it is computed again from the input file, without millrace, and compared.
 * `--json` prints it for machines, `--page` shows the live page, for which the flights come slowly.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { Subject, concat, concatMap, defer, lastValueFrom, merge, scan, take, takeWhile, tap } from 'rxjs'
import { describe, serveStatus } from 'millrace'
import { delaysPipeline } from './delays.js'
import { inThisProcess, onKafka } from './demo-members.js'
import { arrivals, expected, lineOf, type Expected } from './flights.js'

const asJson = process.argv.includes('--json')
const withPage = process.argv.includes('--page')
const say = (line: string): void => void process.stderr.write(`${line}\n`)

const departures = arrivals()
const members = process.env.KAFKA_BROKERS ? onKafka(process.env.KAFKA_BROKERS.split(',')) : inThisProcess()
const { cluster } = members
const run = Date.now()
const [input, output, late, group] = [`flights-${run}`, `delays-${run}`, `late-${run}`, `demo-${run}`] as const
// The flights are of 2001: with a limited retention a broker would delete them.
await cluster.createTopics([input, output, late].map((topic) => ({ topic, partitions: 4, config: { 'retention.ms': '-1' } })))
const records = departures.map(({ flight, time }) => ({ key: flight.origin, value: JSON.stringify(flight), timestamp: time }))

/** All flights go to the input; resolves to what should come of them. */
async function produce(): Promise<Expected> {
  const step = withPage ? 100 : records.length
  for (let at = 0; at < records.length; at += step) {
    await cluster.produce({ topic: input, records: records.slice(at, at + step) })
    if (withPage) await pause(300)
  }
  say(`${departures.length} flights produced to ${process.env.KAFKA_BROKERS ?? 'the embedded broker'}`)
  const partitions = new Map<string, number>()
  for await (const { key, origin } of cluster.read({ topic: input })) partitions.set(String(key), origin.partition)
  return expected(departures, (origin) => partitions.get(origin) as number)
}

const server = withPage ? await serveStatus(cluster, { port: 9_090, token: 'demo-token', commands: true }) : undefined
if (server !== undefined) say(`the live page: ${server.url}/   its token: demo-token`)
let known: Expected | undefined
const producing = produce().then((file) => (known = file))
// On the page the flights are seen as they come.
if (!withPage) await producing

const options = { group, input, output, late }
say(String(describe(delaysPipeline(cluster, options))))
const began = performance.now()
let told = 0
let killed = false
/** Then the other one joins: alone, it could be through before a process has started. */
const firstCommit = new Subject<void>()
const first = firstCommit.pipe(
  take(1),
  concatMap(() => members.member('one', options)),
)
const second = concat(
  members.doomed('two', options, 4).pipe(tap(() => firstCommit.next())),
  defer(() => {
    killed = true
    say('  killed: member two, in the middle of a transaction; what it wrote there is aborted, and it is started again')
    return members.member('two', options)
  }),
)
const total = await lastValueFrom(
  merge(first, second).pipe(
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
    tap((sum) => {
      if (sum.in < told + 2_000 && sum.in < departures.length) return
      if (sum.in > told) say(`  committed ${sum.in} of ${departures.length} flights`)
      told = sum.in
    }),
    // The last hours close when the input has been quiet for a while.
    takeWhile((sum) => sum.in < departures.length || known === undefined || sum.out < known.lines.length + known.late, true),
  ),
)
const file = await producing
const seconds = (performance.now() - began) / 1000

const lines: string[] = []
for await (const { key, value } of cluster.read({ topic: output })) {
  const { start, result } = JSON.parse(String(value)) as { start: number; result: { flights: number; average: number; p95: number } }
  lines.push(lineOf(String(key), start, result))
}
lines.sort()
let tooLate = 0
for await (const _ of cluster.read({ topic: late })) tooLate++
say(
  `  wrote ${total.out} records: ${total.out - total.late} results of an airport and an hour, and ${total.late} flights that came too late for theirs`,
)
if (server !== undefined) {
  say('the page stays until Ctrl-C')
  await new Promise((resolve) => process.once('SIGINT', resolve))
  await server.close()
}
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
const right = killed && rows.every((row) => row.millrace === row.file)
if (asJson) console.log(JSON.stringify({ right, seconds, transactions: total.transactions, killed, rows, sample: lines.slice(0, 5) }))
else {
  const row = (what: string | number, a: string | number, b: string | number): void =>
    console.log(`${String(what).padEnd(20)}${String(a).padStart(12)}${String(b).padStart(16)}`)
  for (const line of lines.slice(1_000, 1_005)) console.log(line)
  row('', 'millrace', 'from the file')
  for (const { what, millrace, file } of rows) row(what, millrace, file)
  console.log(
    `${total.transactions} transactions in ${seconds.toFixed(2)} s, one member killed; ${right ? 'every flight is accounted for, every result is right' : 'THE NUMBERS DIFFER'}`,
  )
}
process.exitCode = right ? 0 : 1

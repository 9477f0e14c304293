// The jobs on millrace, by MODE.
import { filter, lastValueFrom, map, scan, takeWhile, tap, type Observable } from 'rxjs'
import {
  count,
  decode,
  dedupe,
  dropFailed,
  joinStream,
  joinTable,
  json,
  kafka,
  mapValue,
  recordKey,
  session,
  table,
  toTopic,
  tumbling,
  window,
  withTransaction,
  type RecordStream,
} from 'millrace'
import { z } from 'zod'
import { Stopwatch, change, job } from './report.js'
import { scraped } from './scrape.js'

const { brokers, input, other, output, records, commitMs } = job()
const watch = new Stopwatch()
const cluster = kafka({ brokers })
const mode = process.env.MODE ?? 'pass'
const guarantee = process.env.GUARANTEE === 'at-least-once' ? 'at-least-once' : 'exactly-once'

const Order = z.object({ id: z.number(), sku: z.string(), amount: z.number(), note: z.string() })
const asJson = { topic: output, value: json() }
const customers = table({ topic: other || 'none', value: json<{ city: string }>() })
const idOf = (value: Buffer | null): number => (JSON.parse(String(value)) as { id: number }).id

const jobs: Record<string, (stream: RecordStream) => Observable<unknown>> = {
  pass: (stream) => stream.pipe(toTopic({ topic: output })),
  json: (stream) => stream.pipe(mapValue(change), toTopic(asJson)),
  zod: (stream) =>
    stream.pipe(
      decode(Order),
      dropFailed(),
      filter(({ value }) => value.amount % 2 === 0),
      mapValue((order) => ({ ...order, amount: order.amount + 1 })),
      toTopic(asJson),
    ),
  dedupe: (stream) => stream.pipe(dedupe({ by: recordKey(), within: '10m' }), toTopic({ topic: output })),
  count: (stream) => stream.pipe(window(tumbling('10s'), { aggregate: count() }), toTopic(asJson)),
  updates: (stream) => stream.pipe(window(tumbling('10s'), { aggregate: count(), emit: 'updates' }), toTopic(asJson)),
  sessions: (stream) => stream.pipe(window(session('5s'), { aggregate: count() }), toTopic(asJson)),
  join: (stream) => {
    const of = (topic: string) => stream.pipe(filter((record) => record.origin.topic === topic))
    return of(input).pipe(
      joinStream(of(other), {
        within: '5s',
        grace: '60s',
        join: (left, right) => ({ left: idOf(left.value), right: idOf(right.value) }),
      }),
      toTopic(asJson),
    )
  },
  table: (stream) =>
    stream.pipe(joinTable(customers, { kind: 'inner', join: ({ value }, { city }) => ({ id: idOf(value), city }) }), toTopic(asJson)),
}
const project = jobs[mode]
if (project === undefined) throw new Error(`no job '${mode}'`)
const total = mode === 'join' ? records * 2 : records
const { SAMPLE_STEPS, SCRAPE_MS } = process.env
const unscraped = SCRAPE_MS === undefined ? undefined : await scraped(cluster, Number(SCRAPE_MS))

await lastValueFrom(
  cluster
    .source({
      group: `bench-${process.pid}-${Date.now()}`,
      topics: mode === 'join' ? [input, other] : [input],
    })
    .pipe(
      withTransaction(
        (stream) => {
          // A slice is made when its first record is there.
          if (stream.partition >= 0) watch.start()
          return project(stream)
        },
        {
          every: commitMs,
          guarantee,
          provision: true,
          ...(SAMPLE_STEPS === undefined ? {} : { sampleSteps: Number(SAMPLE_STEPS) }),
        },
      ),
      map((commit) => commit.records),
      scan((sum, count) => sum + count, 0),
      tap((sum) => sum >= total && watch.report(sum)),
      takeWhile((sum) => sum < total, true),
    ),
)
await unscraped?.()
await cluster.close()

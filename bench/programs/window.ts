// The windowed count on millrace.
import { lastValueFrom, map, scan, takeWhile, tap } from 'rxjs'
import { count, json, kafka, toTopic, tumbling, window, withTransaction } from 'millrace'
import { Stopwatch, job } from './report.js'

const { brokers, input, output, records, commitMs } = job()
const watch = new Stopwatch()
const cluster = kafka({ brokers })

await lastValueFrom(
  cluster.source({ group: `bench-${process.pid}-${Date.now()}`, topics: [input] }).pipe(
    withTransaction(
      (stream) => {
        if (stream.partition >= 0) watch.start()
        return stream.pipe(window(tumbling('10s'), { aggregate: count() }), toTopic({ topic: output, value: json() }))
      },
      { every: commitMs, provision: true },
    ),
    map((commit) => commit.records),
    scan((sum, count) => sum + count, 0),
    tap((sum) => sum >= records && watch.report(sum)),
    takeWhile((sum) => sum < records, true),
  ),
)
await cluster.close()

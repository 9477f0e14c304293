// The job on millrace: MODE=pass copies, MODE=json parses, changes one field and writes.
import { lastValueFrom, map, scan, takeWhile, tap } from 'rxjs'
import { json, kafka, mapValue, toTopic, withTransaction, type RecordStream } from 'millrace'
import { Stopwatch, change, job } from './report.js'

const { brokers, input, output, records, commitMs } = job()
const watch = new Stopwatch()
const cluster = kafka({ brokers })

const pass = (stream: RecordStream) => stream.pipe(toTopic({ topic: output }))
const mapJson = (stream: RecordStream) => stream.pipe(mapValue(change), toTopic({ topic: output, value: json() }))

await lastValueFrom(
  cluster.source({ group: `bench-${process.pid}-${Date.now()}`, topics: [input] }).pipe(
    withTransaction(
      (stream) => {
        // A slice is made when its first record is there.
        if (stream.partition >= 0) watch.start()
        return process.env.MODE === 'json' ? mapJson(stream) : pass(stream)
      },
      { every: commitMs },
    ),
    map((commit) => commit.records),
    scan((sum, count) => sum + count, 0),
    tap((sum) => sum >= records && watch.report(sum)),
    takeWhile((sum) => sum < records, true),
  ),
)
await cluster.close()

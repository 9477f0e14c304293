// Dedupe on millrace. MODE=pass copies, task keeps ids itself, redis shares them, bloom has a filter in front of Redis.
import { lastValueFrom, map, scan, takeWhile, tap } from 'rxjs'
import { dedupe, kafka, recordKey, redisClaims, toTopic, withTransaction, type RecordStream } from 'millrace'
import { Stopwatch, job } from './report.js'

const { brokers, input, output, records, commitMs } = job()
const { MODE = 'pass', REDIS_URL = '', EXPECTED = '1000000' } = process.env
const watch = new Stopwatch()
const cluster = kafka({ brokers })
const group = `bench-${process.pid}-${Date.now()}`
const claims = MODE === 'redis' || MODE === 'bloom' ? redisClaims({ url: REDIS_URL, prefix: `${group}:` }) : undefined
const ids = { by: recordKey(), within: '10m' } as const

const project = (stream: RecordStream) => {
  if (claims === undefined)
    return MODE === 'pass' ? stream.pipe(toTopic({ topic: output })) : stream.pipe(dedupe(ids), toTopic({ topic: output }))
  return stream.pipe(
    dedupe({ ...ids, store: claims, ...(MODE === 'bloom' && { bloom: { expected: Number(EXPECTED), errorRate: 0.01, exclusive: true } }) }),
    toTopic({ topic: output }),
  )
}

let duplicates = 0
await lastValueFrom(
  cluster.source({ group, topics: [input] }).pipe(
    withTransaction(
      (stream) => {
        if (stream.partition >= 0) watch.start()
        return project(stream)
      },
      { every: commitMs, provision: true },
    ),
    tap((commit) => (duplicates += commit.duplicate)),
    map((commit) => commit.records),
    scan((sum, count) => sum + count, 0),
    tap((sum) => sum >= records && watch.report(sum, { duplicates })),
    takeWhile((sum) => sum < records, true),
  ),
)
await cluster.close()
await claims?.close()

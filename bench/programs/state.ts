// Counts per key. Reports how long restoring took, what the state weighs, and what a commit of few changes costs.
import { lastValueFrom, scan, takeWhile, tap } from 'rxjs'
import { aggregate, count, json, kafka, toTopic, withTransaction, type Commit, type Logger } from 'millrace'

const { KAFKA_BROKERS = '', INPUT_TOPIC = '', OUTPUT_TOPIC = '', GROUP = '', RECORDS = '0' } = process.env
const collect = globalThis.gc as () => void
const heap = (): number => {
  collect()
  return process.memoryUsage().heapUsed
}

let restored: { records: number; ms: number; bytes: number } | undefined
let before = 0
const silent = (): void => {}
const logger: Logger = {
  debug: silent,
  info(details, message) {
    if (message === 'joined the group') before = heap()
    if (message === 'state restored') restored = { ...(details as { records: number; ms: number }), bytes: heap() - before }
  },
  warn: (_, message) => console.error(message),
  error: (_, message) => console.error(message),
}

const cluster = kafka({ brokers: KAFKA_BROKERS.split(','), logger })
const commits: Commit[] = []
await lastValueFrom(
  cluster.source({ group: GROUP, topics: [INPUT_TOPIC] }).pipe(
    withTransaction((records) => records.pipe(aggregate(count()), toTopic({ topic: OUTPUT_TOPIC, value: json() })), { provision: true }),
    tap((commit) => commits.push(commit)),
    scan((sum, { records }) => sum + records, 0),
    takeWhile((sum) => sum < Number(RECORDS), true),
  ),
)
await cluster.close()
console.log(JSON.stringify({ restored, commitMs: commits.filter(({ records }) => records > 0).map((commit) => commit.commitMs) }))

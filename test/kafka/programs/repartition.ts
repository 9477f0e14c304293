/**
 * A process that sums by another key than the record's, over windows, and can be told to die as copy.ts can. Sends its parent a line for each commit.
 */
import { lastValueFrom, map, tap } from 'rxjs'
import { json, kafka, repartition, shutdownSignal, sum, toTopic, tumbling, window, withTransaction } from '../../../src/index.js'

const { KAFKA_BROKERS = '', INPUT = '', OUTPUT = '', GROUP = '', INSTANCE, KILL_AT, KILL_AFTER = '0' } = process.env

let passed = 0
const cluster = kafka({
  brokers: KAFKA_BROKERS.split(','),
  trace: ({ step, commit }) => {
    if (step === KILL_AT && commit !== false && passed++ >= Number(KILL_AFTER)) process.kill(process.pid, 'SIGKILL')
  },
})

await lastValueFrom(
  cluster
    .source({ group: GROUP, topics: [INPUT], signal: shutdownSignal(), sessionTimeout: 6_000, ...(INSTANCE === undefined ? {} : { instanceId: INSTANCE }) })
    .pipe(
      withTransaction(
        (records) =>
          records.pipe(
            map((record) => record.with({ value: JSON.parse(String(record.value)) as { readonly colour: string; readonly n: number } })),
            repartition({ key: ({ value }) => value.colour, value: json(), name: 'by-colour' }),
            window(tumbling('10s'), { aggregate: sum(({ value }) => value.n), grace: '1h' }),
            toTopic({ topic: OUTPUT, value: json() }),
          ),
        { every: 30, maxRecords: 200, provision: true },
      ),
      tap((commit) => console.log(JSON.stringify({ records: commit.records, lag: commit.lag }))),
    ),
  { defaultValue: undefined },
)
await cluster.close()

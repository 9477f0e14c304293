/**
 * A process that sums by another key than the record's, over windows, and can be told to die as copy.ts can. Sends its parent a line for
 * each commit.
 */
import { lastValueFrom, map, tap } from 'rxjs'
import { json, kafka, repartition, shutdownSignal, sum, toTopic, tumbling, window, withTransaction } from '../../../src/index.js'
import { doomed } from '../../support/doomed.js'

const { INPUT = '', OUTPUT = '', GROUP = '', INSTANCE } = process.env

const cluster = kafka(doomed())

await lastValueFrom(
  cluster
    .source({
      group: GROUP,
      topics: [INPUT],
      signal: shutdownSignal(),
      sessionTimeout: 6_000,
      ...(INSTANCE === undefined ? {} : { instanceId: INSTANCE }),
    })
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

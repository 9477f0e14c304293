/**
 * A process that copies a topic and can be told to die: KILL_AT names a step of the transaction, KILL_AFTER how often it is let pass.
 * Sends its parent a line for each commit.
 */
import { lastValueFrom, tap } from 'rxjs'
import { kafka, shutdownSignal, toTopic, withTransaction } from '../../../src/index.js'
import { doomed } from '../../support/doomed.js'

const { INPUT = '', OUTPUT = '', GROUP = '', INSTANCE, MAX_RECORDS = '500', GUARANTEE = 'exactly-once' } = process.env
const { SESSION = '6000', REBALANCE = '60000' } = process.env

const cluster = kafka(doomed())

await lastValueFrom(
  cluster
    .source({
      group: GROUP,
      topics: [INPUT],
      signal: shutdownSignal(),
      sessionTimeout: Number(SESSION),
      rebalanceTimeout: Number(REBALANCE),
      ...(INSTANCE === undefined ? {} : { instanceId: INSTANCE }),
    })
    .pipe(
      withTransaction((records) => records.pipe(toTopic({ topic: OUTPUT })), {
        every: 30,
        maxRecords: Number(MAX_RECORDS),
        guarantee: GUARANTEE as 'exactly-once' | 'at-least-once',
      }),
      tap((commit) => console.log(JSON.stringify({ records: commit.records, lag: commit.lag }))),
    ),
  { defaultValue: undefined },
)
await cluster.close()

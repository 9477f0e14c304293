/**
 * A process that dedupes a topic and can be told to die: KILL_AT names a step of the transaction, KILL_AFTER how often it is let pass.
 * STORE: 'task', 'redis' or 'bloom'. Sends its parent a line for each commit.
 */
import { lastValueFrom, tap } from 'rxjs'
import {
  dedupe,
  header,
  kafka,
  recordKey,
  redisClaims,
  shutdownSignal,
  toTopic,
  withTransaction,
  type RecordStream,
} from '../../../src/index.js'
import { doomed } from '../../support/doomed.js'

const { INPUT = '', OUTPUT = '', GROUP = '', STORE = 'task', REDIS_URL = '', PREFIX = '', INSTANCE, MAX_RECORDS = '500' } = process.env

const cluster = kafka(doomed())
const store = STORE === 'task' ? undefined : redisClaims({ url: REDIS_URL, prefix: PREFIX })

const once = (records: RecordStream) => {
  if (store === undefined) return records.pipe(dedupe({ by: recordKey(), within: '1h' }))
  if (STORE === 'bloom') return records.pipe(dedupe({ by: recordKey(), within: '1h', store, bloom: { expected: 1_000, exclusive: true } }))
  return records.pipe(dedupe({ by: header('id'), within: '1h', store, takeOverAfter: '30s' }))
}

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
      withTransaction((records) => once(records).pipe(toTopic({ topic: OUTPUT })), {
        every: 30,
        maxRecords: Number(MAX_RECORDS),
        provision: true,
      }),
      tap((commit) => console.log(JSON.stringify({ records: commit.records, duplicate: commit.duplicate }))),
    ),
  { defaultValue: undefined },
)
await cluster.close()
await store?.close()

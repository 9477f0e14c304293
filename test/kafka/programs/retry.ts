/**
 * A process whose records come back from retry topics: a value 'x!n' fails on its first n attempts. It can be told to die: KILL_AT names a
 * step of the transaction, KILL_AFTER how often it is let pass. BROKEN=outside sends failed records back to the input by a producer of
 * their own, outside of the transaction. Sends its parent a line for each commit, and with MEMORY one for each look at what it holds.
 */
import { EMPTY, concatMap, from, lastValueFrom, mergeMap, tap, type Observable } from 'rxjs'
import {
  type FailedRecord,
  attempt,
  deadLetter,
  deliveryAttempt,
  isFailed,
  kafka,
  retryTopic,
  shutdownSignal,
  silentLogger,
  toTopic,
  withTransaction,
  type RawRecord,
  type RecordStream,
} from '../../../src/index.js'
import { doomed } from '../../support/doomed.js'

const {
  INPUT = '',
  OUTPUT = '',
  DEAD = '',
  GROUP = '',
  DELAYS = '300,600',
  ORDERED,
  INSTANCE,
  MAX_RECORDS = '200',
  BROKEN,
  MEMORY,
} = process.env

const cluster = kafka({ ...doomed(), logger: silentLogger })

const broken = BROKEN === 'outside'
const attemptOf = (record: RawRecord): number => (broken ? Number(record.headers['attempt'] ?? 1) : deliveryAttempt(record))
const fails = (record: RawRecord): boolean => attemptOf(record) <= Number(/!(\d+)$/.exec(String(record.value))?.[1] ?? 0)

const sendBack = (records: Observable<RawRecord | FailedRecord>): Observable<RawRecord> =>
  records.pipe(
    concatMap((item) => {
      if (!isFailed(item)) return from([item])
      const { key, value, origin } = item.raw
      return from(
        cluster.produce({
          topic: INPUT,
          records: [{ key, value, headers: { attempt: String(attemptOf(item.raw) + 1) }, partition: origin.partition }],
        }),
      ).pipe(mergeMap(() => EMPTY))
    }),
  )

const project = (records: RecordStream): Observable<unknown> =>
  records.pipe(
    attempt(
      async (record) => {
        await new Promise<void>((resolve) => setImmediate(resolve))
        if (fails(record)) throw new Error(`not on attempt ${attemptOf(record)}`)
      },
      { concurrency: 64 },
    ),
    broken
      ? sendBack
      : retryTopic<RawRecord | FailedRecord>({ delays: DELAYS.split(',').map(Number), ordered: ORDERED === undefined ? false : 'key' }),
    deadLetter({ topic: DEAD }),
    toTopic({ topic: OUTPUT }),
  )

if (MEMORY !== undefined) {
  setInterval(() => {
    globalThis.gc?.()
    const { heapUsed, arrayBuffers } = process.memoryUsage()
    console.log(JSON.stringify({ held: heapUsed + arrayBuffers }))
  }, 500).unref()
}

await lastValueFrom(
  cluster
    .source({
      group: GROUP,
      topics: [INPUT],
      signal: shutdownSignal(),
      sessionTimeout: '6s',
      ...(INSTANCE === undefined ? {} : { instanceId: INSTANCE }),
    })
    .pipe(
      withTransaction(project, { every: 30, maxRecords: Number(MAX_RECORDS), provision: true }),
      tap(({ records, processed, failed, filtered, duplicate, late, generation, meters }) =>
        console.log(JSON.stringify({ records, processed, failed, filtered, duplicate, late, generation, meters })),
      ),
    ),
  { defaultValue: undefined },
)
await cluster.close()

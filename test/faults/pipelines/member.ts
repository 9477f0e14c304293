/**
 * A member of a pipeline's group, as a process that can be told to die: KILL_AT names a step of the transaction, KILL_AFTER how often it is
 * let pass. THROWS_AT has its code throw on every so many-th record when it first sees it. SIGUSR1 has it block its event loop for BLOCK_MS; CLOCK_STEP_MS sets its clock, at SIGUSR2. Sends its parent a line for each commit.
 */
import { lastValueFrom, tap } from 'rxjs'
import { doomed } from '../../support/doomed.js'
import type { Pipeline, PipelineName } from './index.js'
import { library } from './library.js'
import type { RunTopics } from './topics.js'

const { kafka, shutdownSignal, withTransaction } = library
const { PIPELINE = 'copy', TOPICS = '{}', GROUP = '', INSTANCE, SESSION_MS = '6000', TRANSACTION_MS = '10000' } = process.env
const { MAX_RECORDS = '400', BLOCK_MS = '0', CLOCK_STEP_MS = '0', REPLICAS = '1', OUT_OF_RANGE = 'stop', THROWS_AT } = process.env

process.on('SIGUSR1', () => {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, Number(BLOCK_MS))
})
const now = Date.now
process.on('SIGUSR2', () => {
  Date.now = () => now() + Number(CLOCK_STEP_MS)
})

const topics = JSON.parse(TOPICS) as RunTopics
const { pipeline } = (await import(`./${PIPELINE as PipelineName}.ts`)) as { readonly pipeline: Pipeline }
const project = pipeline.project(topics)
const thrown = new Set<number>()
const throws = (value: unknown): void => {
  const n = Number(String(value).split('|')[0])
  if (THROWS_AT === undefined || n % Number(THROWS_AT) !== 0 || thrown.has(n)) return
  thrown.add(n)
  throw new Error(`record ${n} for the first time`)
}
const cluster = kafka(doomed())

await lastValueFrom(
  cluster
    .source({
      group: GROUP,
      topics: topics.inputs,
      signal: shutdownSignal(),
      sessionTimeout: Number(SESSION_MS),
      onOutOfRange: OUT_OF_RANGE as 'stop' | 'earliest',
      ...(INSTANCE === undefined ? {} : { instanceId: INSTANCE }),
    })
    .pipe(
      withTransaction((records) => project(THROWS_AT === undefined ? records : records.pipe(tap(({ value }) => throws(value)))), {
        every: 40,
        maxRecords: Number(MAX_RECORDS),
        transactionTimeout: Number(TRANSACTION_MS),
        provision: { replicationFactor: Number(REPLICAS) },
      }),
      tap(({ records, processed, filtered, duplicate, late, failed, tasks }) =>
        console.log(
          JSON.stringify({
            at: now(),
            ...{ records, processed, filtered, duplicate, late, failed },
            partitions: tasks.map(({ partition }) => partition),
          }),
        ),
      ),
    ),
  { defaultValue: undefined },
)
await cluster.close()
await pipeline.close?.()

/**
 * A process that puts orders into one topic and what is none into another, and can be told to die: KILL_AT names a step of the transaction, KILL_AFTER how
 * often it is let pass.
 */
import { lastValueFrom } from 'rxjs'
import { attempt, deadLetter, decode, json, kafka, shutdownSignal, silentLogger, toTopic, withTransaction } from '../../../src/index.js'
import { Order } from '../../support/poison.js'

const { KAFKA_BROKERS = '', INPUT = '', OUTPUT = '', DEAD = '', GROUP = '', KILL_AT, KILL_AFTER = '0' } = process.env

let passed = 0
const cluster = kafka({
  brokers: KAFKA_BROKERS.split(','),
  logger: silentLogger,
  trace: ({ step, commit }) => {
    // SIGKILL at once: no handler, no flush, no goodbye to the broker.
    if (step === KILL_AT && commit !== false && passed++ >= Number(KILL_AFTER)) process.kill(process.pid, 'SIGKILL')
  },
})

await lastValueFrom(
  cluster.source({ group: GROUP, topics: [INPUT], signal: shutdownSignal(), sessionTimeout: '6s', instanceId: 'one' }).pipe(
    withTransaction(
      (records) =>
        records.pipe(
          decode(Order),
          attempt(() => new Promise<void>((resolve) => setImmediate(resolve)), { concurrency: 64 }),
          deadLetter({ topic: DEAD }),
          toTopic({ topic: OUTPUT, value: json() }),
        ),
      { every: 30, maxRecords: 200 },
    ),
  ),
  { defaultValue: undefined },
)
await cluster.close()

/** A process whose records pass at the time that is their value, and can be told to die: KILL_AT names a step of the transaction, KILL_AFTER how often it is let pass. */
import { lastValueFrom } from 'rxjs'
import { delayUntil, kafka, schedule, shutdownSignal, silentLogger, toTopic, withTransaction, type RawRecord } from '../../../src/index.js'

const { KAFKA_BROKERS = '', INPUT = '', OUTPUT = '', GROUP = '', KILL_AT, KILL_AFTER = '0', BY_ID } = process.env

let passed = 0
const cluster = kafka({
  brokers: KAFKA_BROKERS.split(','),
  logger: silentLogger,
  trace: ({ step, commit }) => {
    // SIGKILL at once: no handler, no flush, no goodbye to the broker.
    if (step === KILL_AT && commit !== false && passed++ >= Number(KILL_AFTER)) process.kill(process.pid, 'SIGKILL')
  },
})
const at = ({ value }: RawRecord): number => Number(String(value).split('@')[1])

await lastValueFrom(
  cluster.source({ group: GROUP, topics: [INPUT], signal: shutdownSignal(), sessionTimeout: '6s', instanceId: 'one' }).pipe(
    withTransaction(
      (records) =>
        records.pipe(
          BY_ID === undefined ? delayUntil(at) : schedule({ at, cancel: ({ value }) => String(value).startsWith('cancel') }),
          toTopic({ topic: OUTPUT, headers: () => ({ passed: String(Date.now()) }) }),
        ),
      { every: 30, maxRecords: 60, provision: true },
    ),
  ),
  { defaultValue: undefined },
)
await cluster.close()

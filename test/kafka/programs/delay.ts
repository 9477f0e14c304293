/**
 * A process whose records pass at the time that is their value, and can be told to die: KILL_AT names a step of the transaction, KILL_AFTER
 * how often it is let pass.
 */
import { lastValueFrom } from 'rxjs'
import { delayUntil, kafka, schedule, shutdownSignal, silentLogger, toTopic, withTransaction, type RawRecord } from '../../../src/index.js'
import { doomed } from '../../support/doomed.js'

const { INPUT = '', OUTPUT = '', GROUP = '', BY_ID } = process.env

const cluster = kafka({ ...doomed(), logger: silentLogger })
const at = ({ value }: RawRecord): number => Number(String(value).split('@')[1])

await lastValueFrom(
  cluster
    .source({ group: GROUP, topics: [INPUT], signal: shutdownSignal(), sessionTimeout: '6s', instanceId: 'one' })
    .pipe(
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

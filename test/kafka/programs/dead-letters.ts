/**
 * A process that puts orders into one topic and what is none into another, and can be told to die: KILL_AT names a step of the transaction,
 * KILL_AFTER how often it is let pass.
 */
import { lastValueFrom } from 'rxjs'
import { attempt, deadLetter, decode, json, kafka, shutdownSignal, silentLogger, toTopic, withTransaction } from '../../../src/index.js'
import { doomed } from '../../support/doomed.js'
import { Order } from '../../support/poison.js'

const { INPUT = '', OUTPUT = '', DEAD = '', GROUP = '' } = process.env

const cluster = kafka({ ...doomed(), logger: silentLogger })

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

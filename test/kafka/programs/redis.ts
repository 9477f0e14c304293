/**
 * A process that counts the records of a topic in Redis and copies them to another topic, and can be told to die: KILL_AT names a step of
 * either transaction, KILL_AFTER how often it is let pass. Sends its parent a line for each commit.
 */
import { Redis } from 'ioredis'
import { lastValueFrom, tap } from 'rxjs'
import { kafka, shutdownSignal, toRedis, toTopic, withTransaction, type RawRecord, type RedisSinkClient } from '../../../src/index.js'
import { SCRIPTS } from '../../../src/sinks/redis/scripts.js'
import { doomed } from '../../support/doomed.js'

const { INPUT = '', OUTPUT = '', GROUP = '', PREFIX = '', REDIS_URL = '' } = process.env
const { KILL_AT, KILL_AFTER = '0' } = process.env

let passed = 0
const pass = (step: 'before-redis' | 'redis-committed'): void => {
  if (step === KILL_AT && passed++ === Number(KILL_AFTER)) process.kill(process.pid, 'SIGKILL')
}

const redis = new Redis(REDIS_URL, { retryStrategy: () => 50 })
redis.on('error', () => {})
const client: RedisSinkClient = {
  async call(command, ...args) {
    if (args[0] !== SCRIPTS.commit.sha && args[0] !== SCRIPTS.commit.text) return redis.call(command, ...args)
    pass('before-redis')
    const done = await redis.call(command, ...args)
    if (done === 1) pass('redis-committed')
    return done
  },
}

const cluster = kafka(doomed())
await lastValueFrom(
  cluster.source({ group: GROUP, topics: [INPUT], signal: shutdownSignal(), sessionTimeout: 6_000, instanceId: 'one' }).pipe(
    withTransaction(
      (records) =>
        records.pipe(
          toRedis<RawRecord>(
            client,
            (tx, some) => {
              for (const { value, origin } of some) {
                tx.hincrby(`${PREFIX}:seen`, String(value), 1)
                tx.hset(`${PREFIX}:last`, { [origin.partition]: String(value) })
              }
            },
            { prefix: `${PREFIX}:positions:`, within: '500ms' },
          ),
          toTopic({ topic: OUTPUT }),
        ),
      { every: 30, maxRecords: 200 },
    ),
    tap((commit) => console.log(JSON.stringify({ records: commit.records, meters: commit.meters }))),
  ),
  { defaultValue: undefined },
)
await cluster.close()
redis.disconnect()

import { Redis } from 'ioredis'
import { startRedis, type RedisServer } from '../../support/redis.js'
import type { Fault, Run } from '../run.js'
import { killAndReplace } from './processes.js'

const servers = new WeakMap<Run, RedisServer>()

function redisOf(run: Run): RedisServer {
  const server = servers.get(run)
  if (server === undefined) throw new Error('the run has no Redis')
  return server
}

const withRedis: Pick<Fault, 'pipelines' | 'keepsElsewhere' | 'surroundings'> = {
  pipelines: ['dedupe'],
  keepsElsewhere: true,
  async surroundings(run) {
    const server = await startRedis({ config: { appendonly: 'yes', appendfsync: 'always' } })
    servers.set(run, server)
    return { env: { REDIS_URL: server.url, REDIS_PREFIX: `${run.name}:` }, stop: () => server.stop() }
  },
}

/** What happens to a pipeline whose ids are in Redis, and to the Redis. */
export const redisFaults: readonly Fault[] = [
  {
    name: 'kill -9, ids in Redis',
    how: 'SIGKILL to one of two members at a random moment, and another started; three times',
    ...withRedis,
    async inject(run) {
      for (let i = 0; i < 3; i++) await killAndReplace(run)
    },
  },
  {
    name: 'Redis flushed',
    how: 'FLUSHALL: an id that passed before may pass once more, and no record is lost',
    ...withRedis,
    async inject(run) {
      run.allows.forgetful = true
      await run.lasts(run.random.between(500, 2_000))
      const since = Date.now()
      const client = new Redis(redisOf(run).url)
      await client.flushall()
      client.disconnect()
      await run.recovers(run.allPartitions, since)
      await run.lasts(3_000)
    },
  },
  {
    name: 'Redis paused',
    how: 'SIGSTOP to Redis for 9 s, the session of the members being 6 s',
    ...withRedis,
    async inject(run) {
      redisOf(run).signal('SIGSTOP')
      await run.lasts(9_000)
      const since = Date.now()
      redisOf(run).signal('SIGCONT')
      await run.recovers(run.allPartitions, since)
    },
  },
  {
    name: 'Redis killed',
    how: 'SIGKILL to a Redis that writes each claim to its disk before it answers, and started again; three times',
    ...withRedis,
    async inject(run) {
      for (let i = 0; i < 3; i++) {
        await run.lasts(run.random.between(500, 2_000))
        const since = Date.now()
        redisOf(run).signal('SIGKILL')
        await redisOf(run).restart()
        await run.recovers(run.allPartitions, since)
      }
    },
  },
]

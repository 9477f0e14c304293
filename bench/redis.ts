/** Commands a second into a Redis of its own: toRedis beside a loop of pipelines that keeps no positions. `tsx bench/redis.ts [records]` */
import { Redis } from 'ioredis'
import { takeWhile, lastValueFrom } from 'rxjs'
import { embedded, silentLogger, toRedis, withTransaction } from 'millrace'
import { startRedis } from '../test/support/redis.js'

const count = Number(process.argv[2] ?? 300_000)
const server = await startRedis()
const redis = new Redis(server.url)
const cluster = embedded({ logger: silentLogger })
try {
  await cluster.createTopics([{ topic: 'in', partitions: 4 }])
  await cluster.produce({ topic: 'in', records: Array.from({ length: count }, (_, i) => ({ key: `k${i % 10_000}`, value: String(i) })) })

  const loopBegan = performance.now()
  for (let from = 0; from < count; from += 1_000) {
    const pipeline = redis.pipeline()
    for (let i = from; i < Math.min(count, from + 1_000); i++) pipeline.hset(`plain:k${i % 10_000}`, 'n', String(i))
    await pipeline.exec()
  }
  const loop = count / ((performance.now() - loopBegan) / 1_000)

  let read = 0
  const began = performance.now()
  await lastValueFrom(
    cluster.source({ group: 'bench', topics: ['in'] }).pipe(
      withTransaction(
        (records) =>
          records.pipe(
            toRedis(redis, (tx, all) => {
              for (const { key, value } of all) tx.hset(`row:${String(key)}`, { n: String(value) })
            }),
          ),
        { every: '100ms' },
      ),
      takeWhile((commit) => (read += commit.records) < count, true),
    ),
  )
  const rate = count / ((performance.now() - began) / 1_000)
  console.log(
    `toRedis ${Math.round(rate)} commands/s at 100 ms commits, a pipeline without the guarantee ${Math.round(loop)}/s: ${(rate / loop).toFixed(2)}`,
  )
} finally {
  await cluster.close()
  redis.disconnect()
  await server.stop()
}

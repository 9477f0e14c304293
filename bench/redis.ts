/**
 * Commands a second into a Redis of its own, and the CPU of either process for each: toRedis beside a loop of pipelines that keeps no
 * positions, in turns. `tsx bench/redis.ts [records] [rounds]`
 */
import { Redis } from 'ioredis'
import { takeWhile, lastValueFrom } from 'rxjs'
import { embedded, silentLogger, toRedis, withTransaction } from 'millrace'
import { startRedis } from '../test/support/redis.js'

const count = Number(process.argv[2] ?? 300_000)
const rounds = Number(process.argv[3] ?? 3)
const server = await startRedis()
const redis = new Redis(server.url)
const cluster = embedded({ logger: silentLogger })

/** What a command took, in microseconds: of the clock, of this process and of redis-server. */
interface Took {
  readonly elapsed: number
  readonly here: number
  readonly redis: number
}

/** Of redis-server since it started, in microseconds. */
async function redisCpu(): Promise<number> {
  const info = await redis.info('cpu')
  const of = (name: string): number => Number(new RegExp(`${name}:([\\d.]+)`).exec(info)?.[1])
  return (of('used_cpu_user') + of('used_cpu_sys')) * 1e6
}

async function measure(run: () => Promise<unknown>): Promise<Took> {
  const redisBefore = await redisCpu()
  const before = process.cpuUsage()
  const began = performance.now()
  await run()
  const elapsed = (performance.now() - began) * 1_000
  const { user, system } = process.cpuUsage(before)
  return { elapsed: elapsed / count, here: (user + system) / count, redis: ((await redisCpu()) - redisBefore) / count }
}

async function plain(): Promise<void> {
  for (let from = 0; from < count; from += 1_000) {
    const pipeline = redis.pipeline()
    for (let i = from; i < Math.min(count, from + 1_000); i++) pipeline.hset(`plain:k${i % 10_000}`, 'n', String(i))
    await pipeline.exec()
  }
}

async function exactlyOnce(group: string): Promise<void> {
  let read = 0
  await lastValueFrom(
    cluster.source({ group, topics: ['in'] }).pipe(
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
}

const median = (took: readonly Took[], of: keyof Took): number =>
  took.map((one) => one[of]).sort((a, b) => a - b)[took.length >> 1] as number
const told = (name: string, took: readonly Took[]): string =>
  `${name}: ${Math.round(1e6 / median(took, 'elapsed'))} commands/s, CPU a command ${median(took, 'here').toFixed(2)} µs here, ${median(took, 'redis').toFixed(2)} µs in redis-server`

try {
  await cluster.createTopics([{ topic: 'in', partitions: 4 }])
  await cluster.produce({ topic: 'in', records: Array.from({ length: count }, (_, i) => ({ key: `k${i % 10_000}`, value: String(i) })) })
  const [loop, sink]: [Took[], Took[]] = [[], []]
  for (let round = 0; round < rounds; round++) {
    loop.push(await measure(plain))
    sink.push(await measure(() => exactlyOnce(`bench-${round}`)))
  }
  console.log(told('a loop of pipelines without the guarantee', loop))
  console.log(told('toRedis at 100 ms commits', sink))
  console.log(`share of the rate: ${(median(loop, 'elapsed') / median(sink, 'elapsed')).toFixed(2)}`)
} finally {
  await cluster.close()
  redis.disconnect()
  await server.stop()
}

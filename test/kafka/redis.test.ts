import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { Child } from '../support/child.js'
import { kafkaSuite } from '../support/kafka/suite.js'
import { redisCli, startRedis, type RedisServer } from '../support/redis.js'
import { until } from '../support/until.js'

const PROGRAM = new URL('./programs/redis.ts', import.meta.url)
const PARTITIONS = 2
const STEP = 2_000

describe('a process that writes to Redis, killed in the middle', () => {
  const { cluster, start: startProgram } = kafkaSuite()
  let server: RedisServer
  let names: { readonly INPUT: string; readonly OUTPUT: string; readonly GROUP: string; readonly PREFIX: string }
  let runs = 0
  let produced = 0

  beforeAll(async () => {
    server = await startRedis({ config: { appendonly: 'yes', appendfsync: 'always' } })
  })
  afterAll(() => server.stop())

  beforeEach(async () => {
    const name = `redis-${process.pid}-${Date.now()}-${runs++}`
    names = { INPUT: `${name}-in`, OUTPUT: `${name}-out`, GROUP: `${name}-group`, PREFIX: name }
    produced = 0
    await cluster.createTopics([names.INPUT, names.OUTPUT].map((topic) => ({ topic, partitions: PARTITIONS })))
    await feed()
  })
  const feed = async (): Promise<void> => {
    const from = produced
    produced += STEP
    await cluster.produce({
      topic: names.INPUT,
      records: Array.from({ length: STEP }, (_, i) => ({ value: String(from + i), partition: (from + i) % PARTITIONS })),
    })
  }
  const start = (env: Record<string, string> = {}): Child => startProgram(PROGRAM, { ...names, REDIS_URL: server.url, ...env })
  const expected = (partition: number): string[] =>
    Array.from({ length: produced / PARTITIONS }, (_, i) => String(i * PARTITIONS + partition))
  /** How often each record was counted, as redis-cli sees it. */
  const counts = async (): Promise<Map<string, string>> => {
    const lines = await redisCli(server, 'HGETALL', `${names.PREFIX}:seen`)
    return new Map(lines.flatMap((line, i) => (i % 2 === 0 ? [[line, lines[i + 1] as string] as const] : [])))
  }
  const outputs = async (): Promise<string[][]> => {
    const partitions: string[][] = [[], []]
    for await (const record of cluster.read({ topic: names.OUTPUT })) partitions[record.origin.partition]?.push(String(record.value))
    return partitions
  }
  const finish = async (child: Child): Promise<void> => {
    await until(async () => (await outputs()).flat().length >= produced, { within: 40_000, what: 'all records in the output' })
    child.kill('SIGTERM')
    expect(await child.ended, child.errors).toEqual({ code: 0, signal: null })
  }

  it('at each point between the commits, and with Redis paused and killed as well: each record counts once, and is one output', async () => {
    for (const KILL_AT of ['before-redis', 'redis-committed', 'end-acknowledged']) {
      const child = start({ KILL_AT, KILL_AFTER: '1' })
      expect((await child.ended).signal, child.errors).toBe('SIGKILL')
    }
    const child = start()
    await until(() => child.lines.length > 0, { within: 20_000, what: 'a commit' })
    server.signal('SIGSTOP')
    await feed()
    await until(() => child.errors.includes('is written again'), { within: 20_000, what: 'Redis to be missed' })
    server.signal('SIGCONT')
    await feed()
    await server.restart()
    await finish(child)
    const found = await counts()
    expect(found.size).toBe(produced)
    expect([...found].filter(([, count]) => count !== '1')).toEqual([])
    const lasts = [0, 1].map((partition) => redisCli(server, 'HGET', `${names.PREFIX}:last`, String(partition)))
    expect((await Promise.all(lasts)).flat()).toEqual([0, 1].map((partition) => expected(partition).at(-1)))
    expect(await outputs()).toEqual([0, 1].map(expected))
  })
})

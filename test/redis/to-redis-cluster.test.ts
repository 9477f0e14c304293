import { Cluster as RedisClient } from 'ioredis'
import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { Observable } from 'rxjs'
import {
  embedded,
  silentLogger,
  toRedis,
  toTopic,
  type Cluster,
  type RecordStream,
  type RedisTransaction,
  type StreamRecord,
} from '../../src/index.js'
import { numbers, runUntil } from '../support/pipelines.js'
import { redisCli, startRedisCluster, type RedisCluster, type RedisServer } from '../support/redis.js'
import { until } from '../support/until.js'

type Row = StreamRecord<Buffer | null, Buffer | null>

describe('toRedis on a cluster', () => {
  const COUNT = 1_000
  const PREFIX = '{orders}:positions:'
  const KEYS = ['{orders}:count', '{orders}:sums', '{orders}:last']
  let servers: RedisCluster
  let redis: RedisClient
  let cluster: Cluster
  let group: string
  let warned: string[]
  let seen: number

  beforeAll(async () => {
    servers = await startRedisCluster()
    redis = new RedisClient(servers.nodes.map(({ port }) => ({ host: '127.0.0.1', port })))
    redis.on('error', () => {})
  })
  afterAll(async () => {
    redis.disconnect()
    await servers.stop()
  })
  beforeEach(async () => {
    for (const node of servers.nodes) await redisCli(node, 'FLUSHALL')
    group = randomUUID()
    warned = []
    seen = 0
    cluster = embedded({
      logger: { ...silentLogger, warn: (fields: object, text: string) => void warned.push(text + JSON.stringify(fields)) },
    })
    await cluster.createTopics(['in', 'out'].map((topic) => ({ topic, partitions: 2 })))
    await cluster.produce({ topic: 'in', records: numbers(COUNT) })
  })

  afterEach(() => cluster.close())

  const count = (tx: RedisTransaction, records: readonly Row[]): void => {
    for (const { key, value } of records) {
      tx.incrby('{orders}:count', 1)
      tx.hincrby('{orders}:sums', String(key), Number(value))
      tx.set('{orders}:last', String(value))
    }
    seen += records.length
  }
  const project =
    (write = count, prefix = PREFIX) =>
    (records: RecordStream): Observable<unknown> =>
      records.pipe(toRedis<Row>(redis, write, { prefix }), toTopic({ topic: 'out' }))
  const run = (records: number, what = project()) =>
    runUntil(cluster, { group, topics: ['in'], records, options: { maxRecords: 100, every: 20, retryDelay: 5 } }, what)
  /** As redis-cli sees it, whichever node has it. */
  const cli = (...args: string[]): Promise<string[]> => redisCli(servers.nodes[0] as RedisServer, '-c', ...args)

  it('is refused where the positions have no hash tag, and where a key has another', async () => {
    expect(() => toRedis<Row>(redis, count)).toThrow(/prefix: a cluster needs a hash tag/)
    expect(() => toRedis<Row>(redis, count, { prefix: 'positions:{}' })).toThrow(/hash tag/)
    const elsewhere = (tx: RedisTransaction, records: readonly Row[]): void => {
      count(tx, records)
      tx.incrby('total', 1)
    }
    await expect(run(COUNT, project(elsewhere))).rejects.toMatchObject({
      code: 'SINK_REFUSED',
      message: expect.stringMatching(/incrby on 'total': on a cluster .* \{orders\}/) as string,
    })
    expect(await cli('EXISTS', ...KEYS)).toEqual(['0'])
  })

  it('counts each record once while its slot moves to another node', async () => {
    const running = run(4 * COUNT)
    running.catch(() => {})
    await until(async () => Number((await cli('GET', '{orders}:count'))[0]) >= 300)

    const slot = (await cli('CLUSTER', 'KEYSLOT', '{orders}'))[0] as string
    const ids = await Promise.all(servers.nodes.map(async (node) => (await redisCli(node, 'CLUSTER', 'MYID'))[0] as string))
    const held = await Promise.all(servers.nodes.map((node) => redisCli(node, 'CLUSTER', 'COUNTKEYSINSLOT', slot)))
    const from = held.findIndex(([keys]) => Number(keys) > 0)
    const to = (from + 1) % servers.nodes.length
    const [source, target] = [servers.nodes[from], servers.nodes[to]] as [RedisServer, RedisServer]
    const move = (...keys: string[]) => redisCli(source, 'MIGRATE', '127.0.0.1', String(target.port), '', '0', '5000', 'KEYS', ...keys)
    await redisCli(target, 'CLUSTER', 'SETSLOT', slot, 'IMPORTING', ids[from] as string)
    await redisCli(source, 'CLUSTER', 'SETSLOT', slot, 'MIGRATING', ids[to] as string)
    await cluster.produce({ topic: 'in', records: numbers(COUNT) })
    // Positions on one node, what is counted on the other: nothing can be written as a whole.
    expect(await move(`${PREFIX}${group}`)).toEqual(['OK'])
    await until(() => warned.some((text) => text.includes('non local key')), { what: 'a transaction to be put off' })
    const before = seen
    await cluster.produce({ topic: 'in', records: numbers(COUNT) })
    expect(await move(...KEYS)).toEqual(['OK'])
    for (const node of [target, source]) await redisCli(node, 'CLUSTER', 'SETSLOT', slot, 'NODE', ids[to] as string)
    await until(() => seen > before, { within: 20_000, what: 'it to go on' })
    await cluster.produce({ topic: 'in', records: numbers(COUNT) })
    await running

    expect(await redisCli(target, 'CLUSTER', 'COUNTKEYSINSLOT', slot)).toEqual(['4'])
    expect(await cli('GET', '{orders}:count')).toEqual([String(4 * COUNT)])
    const sums = (await cli('HVALS', '{orders}:sums')).reduce((sum, value) => sum + Number(value), 0)
    expect(sums).toBe(2 * COUNT * (COUNT - 1))
  })
})

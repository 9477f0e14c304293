import { Redis } from 'ioredis'
import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { merge, tap, type Observable } from 'rxjs'
import {
  embedded,
  hset,
  incrby,
  publish,
  silentLogger,
  toRedis,
  toTopic,
  zadd,
  type Cluster,
  type RecordStream,
  type RedisSinkClient,
  type StreamRecord,
  type ToRedisOptions,
} from '../../src/index.js'
import { SCRIPTS } from '../../src/sinks/redis/scripts.js'
import { RedisStore } from '../../src/sinks/redis/to-redis.js'
import type { Commands } from '../../src/sinks/redis/commands.js'
import { createEmbeddedBroker, externalStoreContract, type EmbeddedBroker } from '../../src/testing/index.js'
import { numbers, runUntil, contents, values } from '../support/pipelines.js'
import { startRedis, type RedisServer } from '../support/redis.js'
import { until } from '../support/until.js'

type Row = StreamRecord<Buffer | null, Buffer | null>

describe('toRedis', () => {
  let server: RedisServer
  let redis: Redis
  const clients: Redis[] = []
  const connect = (): Redis => {
    const client = new Redis(server.url, { retryStrategy: () => 20, maxRetriesPerRequest: null })
    client.on('error', () => {})
    clients.push(client)
    return client
  }

  beforeAll(async () => {
    server = await startRedis({ config: { appendonly: 'yes', appendfsync: 'always' } })
    redis = connect()
  })
  afterAll(async () => {
    for (const client of clients) client.disconnect()
    await server.stop()
  })

  describe('the port', () => {
    it.each(externalStoreContract)('$name', ({ run }) =>
      run<Commands>({
        open: () => new RedisStore(connect(), `contract:`),
        write: async (tx, text) => tx.sadd('lines', text),
        written: async (prefix) => (await redis.smembers('lines')).filter((line) => line.startsWith(prefix)),
        writePoison: async (tx) => tx.incrby('lines', Number.NaN),
      }),
    )

    it('a commit that is sent again, as its answer was lost, is done once', async () => {
      const store = new RedisStore(redis, 'again:')
      const place = { sink: 's', topic: 't', partition: 0 }
      const [row] = await store.take('g', [{ ...place, start: 0 }])
      const tx = await store.begin()
      tx.handle.incrby('again', 1)
      const change = { ...place, ...row, was: 0, position: 1, gaps: '', owed: '', epoch: row?.epoch ?? 0 }
      expect([await tx.commit('g', [change]), await tx.commit('g', [change])]).toEqual([true, true])
      expect(await redis.get('again')).toBe('1')
    })

    it('a transaction of 300,000 commands', async () => {
      const store = new RedisStore(redis, 'large:')
      const place = { sink: 's', topic: 't', partition: 0 }
      const [row] = await store.take('g', [{ ...place, start: 0 }])
      const { handle, commit } = await store.begin()
      for (let i = 0; i < 300_000; i++) handle.incrby(`large:${i % 1_000}`, 1)
      expect(await commit('g', [{ ...place, was: 0, position: 1, gaps: '', owed: '', epoch: row?.epoch ?? 0 }])).toBe(true)
      expect(await redis.get('large:999')).toBe('300')
    })

    it('what a command would fail for is seen before any takes effect, with those before it counted in', async () => {
      const store = new RedisStore(redis, 'check:')
      await redis.set('text', 'abc')
      for (const wrong of [
        (tx: Commands) => tx.incrby('text', 1),
        (tx: Commands) => tx.hset('text', { a: 1 }),
        (tx: Commands) => (tx.hset('new', { a: 'x' }), tx.hincrby('new', 'a', 1)),
        (tx: Commands) => (tx.set('new', 'x'), tx.incrby('new', 1)),
        (tx: Commands) => (tx.zadd('new', 1, 'a'), tx.sadd('new', 'a')),
        (tx: Commands) => {
          for (let i = 0; i < 15; i++) tx.incrby('new', 9e14)
        },
      ]) {
        const tx = await store.begin()
        tx.handle.set('first', 'x')
        wrong(tx.handle)
        await expect(tx.commit('g', [])).rejects.toSatisfy((error) => store.blame(error) === 'record')
        expect(await redis.exists('first', 'new')).toBe(0)
      }
      expect(await redis.get('text')).toBe('abc')
      const fine = await store.begin()
      fine.handle.del('text')
      fine.handle.hset('text', { a: 1, b: 'x' })
      fine.handle.hdel('text', 'b')
      fine.handle.hincrby('text', 'b', 2)
      fine.handle.hincrby('text', 'a', 2)
      fine.handle.set('number', 5)
      fine.handle.incrby('number', -7)
      expect(await fine.commit('g', [])).toBe(true)
      expect(await redis.hgetall('text')).toEqual({ a: '3', b: '2' })
      expect(await redis.get('number')).toBe('-2')
      expect(() => fine.handle.incrby('a', 0.5)).toThrow(/no whole number/)
      expect(() => fine.handle.zadd('a', Number.NaN, 'b')).toThrow(/not a number/)
      expect(() => fine.handle.set('a', {} as never)).toThrow(/expected text, bytes or a number/)
      expect(() => fine.handle.hset('a', { one: 'x', two: undefined as never })).toThrow(/hset was given undefined/)
      expect(() => fine.handle.del(7 as never)).toThrow(/for a key/)
      // What was refused is not half sent with what is asked for next.
      const next = await store.begin()
      expect(() => next.handle.sadd('a', 'x', {} as never)).toThrow()
      next.handle.sadd('b', 'y'.repeat(31), 'z'.repeat(32), 'ü', 'ä'.repeat(100), Buffer.from([0, 255]), 1.5)
      expect(await next.commit('g', [])).toBe(true)
      expect(await redis.exists('a')).toBe(0)
      const members = (await redis.smembersBuffer('b')).map((member) => member.toString('latin1')).sort()
      const text = (of: string): string => Buffer.from(of).toString('latin1')
      expect(members).toEqual([text('ü'), '\0\xff', '1.5', 'y'.repeat(31), 'z'.repeat(32), text('ä'.repeat(100))].sort())
    })

    it('puts the prefix of the client before all keys, those of positions and others', async () => {
      const mine = new Redis(server.url, { keyPrefix: 'mine:' })
      clients.push(mine)
      const store = new RedisStore(mine, 'p:')
      const [row] = await store.take('g', [{ sink: 's', topic: 't', partition: 0, start: 0 }])
      const tx = await store.begin()
      tx.handle.incrby('total', 3)
      await tx.commit('g', [{ sink: 's', topic: 't', partition: 0, was: 0, position: 1, gaps: '', owed: '', epoch: row?.epoch ?? 0 }])
      expect(await redis.get('mine:total')).toBe('3')
      expect(await redis.exists('mine:p:g')).toBe(1)
    })
  })

  describe('a pipeline', () => {
    const COUNT = 2_000
    let broker: EmbeddedBroker
    let cluster: Cluster
    let group: string
    let warned: string[]

    beforeEach(async () => {
      broker = createEmbeddedBroker()
      warned = []
      const tell = (_: object, text: string): void => void warned.push(text)
      cluster = embedded({ broker, logger: { ...silentLogger, warn: tell } })
      group = randomUUID()
      await redis.flushall()
      await cluster.createTopics(['in', 'out', 'dead'].map((topic) => ({ topic, partitions: 2 })))
      await cluster.produce({ topic: 'in', records: numbers(COUNT) })
    })
    afterEach(() => cluster.close())

    const counting = (client: RedisSinkClient = redis, more: ToRedisOptions = {}) =>
      toRedis<Row>(
        client,
        (tx, records) => {
          for (const { key, value } of records) {
            tx.incrby('count', 1)
            tx.hincrby('sums', String(key), Number(value))
            tx.zadd('last', Number(value), String(key))
            tx.publish('seen', String(value))
          }
        },
        { within: '1s', ...more },
      )
    const project =
      (client?: Redis, more?: ToRedisOptions) =>
      (records: RecordStream): Observable<unknown> =>
        records.pipe(counting(client, more), toTopic({ topic: 'out' }))
    const options = { maxRecords: 100, every: 20, retryDelay: 5 }
    const exact = async (count = COUNT): Promise<void> => {
      expect(await redis.get('count')).toBe(String(count))
      const sums = await redis.hgetall('sums')
      expect(Object.values(sums).reduce((all, sum) => all + Number(sum), 0)).toBe((count * (count - 1)) / 2)
    }

    it('writes each record once, messages too, though transactions of the log fail', async () => {
      const listener = connect()
      const heard: string[] = []
      listener.on('message', (_, message: string) => heard.push(message))
      await listener.subscribe('seen')
      // Some are undone after Redis has committed, one takes effect and its answer is lost.
      for (const after of [1, 4, 9]) broker.faults.inject({ at: 'end', after, reaction: 'abort' })
      broker.faults.inject({ at: 'end', after: 6, reaction: 'indeterminate', tookEffect: true })
      await runUntil(cluster, { group, topics: ['in'], records: COUNT, options }, project())
      await exact()
      expect(await redis.zscore('last', 'k9')).toBe('1999')
      await until(() => heard.length >= COUNT)
      expect(new Set(heard).size).toBe(COUNT)
      expect(heard).toHaveLength(COUNT)
      expect(await values(cluster, 'out')).toHaveLength(COUNT)
    })

    it('is noticed above where the positions are written apart from the commands', async () => {
      const nothing = Buffer.from([0xdd, 0, 0, 0, 0])
      const apart: RedisSinkClient = {
        async call(command, ...args) {
          if (args[0] !== SCRIPTS.commit.sha && args[0] !== SCRIPTS.commit.text) return redis.call(command, ...args)
          // The commit, how many rows; then the rows, and the commands with a flag.
          await redis.call(command, ...args.slice(0, 4), 0, ...args.slice(-2))
          if (failures-- > 0) throw new Error('Connection is closed.')
          return redis.call(command, ...args.slice(0, -2), nothing, 0)
        },
      }
      let failures = 1
      await runUntil(cluster, { group, topics: ['in'], records: COUNT, options }, (records) =>
        records.pipe(counting(apart), toTopic({ topic: 'out' })),
      )
      expect(Number(await redis.get('count'))).toBeGreaterThan(COUNT)
    })

    it('goes on after kill and restart of Redis, and after a pause longer than it waits', async () => {
      const running = runUntil(cluster, { group, topics: ['in'], records: COUNT, options }, project())
      await until(async () => Number(await redis.get('count')) >= 300)
      await server.restart()
      await until(async () => Number(await redis.get('count')) >= 700)
      server.signal('SIGSTOP')
      // A call is given up meanwhile and made again.
      await until(() => warned.some((text) => text.includes('waits for Redis')))
      server.signal('SIGCONT')
      await running
      await exact()
    }, 30_000)

    it('without the comparison of epochs a zombie would write: with it its transaction is refused', async () => {
      const store = new RedisStore(redis, 'z:')
      const place = { sink: 's', topic: 't', partition: 0, start: 0 }
      const [old] = await store.take('g', [place])
      const zombie = await store.begin()
      zombie.handle.incrby('zombie', 1)
      await store.take('g', [place])
      expect(await zombie.commit('g', [{ ...place, was: 0, position: 5, epoch: old?.epoch ?? 0, gaps: '', owed: '' }])).toBe(false)
      expect(await redis.get('zombie')).toBeNull()
    })

    it('a record that Redis would refuse follows onError, alone', async () => {
      await redis.set('k-bad', 'text')
      await runUntil(
        cluster,
        { group, topics: ['in'], records: COUNT, options: { ...options, onError: { deadLetter: 'dead' } } },
        (records) =>
          records.pipe(
            toRedis<Row>(redis, (tx, all) => {
              for (const { value } of all) tx.incrby(String(value) === '777' ? 'k-bad' : 'count', 1)
            }),
          ),
      )
      expect(await redis.get('count')).toBe(String(COUNT - 1))
      expect((await contents(cluster, 'dead')).map(({ value }) => value)).toEqual(['777'])
    })

    const losses = {
      'that was flushed': () => redis.flushall(),
      'that was started again without its files': () => server.restart({ empty: true }),
    }
    it.each(Object.entries(losses))('a Redis %s under a running pipeline is told, and nothing is written to it', async (_, lose) => {
      let seen = 0
      const running = runUntil(cluster, { group, topics: ['in'], records: COUNT + 100, options }, (records) =>
        project()(records).pipe(tap(() => seen++)),
      )
      running.catch(() => {})
      await until(() => seen >= COUNT)
      await until(async () => (await values(cluster, 'out')).length === COUNT)
      await lose()
      await cluster.produce({ topic: 'in', records: numbers(100) })
      await expect(running).rejects.toMatchObject({
        code: 'SINK_MISMATCH',
        message: expect.stringMatching(/up to 0, and the log has committed 1000.*lost its data/s) as string,
      })
      expect(await redis.exists('count')).toBe(0)
      // Nor does it pass where it is simply started again.
      await expect(runUntil(cluster, { group, topics: ['in'], records: 100, options }, project())).rejects.toMatchObject({
        code: 'SINK_MISMATCH',
      })
      await runUntil(cluster, { group, topics: ['in'], records: 100, options }, project(redis, { onBehind: 'continue' }))
      await exact(100)
    })

    it('helpers: a hash, a counter, a sorted set, messages', async () => {
      const of = { key: (record: Row) => `row:${String(record.value)}` }
      await runUntil(cluster, { group, topics: ['in'], records: COUNT, options }, (records) =>
        merge(
          records.pipe(
            toRedis(redis, hset<Row>({ ...of, fields: (record) => (String(record.value) === '5' ? null : { key: String(record.key) }) }), {
              name: 'a',
            }),
          ),
          records.pipe(toRedis(redis, incrby<Row>({ key: () => 'n' }), { name: 'b' })),
          records.pipe(
            toRedis(redis, zadd<Row>({ key: () => 'z', member: (r) => String(r.value), score: (r) => (Number(r.value) % 2 ? 1 : null) }), {
              name: 'c',
            }),
          ),
          records.pipe(toRedis(redis, publish<Row>({ channel: () => 'c', message: (r) => String(r.value) }), { name: 'd' })),
        ),
      )
      expect(await redis.hgetall('row:7')).toEqual({ key: 'k7' })
      expect(await redis.exists('row:5')).toBe(0)
      expect(await redis.get('n')).toBe(String(COUNT))
      expect(await redis.zcard('z')).toBe(COUNT / 2)
    })

    it('bad options are refused by name', () => {
      expect(() => toRedis({} as never, () => {})).toThrow(/a client of ioredis/)
      expect(() => toRedis(redis, () => {}, { batch: 0 })).toThrow(/batch/)
    })
  })
})

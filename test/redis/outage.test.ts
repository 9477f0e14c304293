import { Redis } from 'ioredis'
import type { Subscription } from 'rxjs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  dedupe,
  embedded,
  header,
  redisClaims,
  silentLogger,
  toTopic,
  withTransaction,
  type ClaimStore,
  type Cluster,
  type Commit,
  type Logger,
} from '../../src/index.js'
import { createEmbeddedBroker, type EmbeddedBroker } from '../../src/testing/index.js'
import { values } from '../support/pipelines.js'
import { startRedis, type RedisServer } from '../support/redis.js'
import { until } from '../support/until.js'

const GROUPS = ['a', 'b'] as const
const PARTITIONS = 2
/** Of the records fed at a time; each id comes once in every partition of both groups. */
const STEP = 50

describe('Redis that fails under load', () => {
  let redis: RedisServer
  let broker: EmbeddedBroker
  let cluster: Cluster
  let store: ClaimStore
  let running: Subscription[] = []
  let commits: Commit[] = []
  let warned: string[] = []
  let failed: unknown
  let fed = 0
  let feeding: Promise<void> | undefined
  let enough = false

  beforeEach(async () => {
    redis = await startRedis()
    broker = createEmbeddedBroker()
    warned = []
    const logger: Logger = { ...silentLogger, warn: (_, message) => warned.push(message) }
    cluster = embedded({ broker, logger })
    await cluster.createTopics([...GROUPS.map((topic) => ({ topic, partitions: PARTITIONS })), { topic: 'out', partitions: 2 }])
    store = redisClaims({ url: redis.url, prefix: 'test:' })
    commits = []
    failed = undefined
    fed = 0
    enough = false
    for (const group of GROUPS) start(group)
  })

  afterEach(async () => {
    enough = true
    await feeding
    for (const one of running) one.unsubscribe()
    running = []
    await cluster.close()
    await store.close()
    await redis.stop()
  })

  const start = (group: string): Subscription => {
    const one = cluster
      .source({ group, topics: [group] })
      .pipe(
        withTransaction((records) => records.pipe(dedupe({ by: header('id'), within: '10m', store }), toTopic({ topic: 'out' })), {
          every: 20,
          maxRecords: 40,
        }),
      )
      .subscribe({ next: (commit) => commits.push(commit), error: (error: unknown) => (failed = error) })
    running.push(one)
    return one
  }

  const feed = async (): Promise<void> => {
    const ids = Array.from({ length: STEP }, (_, i) => String(fed + i))
    fed += STEP
    for (const group of GROUPS) {
      const records = Array.from({ length: PARTITIONS }, (_, partition) =>
        ids.map((id) => ({ value: id, partition, headers: { id } })),
      ).flat()
      await cluster.produce({ topic: group, records })
    }
  }

  /** Feeds until told that it is enough. */
  const load = (): void => {
    feeding = (async () => {
      while (!enough) {
        await feed()
        await until(() => lag() < 2_000 || enough, { what: 'the pipelines to keep up', within: 60_000, every: 5 })
      }
    })()
  }

  const total = (field: 'records' | 'processed' | 'duplicate'): number => commits.reduce((sum, commit) => sum + commit[field], 0)
  const lag = (): number => fed * PARTITIONS * GROUPS.length - total('records')

  const finish = async (): Promise<string[]> => {
    enough = true
    await feeding
    await until(
      () => {
        if (failed !== undefined) throw failed
        return lag() <= 0
      },
      { what: 'all records to be committed', within: 60_000 },
    )
    return (await values(cluster, 'out')) as string[]
  }

  const all = (): string[] => Array.from({ length: fed }, (_, i) => String(i)).sort()

  it('stopped and let go again: intake waits, heartbeats do not, and each id passes once', async () => {
    load()
    await until(() => total('records') > 2_000, { what: 'some load' })
    redis.signal('SIGSTOP')
    await until(() => warned.some((text) => text.includes('waits for its store')), { what: 'the pipelines to notice' })
    const before = total('records')
    // A member joins and leaves while Redis hangs: nobody waits for it.
    const third = start('a')
    await until(() => broker.groups().some(({ group, state, members }) => group === 'a' && state === 'stable' && members.length === 2), {
      what: 'a member to join',
    })
    third.unsubscribe()
    await until(() => broker.members('a').length === 1, { what: 'it to leave' })
    expect(total('records')).toBe(before)
    redis.signal('SIGCONT')
    await until(() => total('records') > before + 2_000, { what: 'the load to go on', within: 30_000 })
    expect(await finish()).toEqual(all())
  })

  it('killed and started again, empty: nothing is lost, and what passes twice had been claimed before', async () => {
    load()
    await until(() => total('records') > 2_000, { what: 'some load' })
    redis.signal('SIGKILL')
    const claimed = fed
    await redis.restart()
    const before = total('records')
    await until(() => total('records') > before + 2_000, { what: 'the load to go on', within: 30_000 })
    const outputs = await finish()
    expect([...new Set(outputs)]).toEqual(all())
    const twice = outputs.filter((id, i) => outputs[i - 1] === id)
    expect(twice.filter((id) => Number(id) >= claimed + 2_000)).toEqual([])
  })

  it('flushed, again and again: nothing is lost', async () => {
    load()
    const admin = new Redis(redis.url)
    for (let i = 1; i <= 5; i++) {
      await until(() => total('records') > i * 1_500, { what: 'some load', within: 30_000 })
      await admin.flushall()
    }
    admin.disconnect()
    expect([...new Set(await finish())]).toEqual(all())
  })

  it('of scripts it does not know any more', async () => {
    load()
    const admin = new Redis(redis.url)
    await until(() => total('records') > 1_000, { what: 'some load' })
    await admin.script('FLUSH')
    admin.disconnect()
    const before = total('records')
    await until(() => total('records') > before + 1_000, { what: 'the load to go on' })
    expect(await finish()).toEqual(all())
  })

  it('with all connections closed, again and again: each id passes once', async () => {
    load()
    const admin = new Redis(redis.url)
    for (let i = 1; i <= 5; i++) {
      await until(() => total('records') > i * 1_000, { what: 'some load', within: 30_000 })
      await admin.call('client', 'kill', 'type', 'normal', 'skipme', 'yes')
    }
    admin.disconnect()
    expect(await finish()).toEqual(all())
  })

  it('that counts what it is asked to: one of each id passes, the others are duplicates, and find tells both', async () => {
    for (let i = 0; i < 4; i++) await feed()
    expect(await finish()).toEqual(all())
    expect([total('processed'), total('duplicate')]).toEqual([fed, fed * (PARTITIONS * GROUPS.length - 1)])
    await until(async () => (await store.find('7'))?.duplicates === PARTITIONS * GROUPS.length - 1, { what: 'the duplicates to be noted' })
    expect((await store.find('7'))?.state).toBe('passed')
  })
})

describe('a failover to a replica that lags', () => {
  it('loses no record; what passes twice had been claimed where the replica did not see it', async () => {
    const master = await startRedis()
    const replica = await startRedis({ config: { replicaof: `127.0.0.1 ${master.port}`, 'replica-read-only': 'yes' } })
    const sentinel = await startRedis({ sentinelOf: master.port })
    const client = new Redis({
      sentinels: [{ host: '127.0.0.1', port: sentinel.port }],
      name: 'main',
      sentinelRetryStrategy: () => 100,
      retryStrategy: () => 100,
    })
    client.on('error', () => {})
    const admin = new Redis(replica.url)
    await until(async () => (await admin.info('replication')).includes('master_link_status:up'), { what: 'the replica to follow' })
    const watch = new Redis({ port: sentinel.port })
    await until(async () => String(await watch.call('sentinel', 'master', 'main')).includes('num-slaves,1'), {
      what: 'the sentinel to know the replica',
      within: 20_000,
    })
    const cluster = embedded({ logger: silentLogger })
    await cluster.createTopics([
      { topic: 'in', partitions: 2 },
      { topic: 'out', partitions: 2 },
    ])
    const store = redisClaims({ client, prefix: 'test:' })
    let records = 0
    const pipeline = cluster
      .source({ group: 'g', topics: ['in'] })
      .pipe(
        withTransaction((stream) => stream.pipe(dedupe({ by: header('id'), within: '10m', store }), toTopic({ topic: 'out' })), {
          every: 20,
        }),
      )
      .subscribe((commit) => (records += commit.records))
    const feed = (from: number, to: number): Promise<number> =>
      cluster.produce({
        topic: 'in',
        records: [0, 1].flatMap((partition) =>
          Array.from({ length: to - from }, (_, i) => ({ value: String(from + i), partition, headers: { id: String(from + i) } })),
        ),
      })
    await feed(0, 200)
    await until(() => records === 400, { what: 'the first ids' })
    await until(async () => Number(await admin.dbsize()) >= 200, { what: 'the replica to have them' })
    // From here on the replica gets nothing more.
    await admin.call('replicaof', '127.0.0.1', '1')
    await feed(200, 300)
    await until(() => records === 600, { what: 'ids that the replica does not see' })
    await admin.call('replicaof', '127.0.0.1', master.port)
    master.signal('SIGKILL')
    await until(async () => (await admin.role())[0] === 'master', { what: 'the failover', within: 40_000 })
    await feed(0, 400)
    await until(() => records === 1_400, { what: 'all records', within: 40_000 })
    const outputs = (await values(cluster, 'out')) as string[]
    expect([...new Set(outputs)]).toEqual(Array.from({ length: 400 }, (_, i) => String(i)).sort())
    const twice = [...new Set(outputs.filter((id, i) => outputs[i - 1] === id))].map(Number)
    expect(twice.filter((id) => id < 200 || id >= 300)).toEqual([])
    pipeline.unsubscribe()
    await cluster.close()
    for (const one of [client, admin, watch]) one.disconnect()
    await Promise.all([master, replica, sentinel].map((server) => server.stop()))
  }, 120_000)
})

import { Cluster, Redis } from 'ioredis'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { redisClaims, type ClaimStore, type MillraceError, type RedisClient } from '../../src/index.js'
import { claimStoreContract, exclusiveIdsContract } from '../../src/testing/index.js'
import { someRedis, startRedis, startRedisCluster, type RedisCluster, type RedisServer } from '../support/redis.js'
import { until } from '../support/until.js'

const everything = [...claimStoreContract, ...exclusiveIdsContract]

/** Opens stores that are closed together. */
class Stores {
  private readonly opened: ClaimStore[] = []

  constructor(private readonly make: () => ClaimStore) {}

  readonly open = (): ClaimStore => {
    const store = this.make()
    this.opened.push(store)
    return store
  }

  async close(): Promise<void> {
    await Promise.all(this.opened.map((store) => store.close()))
  }
}

describe('claims in Redis, by URL', () => {
  let redis: Awaited<ReturnType<typeof someRedis>>
  let stores: Stores

  beforeAll(async () => {
    redis = await someRedis()
    const prefix = `test-${process.pid}:`
    stores = new Stores(() => redisClaims({ url: redis.url, prefix }))
  })

  afterAll(async () => {
    await stores.close()
    await redis.stop()
  })

  it.each(everything)('$name', ({ run }) => run(stores.open))

  it('keeps ids of different prefixes apart', async () => {
    const [one, other] = ['a:', 'b:'].map((prefix) => redisClaims({ url: redis.url, prefix: `${prefix}${process.pid}` })) as [
      ClaimStore,
      ClaimStore,
    ]
    const claim = (store: ClaimStore): Promise<unknown> =>
      store.claim([{ id: 'x', origin: { topic: 't', partition: 0, offset: 0 } }], {
        group: 'g',
        transaction: Math.random().toString(36),
        generation: 1,
        withinMs: 5_000,
      })
    expect(await claim(one)).toEqual([undefined])
    expect(await claim(other)).toEqual([undefined])
    expect(await claim(other)).not.toEqual([undefined])
    await Promise.all([one.close(), other.close()])
    await expect(claim(one)).rejects.toMatchObject({ code: 'CLAIM_STORE_FAILED', retryable: false })
  })
})

describe('claims in Redis, over a client of the user, with a key prefix of its own', () => {
  let redis: Awaited<ReturnType<typeof someRedis>>
  let client: Redis
  let stores: Stores

  beforeAll(async () => {
    redis = await someRedis()
    client = new Redis(redis.url, { keyPrefix: 'mine:' })
    stores = new Stores(() => redisClaims({ client, prefix: `test-${process.pid}:` }))
  })

  afterAll(async () => {
    await stores.close()
    // Still the user's.
    expect(client.status).toBe('ready')
    await client.quit()
    await until(
      () =>
        stores
          .open()
          .ends(['x'])
          .then(
            () => false,
            (error: MillraceError) => error.code === 'CLAIM_STORE_FAILED',
          ),
      { what: 'a closed client to be told' },
    )
    await redis.stop()
  })

  it.each(everything)('$name', ({ run }) => run(stores.open))
})

describe('claims in Redis Cluster', () => {
  let cluster: RedisCluster
  let client: Cluster
  let stores: Stores

  beforeAll(async () => {
    cluster = await startRedisCluster()
    client = new Cluster(cluster.nodes.map(({ port }) => ({ host: '127.0.0.1', port })))
    stores = new Stores(() => redisClaims({ client, prefix: 'test:' }))
  }, 40_000)

  afterAll(async () => {
    client.disconnect()
    await cluster.stop()
  })

  it.each(everything)('$name', ({ run }) => run(stores.open))

  it('spreads the ids over the nodes', async () => {
    const requests = Array.from({ length: 300 }, (_, offset) => ({ id: `spread-${offset}`, origin: { topic: 't', partition: 0, offset } }))
    await stores.open().claim(requests, { group: 'g', transaction: 'spread', generation: 1, withinMs: 60_000 })
    const sizes = await Promise.all(client.nodes('master').map((node) => node.dbsize()))
    expect(Math.min(...sizes)).toBeGreaterThan(50)
  })
})

describe('claims in Redis behind Sentinel', () => {
  let master: RedisServer
  let sentinel: RedisServer
  let client: Redis
  let stores: Stores

  beforeAll(async () => {
    master = await startRedis()
    sentinel = await startRedis({ sentinelOf: master.port })
    client = new Redis({ sentinels: [{ host: '127.0.0.1', port: sentinel.port }], name: 'main' })
    stores = new Stores(() => redisClaims({ client, prefix: 'test:' }))
  })

  afterAll(async () => {
    client.disconnect()
    await sentinel.stop()
    await master.stop()
  })

  it.each(everything)('$name', ({ run }) => run(stores.open))
})

describe('redisClaims', () => {
  it('refuses wrong options by name', () => {
    const wrong =
      (options: object): (() => unknown) =>
      () =>
        redisClaims(options as never)
    const client = { call: async () => null, status: 'ready' } satisfies RedisClient
    expect(wrong({ url: 'redis://x' })).toThrow(/prefix: /)
    expect(wrong({ prefix: 'a:' })).toThrow(/client: give either client or url/)
    expect(wrong({ prefix: 'a:', url: 'redis://x', client })).toThrow(/either client or url/)
    expect(wrong({ prefix: 'a:', url: 'http://x' })).toThrow(/url: expected redis:/)
    expect(wrong({ prefix: 'a{b}:', url: 'redis://x' })).toThrow(/prefix: may not hold braces/)
    expect(wrong({ prefix: 'a:', client: {} })).toThrow(/client: expected an ioredis client/)
    expect(wrong({ prefix: 'a:', url: 'redis://x', ttl: 5 })).toThrow(/'ttl'/)
  })

  it('names what only an operator can cure, and does not try it again', async () => {
    const guarded = await startRedis({ config: { requirepass: 'secret' } })
    const store = redisClaims({ url: guarded.url, prefix: 'a:' })
    await expect(store.ends(['x'])).rejects.toMatchObject({
      code: 'CLAIM_STORE_FAILED',
      retryable: false,
      message: expect.stringContaining('NOAUTH') as string,
    })
    await store.close()
    const known = redisClaims({ url: guarded.url.replace('redis://', 'redis://:secret@'), prefix: 'a:' })
    expect(await known.ends(['x'])).toEqual([undefined])
    await known.close()
    await guarded.stop()
  })

  it("tells when its keys are somebody else's", async () => {
    const redis = await startRedis()
    const client = new Redis(redis.url)
    await client.set('a:i:x', 'something else')
    await client.lpush('a:i:y', 'a list')
    const store = redisClaims({ client, prefix: 'a:' })
    const claim = (id: string): Promise<unknown> =>
      store.claim([{ id, origin: { topic: 't', partition: 0, offset: 0 } }], {
        group: 'g',
        transaction: 't',
        generation: 1,
        withinMs: 5_000,
      })
    await expect(claim('x')).rejects.toMatchObject({
      code: 'CLAIM_STORE_FAILED',
      message: expect.stringContaining('something else') as string,
    })
    await expect(claim('y')).rejects.toMatchObject({ code: 'CLAIM_STORE_FAILED', message: expect.stringContaining('WRONGTYPE') as string })
    client.disconnect()
    await redis.stop()
  })
})

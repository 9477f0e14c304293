import { z } from 'zod'
import type { ClaimStore } from './claims/claim-store.js'
import { RedisClaims } from './claims/redis-claims.js'
import type { RedisClient } from './claims/redis-client.js'
import { parseOptions } from '../../runtime/options.js'

interface RedisClaimsBase {
  /** What all keys begin with: it says what the ids are ids of, as ids of one prefix are one id. No braces. */
  readonly prefix: string
}

/** A client of yours, which stays yours; or a URL, `redis://user:password@host:6379/0` (`rediss://` with TLS), for one of its own. */
export type RedisClaimsOptions = RedisClaimsBase &
  ({ readonly client: RedisClient; readonly url?: never } | { readonly url: string; readonly client?: never })

const schema = z
  .strictObject({
    prefix: z
      .string()
      .min(1)
      .regex(/^[^{}]*$/, { message: 'may not hold braces, by which Redis Cluster finds the slot' }),
    client: z
      .custom<RedisClient>((given) => typeof (given as Partial<RedisClient> | null | undefined)?.call === 'function', {
        message: 'expected an ioredis client',
      })
      .optional(),
    url: z
      .string()
      .regex(/^rediss?:\/\//, { message: 'expected redis://host:port or rediss://host:port' })
      .optional(),
  })
  .refine(({ client, url }) => (client === undefined) !== (url === undefined), { path: ['client'], message: 'give either client or url' })

/**
 * Ids in Redis, for `dedupe`: shared by all partitions, pipelines and services that use the same Redis and prefix, and whose groups are on
 * the same Kafka cluster.
 *
 * One round trip a batch of records. Claims are keys that expire after `within`; beside them stands one key a transaction, telling how it
 * ended. About 200 bytes an id in Redis. Cluster and Sentinel clients work. ioredis, an optional dependency, is loaded when it is first
 * used, and only for a `url`.
 *
 * @throws MillraceError INVALID_OPTIONS; later CLAIM_STORE_FAILED
 * @example
 * const claims = redisClaims({ url: 'redis://localhost:6379', prefix: 'orders:' })
 * records.pipe(dedupe({ by: header('id'), within: '1d', store: claims }))
 * await claims.find('order-17')
 * await claims.close() // after the pipelines
 */
export function redisClaims(options: RedisClaimsOptions): ClaimStore {
  const { client, url, prefix } = parseOptions(schema, options, 'redisClaims')
  return new RedisClaims(client ?? (url as string), prefix, client?.isCluster === true)
}

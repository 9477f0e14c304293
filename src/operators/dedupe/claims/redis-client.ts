import { MillraceError, errorMessage } from '../../../record/error.js'
import { load } from '../../../record/load.js'
import type { Script } from './redis-scripts.js'

/** What is used of an ioredis client: a `Redis` (also one behind Sentinel) or a `Cluster`. */
export interface RedisClient {
  call(command: string, ...args: (string | Buffer | number)[]): Promise<unknown>
  readonly status: string
  readonly isCluster?: boolean
}

interface OwnClient extends RedisClient {
  disconnect(): void
  on(event: 'error', listener: (error: unknown) => void): unknown
}

/** Nobody but an operator can put these right. */
const REFUSED =
  /^(NOAUTH|WRONGPASS|NOPERM|WRONGTYPE|DENIED|ERR (AUTH|unknown command|unsupported|invalid password|Client sent AUTH|.*[Ss]cript))/
/** A Redis that is stopped, or a host that is gone, does not close its sockets. */
const SOCKET_TIMEOUT_MS = 15_000
const MAX_RECONNECT_MS = 2_000

/** A client given, or one made from a URL when it is first needed. */
export class RedisConnection {
  private own: Promise<OwnClient> | undefined
  private closed = false

  constructor(private readonly given: RedisClient | string) {}

  async client(): Promise<RedisClient> {
    const { given } = this
    if (this.closed) throw new MillraceError('CLAIM_STORE_FAILED', 'the claims were closed: close them after the pipelines that use them')
    if (typeof given !== 'string') {
      if (given.status === 'end')
        throw new MillraceError(
          'CLAIM_STORE_FAILED',
          'the Redis client given to redisClaims was closed, and does not connect again: close it after the pipelines that use it',
        )
      return given
    }
    this.own ??= connect(given)
    return this.own
  }

  /** @throws MillraceError CLAIM_STORE_FAILED for what trying again cannot cure */
  async call(command: string, ...args: (string | number | Buffer)[]): Promise<unknown> {
    const client = await this.client()
    try {
      return await client.call(command, ...args)
    } catch (error) {
      throw this.judged(error)
    }
  }

  async run({ sha, text }: Script, keys: readonly string[], args: readonly (string | number | Buffer)[]): Promise<unknown> {
    const client = await this.client()
    try {
      return await client.call('evalsha', sha, keys.length, ...keys, ...args)
    } catch (error) {
      if (!errorMessage(error).startsWith('NOSCRIPT')) throw this.judged(error)
    }
    // A Redis that was started anew, or another one after a failover.
    return this.call('eval', text, keys.length, ...keys, ...args)
  }

  async close(): Promise<void> {
    this.closed = true
    const own = this.own
    this.own = undefined
    await own?.then(
      (client) => client.disconnect(),
      () => {},
    )
  }

  private judged(error: unknown): unknown {
    const message = errorMessage(error)
    if (this.closed)
      return new MillraceError(
        'CLAIM_STORE_FAILED',
        'the claims were closed while they were used: close them after the pipelines that use them',
        { cause: error },
      )
    if (!REFUSED.test(message)) return error
    return new MillraceError(
      'CLAIM_STORE_FAILED',
      `Redis refuses: ${message}. Check user and password, the rights of the user (SET, GET, PTTL, MGET, EVAL, EVALSHA on the prefix), and that nothing else uses the prefix`,
      { cause: error },
    )
  }
}

async function connect(url: string): Promise<OwnClient> {
  let Redis: typeof import('ioredis').Redis
  try {
    ;({ Redis } = load('ioredis') as typeof import('ioredis'))
  } catch (error) {
    throw new MillraceError(
      'CLAIM_STORE_FAILED',
      `redisClaims({ url }) needs ioredis, which is not installed: npm install ioredis (${errorMessage(error)})`,
      { cause: error },
    )
  }
  const client = new Redis(url, {
    // What cannot be sent now is sent when it is back; what was sent and not answered is sent again, which changes nothing.
    maxRetriesPerRequest: null,
    retryStrategy: (times) => Math.min(MAX_RECONNECT_MS, 50 * 2 ** Math.min(times, 10)),
    socketTimeout: SOCKET_TIMEOUT_MS,
    // A replica that a failover has left behind.
    reconnectOnError: (error) => (error.message.startsWith('READONLY') ? 2 : false),
  })
  // Errors come out of the calls; without a listener ioredis prints them.
  client.on('error', () => {})
  return client
}

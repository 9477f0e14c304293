import { randomUUID } from 'node:crypto'
import type { OperatorFunction } from 'rxjs'
import { z } from 'zod'
import type { Duration } from '../../record/duration.js'
import { errorMessage } from '../../record/error.js'
import type { StreamRecord } from '../../record/record.js'
import type { Good, Handled, RecordOrFailure } from '../../record/types.js'
import { functionOption, objectWith, parseOptions } from '../../runtime/options.js'
import type { Blame, ExternalStore, ExternalTransaction, Place, PlaceToTake, RowChange, StoredRow } from '../external/port.js'
import { externalSchema, toExternal } from '../external/to-external.js'
import { Commands, ForeignKey, RefusedCommand, hashTagOf, type CommandsOptions, type RedisWrite } from './commands.js'
import { CLUSTER_SCRIPTS, SCRIPTS, type Script } from './scripts.js'

/** What is used of an ioredis client: a `Redis` (also one behind Sentinel) or a `Cluster`. */
export interface RedisSinkClient {
  call(command: string, ...args: (string | Buffer | number)[]): Promise<unknown>
  readonly isCluster?: boolean
  readonly options?: { readonly keyPrefix?: string | undefined }
}

export interface ToRedisOptions {
  /** Names the positions of this sink; must stay the same. Default 'redis'; needed where a pipeline has two. */
  readonly name?: string
  /**
   * What keys of positions begin with. On a cluster it needs a hash tag, and all keys written the same one, '{orders}:total': they change
   * together only on one node. Default 'millrace:positions:'.
   */
  readonly prefix?: string
  /** Most records of one call of `write`. Default 1,000. */
  readonly batch?: number
  /** Whether writing a record again changes nothing, so that records without a position are taken. Default false. */
  readonly repeatable?: boolean
  /** After this long without an answer a call is given up and made again. Default '30s'. */
  readonly within?: Duration
  /** What to do where Redis has less than the log has committed: it lost its last second, or fails over. Default 'stop'. */
  readonly onBehind?: 'stop' | 'continue'
}

const schema = externalSchema.extend({ prefix: z.string().default('millrace:positions:') })
const clusterSchema = schema.refine(({ prefix }) => hashTagOf(prefix) !== prefix, {
  path: ['prefix'],
  message: "a cluster needs a hash tag in it, as in '{orders}:positions:', and the same one in every key that is written",
})
const given = z.tuple([
  objectWith<RedisSinkClient>(['call'], 'a client of ioredis'),
  functionOption<RedisWrite<StreamRecord<unknown, unknown>>>('a function of the transaction and the records'),
])
const stores = new WeakMap<RedisSinkClient, Map<string, RedisStore>>()

/**
 * Writes the records of a slice to Redis, in one call with the position of each partition of the source, and passes them on: each takes
 * effect once, counters and messages too, whatever fails.
 *
 * The commands of a transaction are gathered and sent as one script, which first compares the positions' epochs: those of a member that
 * was replaced are refused. It commits before the log does; if that fails, or the process dies in between, the records come again, and are
 * not written again. Redis keeps what it acknowledged only as far as its persistence does: docs/redis.md.
 *
 * `write` is called with up to `batch` records of one task, in order. A command that cannot work (on a key of another type, a counter that
 * is no number) fails the transaction before any takes effect; the record to blame is searched for and follows `onError` of
 * withTransaction.
 * While Redis is away nothing is taken in.
 *
 * Order: kept, by task. Offsets: commit after Redis has. State: a field a sink and partition in a hash '<prefix><group>'. Memory: the
 * commands of the transaction. It does not take FailedRecords. In `Commit.meters`, `<name>.repeated` counts records written before.
 *
 * @throws MillraceError INVALID_OPTIONS; OUTSIDE_SLICE; PLAN_FAILED for two sinks of one name; as error of the slice NO_POSITION,
 * SINK_REFUSED, SINK_MISMATCH
 * @example
 * orders.pipe(toRedis(redis, (tx, records) => {
 *   for (const order of records) {
 *     tx.hset(`order:${order.id}`, { total: order.value.total })
 *     tx.incrby(`revenue:${order.value.shop}`, order.value.total)
 *   }
 * }))
 */
export function toRedis<R extends RecordOrFailure = StreamRecord<unknown, unknown>>(
  client: RedisSinkClient,
  write: Handled<R> & RedisWrite<NoInfer<Good<R>>>,
  options?: ToRedisOptions,
): OperatorFunction<R, Good<R>>
export function toRedis<R extends StreamRecord<unknown, unknown>>(
  client: RedisSinkClient,
  write: RedisWrite<R>,
  options: ToRedisOptions = {},
): OperatorFunction<R, R> {
  parseOptions(given, [client, write], 'toRedis')
  const onCluster = client.isCluster === true
  const { name = 'redis', repeatable = false, prefix, ...settings } = parseOptions(onCluster ? clusterSchema : schema, options, 'toRedis')
  const known = stores.get(client) ?? new Map<string, RedisStore>()
  stores.set(client, known)
  const store = known.get(prefix) ?? new RedisStore(client, prefix)
  known.set(prefix, store)
  return toExternal<Commands, R>('toRedis', store, write, { ...settings, name, repeatable })
}

/** Positions in a hash, and transactions that are one script. */
export class RedisStore implements ExternalStore<Commands> {
  readonly name = 'Redis'
  private readonly scripts
  private readonly commands: CommandsOptions

  constructor(
    private readonly client: RedisSinkClient,
    private readonly prefix: string,
  ) {
    const { isCluster, options } = client
    const keyPrefix = options?.keyPrefix ?? ''
    this.scripts = isCluster === true ? CLUSTER_SCRIPTS : SCRIPTS
    // The client puts its prefix before keys that it is told of, and not before those that a script is given in a list.
    this.commands = { keyPrefix, hashTag: isCluster === true ? hashTagOf(keyPrefix + prefix) : undefined }
  }

  async take(group: string, places: readonly PlaceToTake[]): Promise<readonly StoredRow[]> {
    const rows = await this.run(
      this.scripts.take,
      group,
      places.flatMap((place) => [fieldOf(place), place.start]),
    )
    return (rows as unknown[]).map((row) => rowOf(row))
  }

  async read(group: string, places: readonly Place[]): Promise<readonly (StoredRow | undefined)[]> {
    const rows = (await this.client.call('hmget', this.keyOf(group), ...places.map(fieldOf))) as unknown[]
    return rows.map((row) => (row === null ? undefined : rowOf(row)))
  }

  begin(): Promise<ExternalTransaction<Commands>> {
    const handle = new Commands(this.commands)
    const id = randomUUID()
    return Promise.resolve({
      handle,
      commit: async (group: string, changes: readonly RowChange[]) => {
        const rows = changes.flatMap((change) => [fieldOf(change), `${change.was}|${change.epoch}`, contentOf(change)])
        const args = [id, changes.length, ...rows, handle.packed(), handle.addsToFields ? 1 : 0]
        return (await this.run(this.scripts.commit, group, args)) === 1
      },
      // Nothing was sent yet, or it can no longer be told: the next who takes the rows learns which.
      rollback: () => Promise.resolve(),
    })
  }

  blame(error: unknown): Blame {
    if (error instanceof RefusedCommand) return 'record'
    if (error instanceof ForeignKey) return 'program'
    const text = errorMessage(error)
    if (/^(ERR )?REFUSED /.test(text) || text.startsWith('WRONGTYPE')) return 'record'
    if (AWAY.test(text)) return 'away'
    if (error instanceof Error && (error.name === 'ReplyError' || error.name === 'ClusterAllFailedError')) return 'program'
    return undefined
  }

  private keyOf(group: string): string {
    return `${this.prefix}${group}`
  }

  private async run({ sha, text }: Script, group: string, args: readonly (string | Buffer | number)[]): Promise<unknown> {
    const key = this.keyOf(group)
    try {
      return await this.client.call('evalsha', sha, 1, key, ...args)
    } catch (error) {
      if (!errorMessage(error).startsWith('NOSCRIPT')) throw error
    }
    // A Redis that was started anew, or another one after a failover.
    return this.client.call('eval', text, 1, key, ...args)
  }
}

/** Sockets, a client that lost one, and a Redis that cannot serve now: 'non local key' while a slot moves. */
const AWAY =
  /^(READONLY|LOADING|CLUSTERDOWN|MASTERDOWN|TRYAGAIN|BUSY|OOM|MISCONF|NOREPLICAS|UNBLOCKED|ERR max number of clients)|ECONN|EPIPE|ETIMEDOUT|ENOTFOUND|EAI_AGAIN|EHOST|ENET|non local key|Connection is closed|Reached the max retries|Command timed out|Socket timeout|Stream isn't writeable|Failed to refresh slots|None of startup nodes/

function fieldOf({ sink, topic, partition }: Place): string {
  return `${sink}/${topic}/${partition}`
}

function contentOf({ position, epoch, gaps, owed }: StoredRow): string {
  return `${position}|${epoch}|${gaps}|${owed}`
}

function rowOf(given: unknown): StoredRow {
  const [position, epoch, gaps = '', owed = ''] = String(given).split('|')
  return { position: Number(position), epoch: Number(epoch), gaps, owed }
}

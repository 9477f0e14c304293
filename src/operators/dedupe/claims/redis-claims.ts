import { systemClock } from '../../../record/clock.js'
import { MillraceError } from '../../../record/error.js'
import type { Origin } from '../../../record/origin.js'
import type { ClaimNote, ClaimRequest, ClaimStore, ClaimTerms, HeldClaim, TransactionEnd } from './claim-store.js'
import type { ProcessedId } from './processed.js'
import { RedisConnection, type RedisClient } from './redis-client.js'
import { RedisExclusiveIds } from './redis-exclusive-ids.js'
import { CLAIM, FIND, NOTE, TAKE_OVER } from './redis-scripts.js'

/** In a cluster a script takes keys of one slot: ids are spread over so many. Part of the keys' names. */
const SLOTS = 64

/** Requests whose keys go in one script. */
interface Batch {
  readonly at: number[]
  readonly keys: string[]
  readonly args: (string | number)[]
}

/** See `redisClaims`. */
export class RedisClaims implements ClaimStore {
  readonly name = 'Redis'
  readonly exclusive: RedisExclusiveIds
  private readonly connection: RedisConnection

  constructor(
    given: RedisClient | string,
    private readonly prefix: string,
    private readonly cluster: boolean,
  ) {
    this.connection = new RedisConnection(given)
    this.exclusive = new RedisExclusiveIds(this.connection, prefix)
  }

  async claim(requests: readonly ClaimRequest[], terms: ClaimTerms): Promise<readonly (HeldClaim | undefined)[]> {
    const { transaction, generation, withinMs } = terms
    const group = encodeURIComponent(terms.group)
    const batches = new Map<string, Batch>()
    requests.forEach(({ id, origin, over }, at) => {
      const { topic, partition, offset } = origin
      const name = `${over === undefined} ${topic}/${partition} ${this.slotOf(id)}`
      let batch = batches.get(name)
      if (batch === undefined)
        batches.set(
          name,
          (batch = { at: [], keys: [], args: [withinMs, `${transaction} ${generation} ${group} ${topic}/${partition}/`, ` ${withinMs}`] }),
        )
      batch.at.push(at)
      batch.keys.push(this.keyOf(id))
      batch.args.push(offset)
      if (over !== undefined) batch.args.push(beginningOf(over))
    })
    const holders = new Array<HeldClaim | undefined>(requests.length).fill(undefined)
    await Promise.all(
      [...batches].map(async ([name, { at, keys, args }]) => {
        const told = (await this.connection.run(name.startsWith('true') ? CLAIM : TAKE_OVER, keys, args)) as (string | number)[]
        for (let i = 0; i < told.length; i += 3)
          holders[at[(told[i] as number) - 1] as number] = heldOf(told[i + 1] as string, told[i + 2] as number)
      }),
    )
    return holders
  }

  async end(transaction: string, how: TransactionEnd, keepMs: number): Promise<void> {
    await this.connection.call('set', this.endKey(transaction), how, 'PX', keepMs, 'NX')
  }

  async ends(transactions: readonly string[]): Promise<readonly (TransactionEnd | undefined)[]> {
    if (transactions.length === 0) return []
    const keys = transactions.map((transaction) => this.endKey(transaction))
    const ends = this.cluster
      ? await Promise.all(keys.map((key) => this.connection.call('get', key)))
      : ((await this.connection.call('mget', ...keys)) as unknown[])
    return ends.map((end) => (end === 'committed' || end === 'aborted' ? end : undefined))
  }

  async note(notes: readonly ClaimNote[]): Promise<void> {
    const batches = new Map<number, { keys: string[]; args: (string | number)[] }>()
    for (const { id, duplicates, result } of notes) {
      const slot = this.slotOf(id)
      let batch = batches.get(slot)
      if (batch === undefined) batches.set(slot, (batch = { keys: [], args: [] }))
      batch.keys.push(this.keyOf(id))
      batch.args.push(duplicates, result === undefined ? '' : `=${result}`)
    }
    await Promise.all([...batches.values()].map(({ keys, args }) => this.connection.run(NOTE, keys, args)))
  }

  async find(id: string): Promise<ProcessedId | undefined> {
    const [value, left] = (await this.connection.run(FIND, [this.keyOf(id)], [])) as [string | null, number]
    const now = systemClock.now()
    if (value === null || left <= 0) return this.findExclusive(id, now)
    const { origin, transaction, ageMs } = heldOf(value, left)
    const [end] = await this.ends([transaction])
    if (end === 'aborted') return undefined
    const line = value.indexOf('\n')
    const space = value.indexOf(' ', line)
    return {
      id,
      state: end === 'committed' ? 'passed' : 'pending',
      origin,
      at: now - ageMs,
      until: now + left,
      duplicates: line < 0 ? 0 : Number(value.slice(line + 1, space)),
      result: line < 0 || value[space + 1] !== '=' ? undefined : value.slice(space + 2),
    }
  }

  private async findExclusive(id: string, now: number): Promise<ProcessedId | undefined> {
    const found = await this.exclusive.find(id, now)
    if (found === undefined || found.held.at + found.withinMs <= now) return undefined
    const { origin, at, duplicates, result } = found.held
    return { id, state: 'passed', origin, at, until: at + found.withinMs, duplicates, result }
  }

  async close(): Promise<void> {
    await this.connection.close()
  }

  private slotOf(id: string): number {
    if (!this.cluster) return 0
    let hash = 0
    for (let i = 0; i < id.length; i++) hash = (Math.imul(hash, 31) + id.charCodeAt(i)) >>> 0
    return hash % SLOTS
  }

  private keyOf(id: string): string {
    return this.cluster ? `${this.prefix}{${this.slotOf(id)}}i:${id}` : `${this.prefix}i:${id}`
  }

  private endKey(transaction: string): string {
    return `${this.prefix}t:${transaction}`
  }
}

/** How the value of a claim begins, see redis-scripts.ts. */
function beginningOf({ transaction, generation, group, origin }: HeldClaim): string {
  return `${transaction} ${generation} ${encodeURIComponent(group)} ${origin.topic}/${origin.partition}/${origin.offset} `
}

function heldOf(value: string, leftMs: number): HeldClaim {
  const [transaction = '', generation, group = '', from = '', within] = (value.split('\n', 1)[0] as string).split(' ')
  const [topic = '', partition, offset] = from.split('/')
  if (within === undefined || offset === undefined) {
    throw new MillraceError(
      'CLAIM_STORE_FAILED',
      `a key under the prefix holds something that is no claim (${value.slice(0, 40)}): give the claims a prefix that nothing else uses`,
    )
  }
  const origin: Origin = { topic, partition: Number(partition), offset: Number(offset) }
  return {
    transaction,
    generation: Number(generation),
    group: decodeURIComponent(group),
    origin,
    ageMs: Math.max(0, Number(within) - leftMs),
  }
}

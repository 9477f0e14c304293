import { MillraceError } from '../../../record/error.js'
import type { ExclusiveId, ExclusiveIds } from './claim-store.js'
import { TextList } from './msgpack.js'
import type { RedisConnection } from './redis-client.js'
import { PUT, REMOVE } from './redis-scripts.js'

/** A section is spread over so many hashes, and with them over a cluster. Part of the keys' names. */
const PARTS = 16

/**
 * Exclusive ids in Redis: hashes of many fields, which cost a seventh of a key and a comparison each.
 *
 * Value of a field: "<topic>/<partition>/<offset> <writer> <at> <duplicates>", and " <result>" where there is one.
 */
export class RedisExclusiveIds implements ExclusiveIds {
  constructor(
    private readonly connection: RedisConnection,
    private readonly prefix: string,
  ) {}

  async put(ids: readonly ExclusiveId[], keepMs: number, withinMs: number): Promise<void> {
    const calls: Promise<unknown>[] = [this.connection.call('set', this.lengthKey, withinMs, 'PX', keepMs)]
    const lists = new Map<string, TextList>()
    let section = Number.NaN
    let parts: TextList[] = []
    // Ids that passed one after the other have most in common.
    let last: ExclusiveId | undefined
    let before = ''
    let behind = ''
    for (const one of ids) {
      if (one.section !== section) {
        section = one.section
        parts = Array.from({ length: PARTS }, (_, part) => listOf(lists, this.partKey(section, part)))
      }
      const list = parts[partOf(one.id)] as TextList
      const { origin, at, writer } = one
      if (at !== last?.at || writer !== last.writer || origin.partition !== last.origin.partition || origin.topic !== last.origin.topic) {
        last = one
        before = `${origin.topic}/${origin.partition}/`
        behind = ` ${writer} ${at} `
      }
      list.add(one.id)
      list.add(before + origin.offset + behind + (one.result === undefined ? one.duplicates : `${one.duplicates} ${one.result}`))
    }
    // A hash that is made anew, by a Redis that lost it, has no time to live: so it is said each time.
    for (const [key, list] of lists) if (!list.isEmpty) calls.push(this.connection.run(PUT, [key], [keepMs, list.bytes()]))
    await Promise.all(calls)
  }

  async get(ids: readonly string[], sections: readonly number[]): Promise<readonly (ExclusiveId | undefined)[]> {
    const found = new Array<ExclusiveId | undefined>(ids.length).fill(undefined)
    await Promise.all(
      [...sections].reverse().flatMap((section) => {
        const hashes = new Map<string, number[]>()
        ids.forEach((id, at) => {
          const key = this.partKey(section, partOf(id))
          const asked = hashes.get(key)
          if (asked === undefined) hashes.set(key, [at])
          else asked.push(at)
        })
        return [...hashes].map(async ([key, asked]) => {
          const values = (await this.connection.call('hmget', key, ...asked.map((at) => ids[at] as string))) as (string | null)[]
          asked.forEach((at, i) => {
            const value = values[i] ?? null
            if (value === null) return
            const one = exclusiveOf(ids[at] as string, section, value)
            const before = found[at]
            if (before === undefined || sections.indexOf(section) < sections.indexOf(before.section)) found[at] = one
          })
        })
      }),
    )
    return found
  }

  async remove(ids: readonly ExclusiveId[]): Promise<void> {
    const hashes = new Map<string, string[]>()
    for (const one of ids) {
      const key = this.partKey(one.section, partOf(one.id))
      const args = hashes.get(key)
      if (args === undefined) hashes.set(key, [one.id, beginningOf(one)])
      else args.push(one.id, beginningOf(one))
    }
    for (const [key, args] of hashes) await this.connection.run(REMOVE, [key], args)
  }

  async forget(section: number): Promise<void> {
    // Unlinked, not left to expire: an expired hash of millions is freed at once, and everybody waits.
    await Promise.all(Array.from({ length: PARTS }, (_, part) => this.connection.call('unlink', this.partKey(section, part))))
  }

  /** The id as it stands in a section that is remembered still, with how long that is. */
  async find(id: string, now: number): Promise<{ readonly held: ExclusiveId; readonly withinMs: number } | undefined> {
    const withinMs = Number((await this.connection.call('get', this.lengthKey)) ?? 0)
    if (!(withinMs > 0)) return undefined
    const section = Math.floor(now / withinMs)
    const [held] = await this.get([id], [section, section - 1])
    return held === undefined ? undefined : { held, withinMs }
  }

  private get lengthKey(): string {
    return `${this.prefix}x`
  }

  private partKey(section: number, part: number): string {
    return `${this.prefix}x:${section}:${part}`
  }
}

function listOf(lists: Map<string, TextList>, key: string): TextList {
  let list = lists.get(key)
  if (list === undefined) lists.set(key, (list = new TextList()))
  return list
}

/** The end of an id tells more than its beginning. */
function partOf(id: string): number {
  const last = id.length - 1
  return (id.charCodeAt(last) + 3 * (id.charCodeAt(last - 1) | 0) + 5 * (id.charCodeAt(last - 2) | 0)) % PARTS
}

/** What is not to change for an id to be still the one that was put. */
function beginningOf({ writer, origin }: ExclusiveId): string {
  return `${origin.topic}/${origin.partition}/${origin.offset} ${writer} `
}

function exclusiveOf(id: string, section: number, value: string): ExclusiveId {
  const [, topic, partition, offset, writer, at, duplicates, result] =
    /^([^/ ]+)\/(\d+)\/(\d+) (\S+) (\d+) (\d+)(?: ([^]*))?$/.exec(value) ?? []
  if (topic === undefined || writer === undefined)
    throw new MillraceError(
      'CLAIM_STORE_FAILED',
      `a field under the prefix holds something that is no claim (${value.slice(0, 40)}): give the claims a prefix that nothing else uses`,
    )
  return {
    id,
    section,
    at: Number(at),
    writer,
    origin: { topic, partition: Number(partition), offset: Number(offset) },
    duplicates: Number(duplicates),
    result,
  }
}

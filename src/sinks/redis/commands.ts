import { kindOf } from '../../record/kind-of.js'
import type { StreamRecord } from '../../record/record.js'

/** Text is written as UTF-8, a number as text. */
export type RedisValue = string | number | Uint8Array

/** The commands of a transaction; all of them take effect when it commits, or none. There is nothing to wait for. */
export interface RedisTransaction {
  set(key: string, value: RedisValue): void
  del(key: string): void
  /** Adds to a number, which must stay whole and below 10^15. */
  incrby(key: string, by: number): void
  hset(key: string, fields: Readonly<Record<string, RedisValue>>): void
  hdel(key: string, ...fields: readonly string[]): void
  hincrby(key: string, field: string, by: number): void
  sadd(key: string, ...members: readonly RedisValue[]): void
  srem(key: string, ...members: readonly RedisValue[]): void
  zadd(key: string, score: number, member: RedisValue): void
  zrem(key: string, ...members: readonly RedisValue[]): void
  /** In whole milliseconds from when the transaction commits. */
  pexpire(key: string, ms: number): void
  /** Sent when the transaction commits, once; who does not listen then misses it, as ever in Redis. */
  publish(channel: string, message: RedisValue): void
}

/** So many a command takes that is called by a script. */
const MAX_PARTS = 7_000

/** What a record asks for that Redis would refuse, told when it is asked for. */
export class RefusedCommand extends Error {}

/** Where a list of parts ends: how many there are, and how many bytes they take. */
interface Reach {
  readonly parts: number
  readonly bytes: number
}

const EMPTY: Reach = { parts: 0, bytes: 0 }

/** Commands, gathered as they go to a script: as MessagePack, since a call takes no more than so many arguments. */
export class Commands implements RedisTransaction {
  private buffer = Buffer.allocUnsafe(4_096)
  private end = 0
  private parts = 0
  /** Up to here they were looked at. */
  private checked = EMPTY

  /** An array of all parts, or of those that were not looked at yet; undefined where there are none. */
  packed(unchecked: boolean): Buffer | undefined {
    const from = unchecked ? this.checked : EMPTY
    if (unchecked && from.parts === this.parts) return undefined
    const header = Buffer.alloc(5)
    header[0] = ARRAY32
    header.writeUInt32BE(this.parts - from.parts, 1)
    return Buffer.concat([header, this.buffer.subarray(from.bytes, this.end)])
  }

  look(): void {
    this.checked = { parts: this.parts, bytes: this.end }
  }

  set(key: string, value: RedisValue): void {
    this.add('SET', key, value)
  }

  del(key: string): void {
    this.add('DEL', key)
  }

  incrby(key: string, by: number): void {
    this.add('INCRBY', key, whole('incrby', key, by))
  }

  hset(key: string, fields: Readonly<Record<string, RedisValue>>): void {
    const parts = Object.entries(fields).flat()
    if (parts.length > 0) this.add('HSET', key, ...parts)
  }

  hdel(key: string, ...fields: readonly string[]): void {
    if (fields.length > 0) this.add('HDEL', key, ...fields)
  }

  hincrby(key: string, field: string, by: number): void {
    this.add('HINCRBY', key, field, whole('hincrby', key, by))
  }

  sadd(key: string, ...members: readonly RedisValue[]): void {
    if (members.length > 0) this.add('SADD', key, ...members)
  }

  srem(key: string, ...members: readonly RedisValue[]): void {
    if (members.length > 0) this.add('SREM', key, ...members)
  }

  zadd(key: string, score: number, member: RedisValue): void {
    if (typeof score !== 'number' || Number.isNaN(score))
      throw new RefusedCommand(`zadd on ${key}: the score is ${String(score)}, not a number`)
    const text = score === Number.POSITIVE_INFINITY ? '+inf' : score === Number.NEGATIVE_INFINITY ? '-inf' : String(score)
    this.add('ZADD', key, text, member)
  }

  zrem(key: string, ...members: readonly RedisValue[]): void {
    if (members.length > 0) this.add('ZREM', key, ...members)
  }

  pexpire(key: string, ms: number): void {
    this.add('PEXPIRE', key, whole('pexpire', key, ms))
  }

  publish(channel: string, message: RedisValue): void {
    this.add('PUBLISH', channel, message)
  }

  private add(name: string, ...parts: readonly RedisValue[]): void {
    for (const part of parts) {
      if (typeof part !== 'string' && !(part instanceof Uint8Array) && !(typeof part === 'number' && Number.isFinite(part)))
        throw new RefusedCommand(`${name.toLowerCase()} was given ${kindOf(part)}: expected text, bytes or a number`)
    }
    if (parts.length > MAX_PARTS) throw new RefusedCommand(`${name.toLowerCase()} was given ${parts.length} parts, more than ${MAX_PARTS}`)
    this.room(5)
    this.buffer[this.end] = UINT32
    this.end = this.buffer.writeUInt32BE(parts.length + 1, this.end + 1)
    this.put(name)
    for (const part of parts) this.put(part)
    this.parts += parts.length + 2
  }

  private put(part: RedisValue): void {
    const length = part instanceof Uint8Array ? part.length : Buffer.byteLength((part = String(part)), 'utf8')
    this.room(5 + length)
    this.buffer[this.end] = STRING32
    this.end = this.buffer.writeUInt32BE(length, this.end + 1)
    if (typeof part === 'string') this.buffer.write(part, this.end, 'utf8')
    else this.buffer.set(part as Uint8Array, this.end)
    this.end += length
  }

  private room(bytes: number): void {
    if (this.end + bytes <= this.buffer.length) return
    const larger = Buffer.allocUnsafe(Math.max(this.end + bytes, 2 * this.buffer.length))
    this.buffer.copy(larger, 0, 0, this.end)
    this.buffer = larger
  }
}

const UINT32 = 0xce
const STRING32 = 0xdb
const ARRAY32 = 0xdd

function whole(command: string, key: string, by: number): number {
  if (Number.isSafeInteger(by) && Math.abs(by) < 1e15) return by
  throw new RefusedCommand(`${command} on ${key}: ${String(by)} is no whole number below 10^15`)
}

type AnyRecord = StreamRecord<unknown, unknown>
/** What `toRedis` calls with up to `batch` records of a task. */
export type RedisWrite<R> = (tx: RedisTransaction, records: readonly R[]) => unknown
type Each<R, T> = (record: R) => T

const each =
  <R extends AnyRecord>(write: (tx: RedisTransaction, record: R) => void): RedisWrite<R> =>
  (tx, records) => {
    for (const record of records) write(tx, record)
  }

/** Sets fields of a hash; a record for which `fields` gives null deletes the whole of it. */
export function hset<R extends AnyRecord>(of: {
  readonly key: Each<R, string>
  readonly fields: Each<R, Readonly<Record<string, RedisValue>> | null>
}): RedisWrite<R> {
  return each((tx, record) => {
    const fields = of.fields(record)
    if (fields === null) tx.del(of.key(record))
    else tx.hset(of.key(record), fields)
  })
}

/** Adds to a counter, once a record. `by` defaults to 1. */
export function incrby<R extends AnyRecord>(of: { readonly key: Each<R, string>; readonly by?: Each<R, number> }): RedisWrite<R> {
  return each((tx, record) => tx.incrby(of.key(record), of.by?.(record) ?? 1))
}

/** Puts a member into a sorted set, or takes it out where `score` gives null. */
export function zadd<R extends AnyRecord>(of: {
  readonly key: Each<R, string>
  readonly member: Each<R, RedisValue>
  readonly score: Each<R, number | null>
}): RedisWrite<R> {
  return each((tx, record) => {
    const score = of.score(record)
    if (score === null) tx.zrem(of.key(record), of.member(record))
    else tx.zadd(of.key(record), score, of.member(record))
  })
}

/** Publishes a message for each record, once. */
export function publish<R extends AnyRecord>(of: {
  readonly channel: Each<R, string>
  readonly message: Each<R, RedisValue>
}): RedisWrite<R> {
  return each((tx, record) => tx.publish(of.channel(record), of.message(record)))
}

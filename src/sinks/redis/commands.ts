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

/** A key that would be on another node than the positions, whatever the record. */
export class ForeignKey extends Error {}

export interface CommandsOptions {
  /** What the client puts before each key. Default none. */
  readonly keyPrefix?: string | undefined
  /** On a cluster: what all keys have between braces. */
  readonly hashTag?: string | undefined
}

/** Commands, gathered as they go to a script: as MessagePack, since a call takes no more than so many arguments. */
export class Commands implements RedisTransaction {
  private buffer = Buffer.allocUnsafe(4_096)
  private end = HEADER_BYTES
  private parts = 0
  /** Where the command begins that is being added. */
  private beganAt = HEADER_BYTES
  private readonly keyPrefix: string
  private readonly hashTag: string | undefined
  /** Whether any field of a hash is added to: then the script has to know what was written to fields before. */
  addsToFields = false

  constructor({ keyPrefix = '', hashTag }: CommandsOptions = {}) {
    this.keyPrefix = keyPrefix
    this.hashTag = hashTag
  }

  /** An array: of each command how many parts it has, then those. Valid until another is added. */
  packed(): Buffer {
    this.buffer[0] = ARRAY32
    this.buffer.writeUInt32BE(this.parts, 1)
    return this.buffer.subarray(0, this.end)
  }

  set(key: string, value: RedisValue): void {
    this.begin('SET', key, 1)
    this.add(value)
  }

  del(key: string): void {
    this.begin('DEL', key, 0)
  }

  incrby(key: string, by: number): void {
    this.begin('INCRBY', key, 1)
    this.addWhole('incrby', key, by)
  }

  hset(key: string, fields: Readonly<Record<string, RedisValue>>): void {
    const names = Object.keys(fields)
    if (names.length === 0) return
    this.begin('HSET', key, 2 * names.length)
    for (const name of names) {
      this.add(name)
      this.add(fields[name])
    }
  }

  hdel(key: string, ...fields: readonly string[]): void {
    this.addAll('HDEL', key, fields)
  }

  hincrby(key: string, field: string, by: number): void {
    this.addsToFields = true
    this.begin('HINCRBY', key, 2)
    this.add(field)
    this.addWhole('hincrby', key, by)
  }

  sadd(key: string, ...members: readonly RedisValue[]): void {
    this.addAll('SADD', key, members)
  }

  srem(key: string, ...members: readonly RedisValue[]): void {
    this.addAll('SREM', key, members)
  }

  zadd(key: string, score: number, member: RedisValue): void {
    if (typeof score !== 'number' || Number.isNaN(score))
      throw new RefusedCommand(`zadd on ${key}: the score is ${String(score)}, not a number`)
    this.begin('ZADD', key, 2)
    this.add(score === Number.POSITIVE_INFINITY ? '+inf' : score === Number.NEGATIVE_INFINITY ? '-inf' : score)
    this.add(member)
  }

  zrem(key: string, ...members: readonly RedisValue[]): void {
    this.addAll('ZREM', key, members)
  }

  pexpire(key: string, ms: number): void {
    this.begin('PEXPIRE', key, 1)
    this.addWhole('pexpire', key, ms)
  }

  publish(channel: string, message: RedisValue): void {
    this.begin('PUBLISH', undefined, 2)
    this.add(channel)
    this.add(message)
  }

  private addAll(name: string, key: string, parts: readonly RedisValue[]): void {
    if (parts.length === 0) return
    this.begin(name, key, parts.length)
    for (const part of parts) this.add(part)
  }

  /** A command of so many parts behind its key; each is then added. */
  private begin(name: string, key: string | undefined, parts: number): void {
    if (parts >= MAX_PARTS) throw new RefusedCommand(`${name.toLowerCase()} was given ${parts} parts, more than ${MAX_PARTS}`)
    this.beganAt = this.end
    this.room(3)
    const count = parts + (key === undefined ? 1 : 2)
    this.buffer[this.end] = UINT16
    this.end = this.buffer.writeUInt16BE(count, this.end + 1)
    this.parts += count + 1
    this.putText(name)
    if (key === undefined) return
    if (typeof key !== 'string') throw this.refused(count, `${name.toLowerCase()} was given ${kindOf(key)} for a key: expected text`)
    const whole = this.keyPrefix + key
    if (this.hashTag !== undefined && hashTagOf(whole) !== this.hashTag) {
      this.takeBack(count)
      throw new ForeignKey(
        `${name.toLowerCase()} on '${whole}': on a cluster all that changes together has to be on one node, so every key has to hold {${this.hashTag}}, as the prefix of the positions does`,
      )
    }
    this.putText(whole)
  }

  private add(part: RedisValue | undefined): void {
    if (typeof part === 'string') this.putText(part)
    else if (typeof part === 'number' && Number.isFinite(part)) this.putText(String(part))
    else if (part instanceof Uint8Array) this.putBytes(part)
    else {
      const { name, count } = this.open
      throw this.refused(count, `${name.toLowerCase()} was given ${kindOf(part)}: expected text, bytes or a number`)
    }
  }

  private addWhole(command: string, key: string, by: number): void {
    if (Number.isSafeInteger(by) && Math.abs(by) < 1e15) return this.putText(String(by))
    throw this.refused(this.open.count, `${command} on ${key}: ${String(by)} is no whole number below 10^15`)
  }

  /** The command that is being added. */
  private get open(): { readonly name: string; readonly count: number } {
    const { buffer, beganAt } = this
    const at = beganAt + 3
    const length = (buffer[at] as number) - SHORT_STRING
    return { name: buffer.toString('latin1', at + 1, at + 1 + length), count: buffer.readUInt16BE(beganAt + 1) }
  }

  /** It is not to be sent, also where whoever asked for it goes on. */
  private refused(count: number, message: string): RefusedCommand {
    this.takeBack(count)
    return new RefusedCommand(message)
  }

  private takeBack(count: number): void {
    this.end = this.beganAt
    this.parts -= count + 1
  }

  private putText(text: string): void {
    const { length } = text
    this.room(5 + 3 * length)
    const { buffer } = this
    if (length <= SHORT) {
      // Most are short and plain: a call that writes them takes longer than they do.
      let at = this.end + 1
      for (let i = 0; i < length; i++) {
        const code = text.charCodeAt(i)
        if (code > 127) return this.putLong(text)
        buffer[at++] = code
      }
      buffer[this.end] = SHORT_STRING + length
      this.end = at
    } else this.putLong(text)
  }

  private putLong(text: string): void {
    const length = this.buffer.write(text, this.end + 5, 'utf8')
    this.buffer[this.end] = STRING32
    this.buffer.writeUInt32BE(length, this.end + 1)
    this.end += 5 + length
  }

  private putBytes(bytes: Uint8Array): void {
    this.room(5 + bytes.length)
    this.buffer[this.end] = STRING32
    this.end = this.buffer.writeUInt32BE(bytes.length, this.end + 1)
    this.buffer.set(bytes, this.end)
    this.end += bytes.length
  }

  private room(bytes: number): void {
    if (this.end + bytes <= this.buffer.length) return
    const larger = Buffer.allocUnsafe(Math.max(this.end + bytes, 2 * this.buffer.length))
    this.buffer.copy(larger, 0, 0, this.end)
    this.buffer = larger
  }
}

/** MessagePack: what stands before a value. */
const UINT16 = 0xcd
const STRING32 = 0xdb
const ARRAY32 = 0xdd
const SHORT_STRING = 0xa0
/** Longest text of the short form. */
const SHORT = 31
const HEADER_BYTES = 5

/** What a cluster hashes of a key. (Redis cluster specification, hash tags) */
export function hashTagOf(key: string): string {
  const from = key.indexOf('{')
  const to = from < 0 ? -1 : key.indexOf('}', from + 1)
  return to > from + 1 ? key.slice(from + 1, to) : key
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

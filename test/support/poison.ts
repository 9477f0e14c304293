import assert from 'node:assert/strict'
import { z } from 'zod'
import { failureHeaderNames, type FailureHeaders } from '../../src/record/failure-headers.js'
import type { Cluster, HeadersInput, ProduceRecord, RawRecord } from '../../src/index.js'

export const Order = z.object({ id: z.string(), amount: z.number() })

/** A topic that takes times of long ago and of the far future. */
export const ANY_TIME = { 'retention.ms': '-1', 'message.timestamp.after.max.ms': '9223372036854775807' }

interface Kind extends Pick<ProduceRecord, 'value'> {
  readonly key?: string | Buffer | null
  readonly headers?: HeadersInput
  readonly timestamp?: number
}

const NOW = Date.UTC(2026, 0)
const json = JSON.stringify({ id: 'fine', amount: 'not a number' })

/** Records that decode(Order) fails on, one of each kind. */
export const POISON: Readonly<Record<string, Kind>> = {
  'not JSON': { value: '{"id": "a", ' },
  'not UTF-8': { value: Buffer.from([0xff, 0xfe, 0x00, 0xc3, 0x28]), key: Buffer.from([0x80, 0x00, 0xff]) },
  'schema mismatch': { value: json },
  '__proto__ with what is missing': { value: '{"__proto__": {"id": "a", "amount": 1}}' },
  '__proto__ as key and header': {
    value: '{"constructor": {"prototype": {"id": "a"}}}',
    key: '__proto__',
    headers: { ['__proto__']: 'x', constructor: 'y' },
  },
  'a value of nearly 1 MB': { value: Buffer.alloc(1_040_000, 'x') },
  'an empty value': { value: '' },
  'the text null': { value: 'null' },
  tombstone: { value: null },
  'neither key nor value': { value: null, key: null },
  'repeated, empty and null headers': { value: json, headers: { h: ['1', '', null, '1'], empty: '', none: null, '': 'no name' } },
  'headers of an earlier failure': {
    value: json,
    headers: {
      'millrace.message': ['stale', 'staler'],
      'kafka_dlt-original-offset': 'stale',
      '__streams.errors.stacktrace': 'stale',
      trace: 't',
    },
  },
  'timestamp -1': { value: json, timestamp: -1 },
  'the year 3000': { value: json, timestamp: Date.UTC(3000, 0) },
  'the year 1970': { value: json, timestamp: 0 },
}

const NUMBER = 'test-number'

/** So many good orders with one poison after each `every`, all kinds in turns, numbered by a header. */
export function ordersWithPoison({
  count,
  every,
  partitions,
}: {
  readonly count: number
  readonly every: number
  readonly partitions: number
}): { records: ProduceRecord[]; poison: ProduceRecord[]; good: string[] } {
  const kinds = Object.values(POISON)
  const good: string[] = []
  const poison: ProduceRecord[] = []
  const records = Array.from({ length: count }, (_, i): ProduceRecord => {
    const partition = i % partitions
    if (i % every !== every - 1) {
      const value = JSON.stringify({ id: `order-${i}`, amount: i })
      good.push(value)
      return { key: `k${i % 50}`, value, timestamp: NOW + i, partition }
    }
    const { key = `key-${i}`, value, headers, timestamp = NOW + i } = kinds[poison.length % kinds.length] as Kind
    const record = {
      key,
      value,
      headers: { ...headers, ...(headers === undefined ? {} : own(headers)), [NUMBER]: String(i) },
      timestamp,
      partition,
    }
    poison.push(record)
    return record
  })
  return { records, poison, good: good.sort() }
}

/** Spreading loses a header called `__proto__`. */
function own(headers: HeadersInput): HeadersInput {
  return Object.defineProperties({}, Object.getOwnPropertyDescriptors(headers)) as HeadersInput
}

interface Bytes {
  readonly key: string | null
  readonly value: string | null
  readonly headers: readonly (readonly [string, string | null])[]
  readonly timestamp: number
  readonly partition: number
}

const hex = (part: Uint8Array | string | null): string | null => (part === null ? null : Buffer.from(part as string).toString('hex'))

function bytesOf({ key = null, value, headers = {}, timestamp = -1, partition = -1 }: ProduceRecord, without: ReadonlySet<string>): Bytes {
  const entries = Object.keys(headers).flatMap((name) => {
    const given = headers[name]
    const list: readonly (string | Uint8Array | null)[] = Array.isArray(given) ? given : [given as string | Uint8Array | null]
    return without.has(name) ? [] : list.map((one) => [name, hex(one)] as const)
  })
  return { key: hex(key), value: hex(value), headers: entries, timestamp, partition }
}

export async function readAll(cluster: Cluster, topic: string): Promise<RawRecord[]> {
  const records: RawRecord[] = []
  for await (const record of cluster.read({ topic })) records.push(record)
  return records
}

const byNumber = (a: Bytes, b: Bytes): number => numberOf(a) - numberOf(b)
const numberOf = ({ headers }: Bytes): number => Number(Buffer.from(headers.find(([name]) => name === NUMBER)?.[1] ?? '', 'hex').toString())

/** Each of `sent` is there once, byte for byte, in the partition it came from; behind its headers stand those of the preset, once. */
export function expectLetters(
  letters: readonly RawRecord[],
  sent: readonly ProduceRecord[],
  preset: FailureHeaders,
  partitions: number,
): void {
  const names = failureHeaderNames(preset)
  const seen = letters.map((letter) => bytesOf({ ...pick(letter), partition: letter.origin.partition }, names)).sort(byNumber)
  const expected = sent.map((record) => bytesOf({ ...record, partition: (record.partition ?? 0) % partitions }, names)).sort(byNumber)
  assert.deepEqual(seen.map(numberOf), expected.map(numberOf))
  assert.deepEqual(seen, expected)
  for (const { headers } of letters) for (const name of names) assert(!Array.isArray(headers[name]), `${name} stands there more than once`)
}

function pick({ key, value, headers, timestamp }: RawRecord): ProduceRecord {
  return { key, value, headers, timestamp }
}

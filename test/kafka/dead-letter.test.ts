import type { Observable } from 'rxjs'
import { describe, expect, it } from 'vitest'
import {
  attempt,
  deadLetter,
  decode,
  json,
  readFailure,
  toTopic,
  type DeadLetterOptions,
  type FailureHeaders,
  type RecordStream,
} from '../../src/index.js'
import { uniqueName } from '../support/kafka/client.js'
import { kafkaSuite } from '../support/kafka/suite.js'
import { ANY_TIME, Order, expectLetters, ordersWithPoison, readAll } from '../support/poison.js'
import { runUntil, sumOf, values } from '../support/pipelines.js'
import { until } from '../support/until.js'

const PARTITIONS = 3

describe('dead letters on Kafka', () => {
  const { observer, cluster, start } = kafkaSuite()

  const topics = async (config: Record<string, string> = ANY_TIME): Promise<{ input: string; output: string; dead: string }> => ({
    input: await observer.createTopic({ partitions: PARTITIONS, config: ANY_TIME }),
    output: await observer.createTopic({ partitions: PARTITIONS, config: ANY_TIME }),
    dead: await observer.createTopic({ partitions: 2, config }),
  })
  const orders =
    (dead: string, output: string, options: Partial<DeadLetterOptions> = {}) =>
    (records: RecordStream): Observable<unknown> =>
      records.pipe(
        decode(Order),
        attempt(() => Promise.resolve()),
        deadLetter({ topic: dead, ...options }),
        toTopic({ topic: output, value: json() }),
      )

  for (const preset of ['millrace', 'spring', 'streams'] satisfies FailureHeaders[]) {
    it(`1 % of poison, of every kind: each stands there once, byte for byte, all else in the output once (${preset})`, async () => {
      const { input, output, dead } = await topics()
      const { records, poison, good } = ordersWithPoison({ count: 3_000, every: 100, partitions: PARTITIONS })
      await cluster.produce({ topic: input, records })
      const commits = await runUntil(
        cluster,
        { group: uniqueName('g'), topics: [input], records: records.length, options: { maxRecords: 500 } },
        orders(dead, output, { headers: preset }),
      )
      const letters = await readAll(cluster, dead)
      expectLetters(letters, poison, preset, 2)
      expect(await values(cluster, output)).toEqual(good)
      expect([sumOf(commits, 'failed'), sumOf(commits, 'processed')]).toEqual([poison.length, good.length])
      for (const letter of letters) {
        const failure = readFailure(letter.headers)
        expect(failure).toMatchObject({ origin: { topic: input }, step: 'decode', code: 'DECODE_FAILED' })
        expect(letter.origin.partition).toBe((failure?.origin.partition ?? -1) % 2)
      }
    })
  }

  it('as Java reads them: the bytes of the input, and behind its headers those of the failure', async () => {
    const { input, output, dead } = await topics()
    const { records, poison } = ordersWithPoison({ count: 150, every: 10, partitions: 1 })
    await cluster.produce({ topic: input, records })
    await runUntil(
      cluster,
      { group: uniqueName('g'), topics: [input], records: records.length },
      orders(dead, output, { headers: 'spring' }),
    )
    const read = await observer.readAllJava(input)
    const letters = await observer.readAllJava(dead)
    expect(letters).toHaveLength(poison.length)
    for (const letter of letters) {
      const offset = letter.headers.find(([name]) => name === 'kafka_dlt-original-offset')?.[1]
      const original = read.find((record) => BigInt(record.offset) === offset?.readBigInt64BE())
      expect([letter.key, letter.value, letter.timestamp]).toEqual([original?.key, original?.value, original?.timestamp])
      const kept = (original?.headers ?? []).filter(([name]) => name !== 'kafka_dlt-original-offset')
      expect(letter.headers.slice(0, kept.length)).toEqual(kept)
    }
  })

  it('sizes are counted as the broker counts them: all that can be stored is, the first that cannot is named, and no offset passes it', async () => {
    const { input, dead, output } = await topics({ ...ANY_TIME, 'max.message.bytes': '3000' })
    const group = uniqueName('g')
    const sizes = Array.from({ length: 200 }, (_, i) => 2_700 + i)
    await cluster.produce({ topic: input, records: sizes.map((size) => ({ value: Buffer.alloc(size, 'x'), partition: 0 })) })
    const failing = (records: RecordStream): Observable<unknown> =>
      records.pipe(
        attempt(() => Promise.reject(new Error(`too ${'very '.repeat(100)}bad`))),
        deadLetter({ topic: dead }),
        toTopic({ topic: output }),
      )
    const failure = await runUntil(cluster, { group, topics: [input], records: sizes.length, options: { retryDelay: 1 } }, failing).catch(
      (error: unknown) => error,
    )
    const stored = (await readAll(cluster, dead)).map(({ value }) => value?.length)
    expect(stored.length).toBeGreaterThan(50)
    expect(stored).toEqual(sizes.slice(0, stored.length))
    expect(failure).toMatchObject({
      code: 'RECORD_FAILED',
      origin: { topic: input, partition: 0, offset: stored.length },
      cause: { code: 'RECORD_TOO_LARGE' },
    })
    expect((await observer.committed(group, input)).get(0)).toBe(stored.length)
  })

  it('a dead-letter topic that refuses the time of a record: no offset passes it', async () => {
    const { input, dead, output } = await topics({ 'message.timestamp.after.max.ms': '3600000' })
    const group = uniqueName('g')
    const times = [Date.now(), Date.UTC(3000, 0), Date.now()]
    await cluster.produce({ topic: input, records: times.map((timestamp) => ({ value: 'no order', timestamp, partition: 1 })) })
    const failure = await runUntil(cluster, { group, topics: [input], records: 3, options: { retryDelay: 1 } }, orders(dead, output)).catch(
      (error: unknown) => error,
    )
    expect(failure).toMatchObject({ code: 'RECORD_FAILED', origin: { topic: input, partition: 1, offset: 1 } })
    expect((await readAll(cluster, dead)).map(({ timestamp }) => timestamp)).toEqual([times[0]])
    expect((await observer.committed(group, input)).get(1)).toBe(1)
  })

  for (const step of ['produce-acknowledged', 'end-sent']) {
    it(`killed at ${step}, again and again: each dead letter and each order stands there once`, async () => {
      const { input, output, dead } = await topics()
      const { records, poison, good } = ordersWithPoison({ count: 3_000, every: 50, partitions: PARTITIONS })
      await cluster.produce({ topic: input, records })
      const env = { INPUT: input, OUTPUT: output, DEAD: dead, GROUP: uniqueName('g') }
      const program = new URL('./programs/dead-letters.ts', import.meta.url)
      for (const KILL_AFTER of ['0', '1', '2']) {
        const child = start(program, { ...env, KILL_AT: step, KILL_AFTER })
        expect((await child.ended).signal, child.errors).toBe('SIGKILL')
      }
      const last = start(program, env)
      await until(async () => (await values(cluster, output)).length >= good.length, {
        within: 40_000,
        every: 200,
        what: 'all orders in the output',
      })
      last.kill('SIGTERM')
      expect(await last.ended, last.errors).toEqual({ code: 0, signal: null })
      expect(await values(cluster, output)).toEqual(good)
      expectLetters(await readAll(cluster, dead), poison, 'millrace', 2)
    })
  }
})

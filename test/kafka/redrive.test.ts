import { describe, expect, it } from 'vitest'
import { attempt, deadLetter, decode, json, redrive, toTopic, type RecordStream, type RedriveResult } from '../../src/index.js'
import { type Child } from '../support/child.js'
import { uniqueName, type SeenRecord } from '../support/kafka/client.js'
import { kafkaSuite } from '../support/kafka/suite.js'
import { letter } from '../support/letters.js'
import { ANY_TIME, Order, ordersWithPoison } from '../support/poison.js'
import { runUntil, values } from '../support/pipelines.js'
import { until } from '../support/until.js'

const CLI = new URL('../../src/cli/main.ts', import.meta.url)
const PROGRAM = new URL('./programs/redrive.ts', import.meta.url)
const PARTITIONS = 3

describe('redrive on Kafka', () => {
  const { observer, cluster, start } = kafkaSuite()

  const cli = (from: string, ...args: string[]): Child => start(CLI, {}, ['redrive', '--from', from, '--json', ...args])
  const resultOf = async (child: Child): Promise<RedriveResult> => {
    expect(await child.ended, child.errors).toEqual({ code: 0, signal: null })
    return JSON.parse(child.lines.join('')) as RedriveResult
  }

  /** So many dead letters, numbered, over the partitions of both topics. */
  async function letters(count: number, size = 0): Promise<{ input: string; dead: string; numbers: string[] }> {
    const [input, dead] = [
      await observer.createTopic({ partitions: PARTITIONS, config: ANY_TIME }),
      await observer.createTopic({ partitions: PARTITIONS, config: ANY_TIME }),
    ]
    const numbers = Array.from({ length: count }, (_, i) => String(i))
    await cluster.produce({
      topic: dead,
      records: numbers.map((value, i) =>
        letter(value.padEnd(size), {
          key: value,
          topic: input,
          partition: i % PARTITIONS,
          into: (i + 1) % PARTITIONS,
          error: i % 2 === 0 ? 'Even' : 'Odd',
        }),
      ),
    })
    return { input, dead, numbers: numbers.sort() }
  }

  /** Each number once, where it came from, in order. */
  const expectEach = async (input: string, count: number): Promise<void> => {
    const seen = await observer.readAll(input)
    for (let partition = 0; partition < PARTITIONS; partition++) {
      const numbers = Array.from({ length: count }, (_, i) => i).filter((i) => i % PARTITIONS === partition)
      expect(seen.filter((record) => record.partition === partition).map(({ value }) => Number(value))).toEqual(numbers)
    }
  }

  it('the command killed half way, twice, and started again: each record is there once, in order', async () => {
    const { input, dead } = await letters(900)
    const there = async (): Promise<number> => (await values(cluster, input)).length
    for (const least of [1, 250]) {
      const child = cli(dead, '--rate', '400')
      await until(async () => (await there()) >= least, { within: 30_000, what: 'some records' })
      child.kill('SIGKILL')
      expect((await child.ended).signal, child.errors).toBe('SIGKILL')
    }
    const before = await there()
    expect(before).toBeLessThan(900)
    const result = await resultOf(cli(dead))
    expect(result).toMatchObject({ complete: true, read: 900, sent: 900 - result.skipped })
    // A transaction that was about to commit may have done so after the look.
    expect(result.skipped).toBeGreaterThanOrEqual(before)
    await expectEach(input, 900)
    expect(await resultOf(cli(dead))).toMatchObject({ sent: 0, skipped: 900 })
  })

  for (const step of ['produce-acknowledged', 'end-sent', 'end-acknowledged']) {
    it(`killed at ${step}, again and again: each record is there once, in order`, async () => {
      const { input, dead } = await letters(600)
      for (let i = 0; i < 3; i++) {
        const child = start(PROGRAM, { FROM: dead, KILL_AT: step, KILL_AFTER: String(i) })
        expect((await child.ended).signal, child.errors).toBe('SIGKILL')
      }
      expect(await resultOf(start(PROGRAM, { FROM: dead }))).toMatchObject({ complete: true, read: 600 })
      await expectEach(input, 600)
    })
  }

  it('is noticed by these tests where what was sent and what is noted do not commit together', async () => {
    const { input, dead, numbers } = await letters(60, 300_000)
    const child = start(PROGRAM, { FROM: dead, KILL_AT: 'produce-acknowledged', GUARANTEE: 'at-least-once', EVERY: '3000' })
    expect((await child.ended).signal, child.errors).toBe('SIGKILL')
    await resultOf(start(PROGRAM, { FROM: dead, GUARANTEE: 'at-least-once' }))
    await expect(expectEach(input, 60)).rejects.toThrow()
    const all = (await values(cluster, input)).map((value) => value?.trim())
    expect(all.length).toBeGreaterThan(60)
    // Nothing is lost, but some stand twice.
    expect([...new Set(all)].sort()).toEqual(numbers)
  })

  it('the same letters, in one transaction with the note: each is there once', async () => {
    const { input, dead } = await letters(60, 300_000)
    const child = start(PROGRAM, { FROM: dead, KILL_AT: 'produce-acknowledged', EVERY: '3000' })
    expect((await child.ended).signal, child.errors).toBe('SIGKILL')
    await resultOf(start(PROGRAM, { FROM: dead }))
    await expectEach(input, 60)
  })

  it('what a filter left out is sent by a later run, and nothing twice, though the first was killed', async () => {
    const { input, dead, numbers } = await letters(600)
    const child = cli(dead, '--error', 'Odd', '--rate', '300')
    await until(async () => (await values(cluster, input)).length > 0, { within: 30_000, what: 'some records' })
    child.kill('SIGKILL')
    await child.ended
    const even = await resultOf(cli(dead, '--error', 'Even'))
    expect(even).toMatchObject({ sent: 300, byTarget: { [input]: 300 } })
    const rest = await resultOf(cli(dead))
    expect([rest.skipped + rest.sent, rest.left]).toEqual([600, 0])
    expect(await values(cluster, input)).toEqual(numbers)
  })

  it('a second one takes over from the first, which says so; nothing is sent twice', async () => {
    const { input, dead, numbers } = await letters(600)
    const first = cli(dead, '--rate', '100')
    await until(async () => (await values(cluster, input)).length > 0, { within: 30_000, what: 'some records' })
    const second = cli(dead, '--rate', '100')
    expect(await first.ended).toEqual({ code: 1, signal: null })
    expect(first.errors).toMatch(/INSTANCE_FENCED/)
    await resultOf(second)
    expect(await values(cluster, input)).toEqual(numbers)
  })

  it('one that is overtaken by a quicker one ends too; nothing is sent twice', async () => {
    const { input, dead, numbers } = await letters(600)
    const first = cli(dead, '--rate', '100')
    await until(async () => (await values(cluster, input)).length > 0, { within: 30_000, what: 'some records' })
    await resultOf(cli(dead))
    // Also where it hears of the other only when that is gone.
    expect(await first.ended).toEqual({ code: 1, signal: null })
    expect(first.errors).toMatch(/INSTANCE_FENCED/)
    expect(await values(cluster, input)).toEqual(numbers)
  })

  it('SIGINT ends it in order: the result tells what was sent', async () => {
    const { input, dead } = await letters(600)
    const child = cli(dead, '--rate', '100')
    await until(async () => (await values(cluster, input)).length > 0, { within: 30_000, what: 'some records' })
    child.kill('SIGINT')
    expect(await child.ended, child.errors).toEqual({ code: 130, signal: null })
    const result = JSON.parse(child.lines.join('')) as RedriveResult
    expect(result).toMatchObject({ complete: false })
    expect(result.sent).toBe((await values(cluster, input)).length)
    expect(child.errors).toMatch(/start it again to go on/)
  })

  it('a dry run writes and commits nothing', async () => {
    const { input, dead } = await letters(100)
    const admin = await observer.admin()
    const state = async (): Promise<unknown> => [
      await observer.offsets(input, 'read_uncommitted'),
      await observer.offsets(dead, 'read_uncommitted'),
      (await admin.listTopics()).filter((name) => name.startsWith(dead)),
      (await admin.listGroups()).groups.filter(({ groupId }) => groupId.startsWith(dead)),
      await observer.committed(`${dead}.redrive`, dead),
    ]
    const before = await state()
    expect(await resultOf(cli(dead, '--dry-run'))).toMatchObject({ dryRun: true, read: 100, sent: 100, byTarget: { [input]: 100 } })
    expect(await state()).toEqual(before)
  })

  it('poison of every kind comes back byte for byte, as Java reads it', async () => {
    const [input, output, dead] = [
      await observer.createTopic({ partitions: PARTITIONS, config: ANY_TIME }),
      await observer.createTopic({ partitions: PARTITIONS, config: ANY_TIME }),
      await observer.createTopic({ partitions: 2, config: ANY_TIME }),
    ]
    const { records, poison } = ordersWithPoison({ count: 300, every: 10, partitions: PARTITIONS })
    await cluster.produce({ topic: input, records })
    const orders = (all: RecordStream) =>
      all.pipe(decode(Order), deadLetter({ topic: dead, headers: 'spring' }), toTopic({ topic: output, value: json() }))
    await runUntil(cluster, { group: uniqueName('g'), topics: [input], records: records.length }, orders)
    expect(await redrive(cluster, { from: dead })).toMatchObject({ sent: poison.length, byTarget: { [input]: poison.length } })
    const all = await observer.readAllJava(input)
    const original = new Map(
      all
        .slice()
        .filter(({ headers }) => !headers.some(([name]) => name === 'millrace.redriven'))
        .map((record) => [numberOf(record), record]),
    )
    const again = all.filter(({ headers }) => headers.some(([name]) => name === 'millrace.redriven'))
    expect(again.map(numberOf).sort()).toEqual(poison.map(({ headers }) => String(headers?.['test-number'])).sort())
    for (const { offset: _, headers, ...record } of again) {
      const { offset: first, headers: before, ...was } = original.get(numberOf({ headers })) as SeenRecord
      expect([record.partition, record.timestamp]).toEqual([was.partition, was.timestamp])
      expect([same(record.key, was.key), same(record.value, was.value)]).toEqual([true, true])
      const kept = before.filter(([name]) => !/^(millrace\.|kafka_dlt-|__streams\.)/.test(name))
      const from = headers.find(([name]) => name === 'millrace.redriven-from')?.[1]
      expect(String(from).replace(/@\d+$/, '')).toBe(`${input}/${was.partition}/${first}`)
      expect(headers.map(([name, value]) => [name, value?.toString('hex')])).toEqual(
        [...kept, ['millrace.redriven', Buffer.from('1')] as const, ['millrace.redriven-from', from ?? null] as const].map(
          ([name, value]) => [name, value?.toString('hex')],
        ),
      )
    }
    const ids = new Map<string, Set<string>>()
    for await (const { id, headers } of cluster.read({ topic: input })) {
      if (!('test-number' in headers)) continue
      const number = String(headers['test-number'] as Buffer)
      ids.set(number, (ids.get(number) ?? new Set<string>()).add(id))
    }
    // Sent back or not, each has the id it had at first.
    expect([...ids].filter(([, each]) => each.size !== 1).map(([number, each]) => [number, ...each])).toEqual([])
    expect(ids.size).toBe(poison.length)
  })

  it('parks what comes back too often', async () => {
    const { input, dead } = await letters(30)
    await observer.createTopic({ name: `${dead}.parked` })
    const group = uniqueName('g')
    const again = async (times: number): Promise<unknown> =>
      runUntil(cluster, { group, topics: [input], records: times * 30 }, (all) =>
        all.pipe(
          attempt(() => Promise.reject(new Error('still no'))),
          deadLetter({ topic: dead }),
          toTopic({ topic: input }),
        ),
      )
    expect(await redrive(cluster, { from: dead, maxRedrives: 2 })).toMatchObject({ sent: 30, parked: 0 })
    await again(1)
    expect(await redrive(cluster, { from: dead, maxRedrives: 2 })).toMatchObject({ sent: 30, parked: 0, skipped: 30 })
    await again(1)
    expect(await redrive(cluster, { from: dead, maxRedrives: 2 })).toMatchObject({
      sent: 0,
      parked: 30,
      skipped: 60,
      byTarget: { [`${dead}.parked`]: 30 },
    })
    expect(await values(cluster, `${dead}.parked`)).toHaveLength(30)
    expect(await values(cluster, input)).toHaveLength(60)
  })
})

const numberOf = ({ headers }: Pick<SeenRecord, 'headers'>): string => String(headers.find(([name]) => name === 'test-number')?.[1])
const same = (a: Buffer | null, b: Buffer | null): boolean => (a === null || b === null ? a === b : a.equals(b))

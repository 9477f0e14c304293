import { map, type Observable } from 'rxjs'
import { describe, expect, it } from 'vitest'
import {
  attempt,
  deadLetter,
  decode,
  deliveryAttempt,
  json,
  readFailure,
  retryTopic,
  toTopic,
  withTransaction,
  type FailureHeaders,
  type RawRecord,
  type RecordStream,
  type TraceStep,
} from '../../src/index.js'
import { type Child } from '../support/child.js'
import { uniqueName } from '../support/kafka/client.js'
import { kafkaSuite } from '../support/kafka/suite.js'
import { ANY_TIME, Order, expectLetters, ordersWithPoison, readAll } from '../support/poison.js'
import { runUntil, sumOf, values } from '../support/pipelines.js'
import { until } from '../support/until.js'

const PARTITIONS = 3
const PROGRAM = new URL('./programs/retry.ts', import.meta.url)

describe('retry topics on Kafka', () => {
  const { observer, cluster, start: startProgram } = kafkaSuite()

  const topics = async (): Promise<{ input: string; output: string; dead: string; group: string }> => ({
    input: await observer.createTopic({ partitions: PARTITIONS, config: ANY_TIME }),
    output: await observer.createTopic({ partitions: PARTITIONS, config: ANY_TIME }),
    dead: await observer.createTopic({ partitions: PARTITIONS, config: ANY_TIME }),
    group: uniqueName('g'),
  })

  describe('1 % of poison, of every kind', () => {
    for (const preset of ['millrace', 'spring', 'streams'] satisfies FailureHeaders[]) {
      it(`fails on each attempt: each in every retry topic once and then a dead letter, byte for byte; all else in the output once (${preset})`, async () => {
        const { input, output, dead, group } = await topics()
        const { records, poison, good } = ordersWithPoison({ count: 3_000, every: 100, partitions: PARTITIONS })
        await cluster.produce({ topic: input, records })
        const project = (stream: RecordStream): Observable<unknown> =>
          stream.pipe(
            decode(Order),
            retryTopic({ delays: [200, 400], only: 'DECODE_FAILED', headers: preset }),
            deadLetter({ topic: dead, headers: preset }),
            toTopic({ topic: output, value: json() }),
          )
        const commits = await runUntil(
          cluster,
          { group, topics: [input], records: records.length + 2 * poison.length, options: { maxRecords: 500, provision: true } },
          project,
        )
        expectLetters(await readAll(cluster, dead), poison, preset, PARTITIONS)
        expect(await values(cluster, output)).toEqual(good)
        for (const letter of await readAll(cluster, dead))
          expect(readFailure(letter.headers)).toMatchObject({ origin: { topic: input, partition: letter.origin.partition }, attempts: 3 })
        for (const delay of ['200ms', '400ms'])
          expect(await readAll(cluster, `${input}.${group}.retry.${delay}`)).toHaveLength(poison.length)
        for (const commit of commits)
          expect(commit.records).toBe(commit.processed + commit.filtered + commit.duplicate + commit.late + commit.failed)
        expect([sumOf(commits, 'processed'), sumOf(commits, 'failed')]).toEqual([good.length, 3 * poison.length])
      })
    }

    for (const ordered of [false, 'key'] as const) {
      it(`fails twice and then does not: every record in the output once, byte for byte, as Java reads them${ordered === 'key' ? '; with the order of keys kept' : ''}`, async () => {
        const { input, output, dead, group } = await topics()
        const { records, poison } = ordersWithPoison({ count: 1_500, every: 100, partitions: PARTITIONS })
        await cluster.produce({ topic: input, records })
        const bad = new Set(poison.map(({ headers }) => String(headers?.['test-number'])))
        const project = (stream: RecordStream): Observable<unknown> =>
          stream.pipe(
            attempt((record: RawRecord) => {
              if (bad.has(String(record.headers['test-number'])) && deliveryAttempt(record) < 3) throw new Error('not yet')
            }),
            retryTopic({ delays: [100, 200], ordered }),
            deadLetter({ topic: dead }),
            toTopic({ topic: output, partition: (record) => record.origin.partition }),
          )
        let processed = 0
        await new Promise<void>((resolve, reject) => {
          const subscription = cluster
            .source({ group, topics: [input] })
            .pipe(withTransaction(project, { every: 20, provision: true }))
            .subscribe({
              next: (commit) => {
                if ((processed += commit.processed) < records.length) return
                subscription.unsubscribe()
                resolve()
              },
              error: reject,
            })
        })
        const seen = async (topic: string): Promise<string[]> =>
          (await observer.readAllJava(topic)).map(({ offset: _, ...rest }) => JSON.stringify(rest)).sort()
        expect(await seen(output)).toEqual(await seen(input))
        expect(await readAll(cluster, dead)).toEqual([])
      })
    }
  })

  describe('1 % of poison, of every kind, on which a plain operator throws', () => {
    const careless =
      (output: string) =>
      (stream: RecordStream): Observable<unknown> =>
        stream.pipe(
          map((record) => {
            const { success } = Order.safeParse(JSON.parse(String(record.value)))
            if (!success) throw new Error('no order')
            return record
          }),
          toTopic({ topic: output }),
        )
    const options = { maxRecords: 500, retries: 0, retryDelay: 1 }

    it('dead letter: each stands there once, byte for byte, all else in the output once', async () => {
      const { input, output, dead, group } = await topics()
      const { records, poison, good } = ordersWithPoison({ count: 1_500, every: 100, partitions: PARTITIONS })
      await cluster.produce({ topic: input, records })
      const commits = await runUntil(
        cluster,
        { group, topics: [input], records: records.length, options: { ...options, onError: { deadLetter: dead } } },
        careless(output),
      )
      expectLetters(await readAll(cluster, dead), poison, 'millrace', PARTITIONS)
      expect(await values(cluster, output)).toEqual(good)
      expect([sumOf(commits, 'processed'), sumOf(commits, 'failed')]).toEqual([good.length, poison.length])
    })

    it('skip: each is counted, all else in the output once', async () => {
      const { input, output, group } = await topics()
      const { records, poison, good } = ordersWithPoison({ count: 1_500, every: 100, partitions: PARTITIONS })
      await cluster.produce({ topic: input, records })
      const commits = await runUntil(
        cluster,
        { group, topics: [input], records: records.length, options: { ...options, onError: 'skip' } },
        careless(output),
      )
      expect(await values(cluster, output)).toEqual(good)
      expect([sumOf(commits, 'processed'), sumOf(commits, 'failed')]).toEqual([good.length, poison.length])
    })

    it('stop: the error names the first of a partition, all before it there is in the output once, and its offset does not pass', async () => {
      const { input, output, group } = await topics()
      const { records } = ordersWithPoison({ count: 300, every: 100, partitions: 1 })
      await cluster.produce({ topic: input, records })
      const failure = await runUntil(cluster, { group, topics: [input], records: records.length, options }, careless(output)).catch(
        (error: unknown) => error,
      )
      expect(failure).toMatchObject({ code: 'RECORD_FAILED', origin: { topic: input, partition: 0, offset: 99 } })
      expect(await values(cluster, output)).toEqual(
        records
          .slice(0, 99)
          .map(({ value }) => value)
          .sort(),
      )
      expect((await observer.committed(group, input)).get(0)).toBe(99)
    })
  })

  /** Values by partition; every fifth fails once, every seventh twice, every fiftieth for good. */
  const COUNT = 1_200
  const sent = Array.from({ length: COUNT }, (_, i) => {
    const failures = i % 50 === 0 ? 9 : i % 7 === 0 ? 2 : i % 5 === 0 ? 1 : 0
    return { key: `k${i % 60}`, value: `${i}${failures > 0 ? `!${failures}` : ''}`, partition: i % PARTITIONS }
  })
  const lasting = sent
    .map(({ value }) => value)
    .filter((value) => !value.endsWith('!9'))
    .sort()
  const hopeless = sent
    .map(({ value }) => value)
    .filter((value) => value.endsWith('!9'))
    .sort()

  const start = ({ input, output, dead, group }: Awaited<ReturnType<typeof topics>>, env: Record<string, string> = {}): Child =>
    startProgram(PROGRAM, { INPUT: input, OUTPUT: output, DEAD: dead, GROUP: group, ...env })
  const stopped = async (child: Child): Promise<void> => {
    child.kill('SIGTERM')
    expect(await child.ended, child.errors).toEqual({ code: 0, signal: null })
  }
  const done = (names: Awaited<ReturnType<typeof topics>>) => async (): Promise<boolean> =>
    (await values(cluster, names.output)).length >= lasting.length && (await values(cluster, names.dead)).length >= hopeless.length

  /** Killed again and again at a step of the transaction, then left to finish. */
  async function killedAt(step: TraceStep, env: Record<string, string> = {}): Promise<Awaited<ReturnType<typeof topics>>> {
    const names = await topics()
    await cluster.produce({ topic: names.input, records: sent })
    // The later ones die among the hops of records that come back.
    for (const KILL_AFTER of ['0', '2', '4', '4']) {
      const child = start(names, { MAX_RECORDS: '60', ...env, KILL_AT: step, KILL_AFTER, INSTANCE: 'one' })
      expect((await child.ended).signal, child.errors).toBe('SIGKILL')
    }
    const last = start(names, { ...env, INSTANCE: 'one' })
    await until(done(names), { within: 40_000, every: 200, what: 'all records in the output and the dead letters' })
    await stopped(last)
    return names
  }

  // At offsets-acknowledged as well, below.
  for (const step of ['produce-acknowledged', 'end-sent', 'end-acknowledged'] satisfies TraceStep[]) {
    it(`killed at ${step}, again and again, during hops: each record once, where it belongs`, async () => {
      const { output, dead } = await killedAt(step)
      expect(await values(cluster, output)).toEqual(lasting)
      expect(await values(cluster, dead)).toEqual(hopeless)
    })
  }

  it("killed during hops with ordered: 'key': the order of each key holds as well", async () => {
    const { input, output, dead } = await killedAt('offsets-acknowledged', { ORDERED: 'key' })
    expect(await values(cluster, output)).toEqual(lasting)
    expect(await values(cluster, dead)).toEqual(hopeless)
    const byKey = async (topic: string): Promise<Map<string, string[]>> => {
      const found = new Map<string, string[]>()
      for (const { key, value } of await readAll(cluster, topic)) found.set(String(key), [...(found.get(String(key)) ?? []), String(value)])
      return found
    }
    const went = await byKey(input)
    for (const [key, came] of await byKey(output))
      expect(came).toEqual((went.get(key) as string[]).filter((value) => !value.endsWith('!9')))
  })

  it('without it they overtake, and the same look shows it; sent back outside of the transaction, they come twice', async () => {
    const { output } = await killedAt('offsets-acknowledged')
    const numbers = new Map<string, number[]>()
    for (const { key, value } of await readAll(cluster, output))
      numbers.set(String(key), [...(numbers.get(String(key)) ?? []), Number.parseInt(String(value), 10)])
    expect([...numbers.values()].some((all) => all.some((n, i) => i > 0 && n < (all[i - 1] as number)))).toBe(true)

    const names = await topics()
    const some = sent.filter(({ value }) => !value.endsWith('!9'))
    await cluster.produce({ topic: names.input, records: some })
    const child = start(names, { BROKEN: 'outside', KILL_AT: 'offsets-acknowledged', KILL_AFTER: '1', INSTANCE: 'one' })
    expect((await child.ended).signal, child.errors).toBe('SIGKILL')
    const last = start(names, { BROKEN: 'outside', INSTANCE: 'one' })
    await until(async () => new Set(await values(cluster, names.output)).size >= some.length, {
      within: 40_000,
      every: 200,
      what: 'all values in the output',
    })
    await stopped(last)
    expect((await values(cluster, names.output)).length).toBeGreaterThan(some.length)
  })

  it('partitions that are revoked while records are held: they go on elsewhere, in time, once', async () => {
    const names = await topics()
    await cluster.produce({ topic: names.input, records: sent })
    const env = { DELAYS: '4000,1000' }
    const first = start(names, env)
    await until(async () => (await values(cluster, names.output)).length >= sent.filter(({ value }) => !value.includes('!')).length, {
      within: 20_000,
      every: 200,
      what: 'all that does not fail',
    })
    const second = start(names, env)
    await until(() => second.lines.length > 0, { within: 20_000, what: 'the second to take part' })
    first.kill('SIGKILL')
    const third = start(names, env)
    await until(done(names), { within: 45_000, every: 200, what: 'all records in the output and the dead letters' })
    await stopped(second)
    await stopped(third)
    expect(await values(cluster, names.output)).toEqual(lasting)
    expect(await values(cluster, names.dead)).toEqual(hopeless)
  })

  it('100,000 records of 1 kB that wait take no memory', async () => {
    const names = await topics()
    const child = start(names, { DELAYS: '3600000', MAX_RECORDS: '20000', MEMORY: 'yes', NODE_OPTIONS: '--expose-gc' })
    const held = (): number =>
      (child.lines.map((line) => JSON.parse(line) as { held?: number }).findLast((line) => line.held !== undefined)?.held ?? 0) / 2 ** 20
    await until(() => held() > 0, { within: 20_000, what: 'a first look' })
    const padding = 'x'.repeat(1_000)
    await cluster.produce({
      topic: names.input,
      records: (function* () {
        for (let i = 0; i < 100_000; i++) yield { value: `${padding}${i}!9`, partition: i % PARTITIONS }
      })(),
    })
    const failed = (): number => child.lines.reduce((sum, line) => sum + ((JSON.parse(line) as { failed?: number }).failed ?? 0), 0)
    await until(() => failed() >= 100_000, { within: 40_000, what: 'all of them to have failed' })
    const looks = child.lines.length
    await until(() => child.lines.slice(looks).filter((line) => line.includes('held')).length >= 3, {
      within: 10_000,
      what: 'some looks after that',
    })
    expect(held()).toBeLessThan(40)
    await stopped(child)
  })
})

import { map, merge, tap, type Observable } from 'rxjs'
import { describe, expect, it } from 'vitest'
import {
  FailedRecord,
  MillraceError,
  attempt,
  count,
  aggregate,
  deadLetter,
  describe as describePipeline,
  dropFailed,
  json,
  readFailure,
  repartition,
  retryTopic,
  toTopic,
  tumbling,
  window,
  withTransaction,
  type Cluster,
  type Commit,
  type RawRecord,
  type RecordStream,
  type RetryTopicOptions,
  type TransactionOptions,
} from '../../src/index.js'
import type { Fault, TestKit } from '../../src/testing/index.js'
import { inOutDeadKit } from '../support/in-out-dead-kit.js'

/** One call of the step that fails. */
interface Try {
  readonly at: number
  readonly id: string
  readonly value: string
  readonly record: RawRecord
}

interface Wanted {
  readonly topic?: string
  readonly options?: Partial<RetryTopicOptions>
  readonly transaction?: TransactionOptions
  /** How often each value fails; what is not named never does. */
  readonly fails?: Readonly<Record<string, number>>
  readonly concurrency?: number
  /** Virtual milliseconds that a call takes. */
  readonly takes?: (value: string) => number
}

/** A pipeline whose step fails so often for each value, and what it was called with. */
function failing(
  kit: TestKit,
  { topic = 'in', options = {}, transaction = {}, fails = {}, concurrency = 16, takes }: Wanted,
  tries: Try[] = [],
): { pipeline: Observable<Commit>; tries: Try[] } {
  const called = new Map<string, number>()
  const project = (records: RecordStream): Observable<unknown> =>
    records.pipe(
      attempt(
        (record) => {
          const value = String(record.value)
          tries.push({ at: kit.clock.now(), id: record.id, value, record })
          const before = called.get(value) ?? 0
          called.set(value, before + 1)
          const result = (): void => {
            if (before < (fails[value] ?? 0)) throw new RangeError(`${value} fails for the ${before + 1}. time`)
          }
          const ms = takes?.(value)
          return ms === undefined ? result() : new Promise<void>((resolve) => kit.clock.after(ms, resolve)).then(result)
        },
        { concurrency },
      ),
      retryTopic({ delays: ['1s', '30s'], ...options }),
      deadLetter({ topic: 'dead' }),
      toTopic({ topic: 'out' }),
    )
  return {
    tries,
    pipeline: kit.cluster
      .source({ group: 'g', topics: [topic] })
      .pipe(withTransaction(project, { every: '100ms', provision: true, retryDelay: 1, ...transaction })),
  }
}

const outputs = async (kit: TestKit, topic = 'out'): Promise<(string | null)[]> =>
  (await kit.read(topic, { from: 'earliest' })).map(({ value }) => value)
const timesOf = (tries: readonly Try[], value: string): number[] => tries.filter((one) => one.value === value).map(({ at }) => at)

/** What every commit must satisfy, and the sums over all. */
function accounted(commits: readonly Commit[]): { records: number; failed: number; processed: number } {
  const sum = { records: 0, failed: 0, processed: 0 }
  for (const commit of commits) {
    for (const { records, processed, filtered, duplicate, late, failed } of [commit, ...commit.tasks])
      expect(records).toBe(processed + filtered + duplicate + late + failed)
    sum.records += commit.records
    sum.failed += commit.failed
    sum.processed += commit.processed
  }
  return sum
}

describe('retryTopic', () => {
  it('brings a failed record back after each delay, never early, while others go on', async () => {
    const kit = await inOutDeadKit()
    const { pipeline, tries } = failing(kit, { fails: { b: 2 } })
    const running = kit.run(pipeline)
    await kit.feed(
      'in',
      ['a', 'b', 'c'].map((value) => ({ key: value, value })),
    )
    await kit.advance('200ms')
    expect(await outputs(kit)).toEqual(['a', 'c'])
    await kit.advance('5m')
    expect(await outputs(kit)).toEqual(['a', 'c', 'b'])
    const [first, second, third, ...more] = timesOf(tries, 'b') as [number, number, number]
    expect(more).toEqual([])
    expect(second - first).toBeGreaterThanOrEqual(1_000)
    expect(second - first).toBeLessThan(1_100)
    expect(third - second).toBeGreaterThanOrEqual(30_000)
    expect(third - second).toBeLessThan(30_100)
    // Two hops of b: it is read three times, once from each topic.
    expect(accounted(running.commits)).toEqual({ records: 5, failed: 2, processed: 3 })
  })

  it('it comes back as it was read: origin, time, key, value and headers, byte for byte', async () => {
    const kit = await inOutDeadKit(2)
    const { pipeline, tries } = failing(kit, { fails: { 'v\u00e9': 2 } })
    kit.run(pipeline)
    const headers = {
      'millrace.retry': ['its own', '{}'],
      'millrace.origin': 'x',
      __proto__x: 'y',
      twice: ['1', '2'],
      nothing: null,
      empty: '',
    }
    await kit.feed('in', [{ key: 'k', value: 'v\u00e9', headers, timestamp: 1234, partition: 1 }])
    await kit.advance('1m')
    expect(tries).toHaveLength(3)
    const [first, ...again] = tries.map(({ id, record: { origin, timestamp, key, value, headers: had } }) => ({
      id,
      origin,
      timestamp,
      key,
      value,
      had,
    }))
    for (const one of again) expect(one).toEqual(first)
    const [written] = await kit.read('out')
    expect(written).toMatchObject({ key: 'k', value: 'v\u00e9', timestamp: 1234 })
    expect(written?.headers).toEqual(tries[0]?.record.headers)
    expect(Object.keys(written?.headers ?? {})).toEqual(Object.keys(headers))
  })

  it('times between two milliseconds make no record early, nor another one', async () => {
    const kit = await inOutDeadKit()
    const { pipeline, tries } = failing(kit, { fails: { a: 1 }, takes: () => 0.3, options: { delays: [1_000] } })
    kit.run(pipeline)
    await kit.feed('in', [{ value: 'a' }])
    await kit.advance('5s')
    expect(tries.map(({ id }) => id)).toEqual(['in/0/0', 'in/0/0'])
    expect((tries[1] as Try).at - (tries[0] as Try).at).toBeGreaterThanOrEqual(1_000.7)
  })

  it('a record without key, value or headers comes back without', async () => {
    const kit = await inOutDeadKit()
    const seen: RawRecord[] = []
    let fail = true
    kit.run(
      kit.cluster.source({ group: 'g', topics: ['in'] }).pipe(
        withTransaction(
          (records) =>
            records.pipe(
              attempt((record) => {
                seen.push(record)
                if (fail) throw new Error('not yet')
              }),
              retryTopic({ delays: ['1s'] }),
              deadLetter({ topic: 'dead' }),
              toTopic({ topic: 'out' }),
            ),
          { provision: true },
        ),
      ),
    )
    await kit.feed('in', [{ key: null, value: null }])
    fail = false
    await kit.advance('2s')
    expect(seen.map(({ key, value, headers }) => [key, value, Object.keys(headers)])).toEqual([
      [null, null, []],
      [null, null, []],
    ])
    expect(await kit.read('out')).toMatchObject([{ key: null, value: null }])
  })

  it('after the last delay it passes on, with all tries counted and its own origin', async () => {
    const kit = await inOutDeadKit()
    const { pipeline } = failing(kit, { fails: { a: 99 } })
    const running = kit.run(pipeline)
    await kit.feed('in', [{ key: 'k', value: 'a', headers: { trace: 't' }, timestamp: 77 }])
    await kit.advance('1m')
    expect(await outputs(kit)).toEqual([])
    const [letter] = await kit.read('dead')
    expect(letter).toMatchObject({ key: 'k', value: 'a', timestamp: 77 })
    expect(letter?.headers['trace']).toEqual(Buffer.from('t'))
    expect(Object.keys(letter?.headers ?? {}).filter((name) => name.startsWith('millrace.retry'))).toEqual([])
    expect(readFailure(letter?.headers ?? {})).toMatchObject({
      origin: { topic: 'in', partition: 0, offset: 0 },
      error: 'RangeError',
      message: 'a fails for the 3. time',
      attempts: 3,
      step: 'attempt',
    })
    expect(accounted(running.commits)).toEqual({ records: 3, failed: 3, processed: 0 })
  })

  for (const headers of ['millrace', 'spring', 'streams'] as const) {
    it(`what lies in the topics says why, under the names of ${headers}; it does not grow from hop to hop`, async () => {
      const kit = await inOutDeadKit()
      const { pipeline } = failing(kit, { fails: { a: 99 }, options: { delays: ['1s', '2s', '2s'], headers } })
      kit.run(pipeline)
      await kit.feed('in', [{ key: 'k', value: 'a', headers: { trace: 't' }, timestamp: 77 }])
      await kit.advance('1m')
      const one = await kit.read('in.g.retry.1s')
      const two = await kit.read('in.g.retry.2s')
      expect([one.length, two.length]).toEqual([1, 2])
      for (const record of [...one, ...two])
        expect(readFailure(record.headers)).toMatchObject({
          origin: { topic: 'in', partition: 0, offset: 0 },
          timestamp: 77,
          error: 'RangeError',
        })
      expect(two.map((record) => readFailure(record.headers)?.attempts)).toEqual([2, 3])
      const names = (record: (typeof two)[number] | undefined): string[] => Object.keys(record?.headers ?? {})
      expect(names(two[1])).toEqual(names(one[0]))
      expect(JSON.parse(String(two[1]?.headers['millrace.retry']))).toMatchObject({
        attempt: 4,
        tries: 3,
        firstError: 'RangeError',
        firstMessage: 'a fails for the 1. time',
      })
      if (headers !== 'spring') return
      const due = BigInt(`0x${(two[0]?.headers['retry_topic-backoff-timestamp'] as Buffer).toString('hex')}`)
      expect(two[0]?.headers['retry_topic-attempts']).toEqual(Buffer.from([0, 0, 0, 3]))
      expect(Number(due) - (two[0]?.timestamp ?? 0)).toBe(2_000)
      expect(two[0]?.headers['retry_topic-original-timestamp']).toEqual(Buffer.from([77]))
    })
  }

  it('delays of one length share a topic, and are all waited', async () => {
    const kit = await inOutDeadKit()
    const { pipeline, tries } = failing(kit, { fails: { a: 3 }, options: { delays: ['60s', '1m', 60_000] } })
    kit.run(pipeline)
    await kit.feed('in', [{ value: 'a' }])
    await kit.advance('10m')
    expect(describePipeline(pipeline).internal.map(({ topic }) => topic)).toEqual(['in.g.retry.1m'])
    expect(tries).toHaveLength(4)
    for (let i = 1; i < 4; i++) expect((tries[i] as Try).at - (tries[i - 1] as Try).at).toBeGreaterThanOrEqual(60_000)
    expect(await outputs(kit)).toEqual(['a'])
  })

  describe('which errors', () => {
    class Declined extends Error {}
    const errors: Record<string, unknown> = {
      declined: new Declined('no'),
      reset: Object.assign(new Error('reset'), { code: 'ECONNRESET' }),
      text: 'a text',
      other: new TypeError('other'),
      final: new MillraceError('DECODE_FAILED', 'no order'),
    }
    const cases: [string, Partial<RetryTopicOptions>, string[]][] = [
      ['all by default', {}, ['declined', 'reset', 'text', 'other']],
      ['only a class', { only: Declined }, ['declined']],
      ['only a code', { only: 'ECONNRESET' }, ['reset']],
      ['only several', { only: [Declined, 'ECONNRESET', (error) => error === 'a text'] }, ['declined', 'reset', 'text']],
      ['all except a class', { except: Declined }, ['reset', 'text', 'other']],
      [
        'what time cannot change is not among them because others are excepted',
        { except: 'OTHER' },
        ['declined', 'reset', 'text', 'other'],
      ],
      ['some, and of these all but', { only: Error, except: [Declined, 'ECONNRESET'] }, ['other', 'final']],
      ['by a function of the failed record', { only: (_error, { record }) => String(record.value) === 'other' }, ['other']],
    ]
    for (const [name, options, retried] of cases) {
      it(name, async () => {
        const kit = await inOutDeadKit()
        kit.run(
          kit.cluster.source({ group: 'g', topics: ['in'] }).pipe(
            withTransaction(
              (records) =>
                records.pipe(
                  attempt((record) => {
                    throw errors[String(record.value)]
                  }),
                  retryTopic({ delays: ['1h'], ...options }),
                  deadLetter({ topic: 'dead' }),
                ),
              { provision: true },
            ),
          ),
        )
        await kit.feed(
          'in',
          Object.keys(errors).map((value) => ({ value })),
        )
        await kit.advance('1s')
        expect(await outputs(kit, 'in.g.retry.1h')).toEqual(Object.keys(errors).filter((value) => retried.includes(value)))
        expect(await outputs(kit, 'dead')).toEqual(Object.keys(errors).filter((value) => !retried.includes(value)))
      })
    }

    it('what time cannot change passes on by default', async () => {
      const kit = await inOutDeadKit()
      const { decode } = await import('../../src/index.js')
      const { z } = await import('zod')
      const pipe = (options: Partial<RetryTopicOptions>): Observable<Commit> =>
        kit.cluster
          .source({ group: 'g', topics: ['in'] })
          .pipe(
            withTransaction(
              (records) => records.pipe(decode(z.number()), retryTopic({ delays: ['1h'], ...options }), deadLetter({ topic: 'dead' })),
              { provision: true },
            ),
          )
      const first = kit.run(pipe({}))
      await kit.feed('in', [{ value: 'no json' }])
      await kit.advance('1s')
      expect(await outputs(kit, 'dead')).toEqual(['no json'])
      await first.stop()
      kit.run(pipe({ only: 'DECODE_FAILED' }))
      await kit.feed('in', [{ value: 'no json either' }])
      await kit.advance('1s')
      expect(await outputs(kit, 'in.g.retry.1h')).toEqual(['no json either'])
    })
  })

  describe('held records', () => {
    it('a long delay keeps no short one waiting, and no other partition', async () => {
      const kit = await inOutDeadKit(2)
      const { pipeline, tries } = failing(kit, { fails: { slow: 2, quick: 1, other: 1 } })
      kit.run(pipeline)
      await kit.feed('in', [{ value: 'slow', partition: 0 }])
      await kit.advance('2s')
      await kit.feed('in', [
        { value: 'quick', partition: 0 },
        { value: 'other', partition: 1 },
      ])
      await kit.advance('2s')
      expect(timesOf(tries, 'slow')).toHaveLength(2)
      expect((await outputs(kit)).sort()).toEqual(['other', 'quick'])
      await kit.advance('1m')
      expect((await outputs(kit)).sort()).toEqual(['other', 'quick', 'slow'])
    })

    it('wait on through a restart, and through a crash', async () => {
      const kit = await inOutDeadKit()
      const fails = { a: 1, b: 1, c: 2 }
      const first = kit.run(failing(kit, { fails }).pipeline)
      await kit.feed(
        'in',
        ['a', 'b', 'c'].map((value) => ({ value })),
      )
      await kit.advance('500ms')
      await first.stop()
      const second = kit.run(failing(kit, { fails: { c: 1 } }).pipeline)
      await kit.advance('2s')
      await second.crash()
      const last = failing(kit, {})
      kit.run(last.pipeline)
      await kit.advance('5m')
      expect((await outputs(kit)).sort()).toEqual(['a', 'b', 'c'])
      expect(last.tries.map(({ value }) => value)).toEqual(['c'])
    })

    it('go to another member with their partition, and come once', async () => {
      const kit = await inOutDeadKit(4)
      const values = Array.from({ length: 40 }, (_, i) => `v${i}`)
      const fails = Object.fromEntries(values.map((value) => [value, 1]))
      // Both members see the same calls: each value fails once, wherever.
      const called = new Set<string>()
      const pipeline = (): Observable<Commit> =>
        kit.cluster.source({ group: 'g', topics: ['in'] }).pipe(
          withTransaction(
            (records) =>
              records.pipe(
                attempt(({ value }) => {
                  const text = String(value)
                  if (called.has(text)) return
                  called.add(text)
                  throw new Error('once')
                }),
                retryTopic({ delays: ['10s'] }),
                deadLetter({ topic: 'dead' }),
                toTopic({ topic: 'out' }),
              ),
            { provision: true },
          ),
        )
      expect(Object.keys(fails)).toHaveLength(40)
      const first = kit.run(pipeline())
      await kit.feed(
        'in',
        values.map((value, i) => ({ value, partition: i % 4 })),
      )
      await kit.advance('3s')
      const second = kit.run(pipeline())
      await kit.advance('3s')
      await first.stop()
      await kit.advance('2s')
      expect(await outputs(kit)).toEqual([])
      await kit.advance('1m')
      expect((await outputs(kit)).sort()).toEqual([...values].sort())
      expect(accounted([...first.commits, ...second.commits]).processed).toBe(40)
    })

    it('go on at the right place where the transaction before them was undone', async () => {
      const kit = await inOutDeadKit()
      const values = Array.from({ length: 30 }, (_, i) => `v${i}`)
      const { pipeline } = failing(kit, { fails: Object.fromEntries(values.map((value) => [value, 1])), options: { delays: ['1s'] } })
      const running = kit.run(pipeline)
      // One after the other, 50 ms apart, so that a batch of the retry topic is read in parts, each in a transaction that is undone at
      // first.
      for (const value of values) {
        await kit.feed('in', [{ value }])
        await kit.advance('50ms')
      }
      for (const at of ['produce', 'offsets', 'end'] as const) {
        kit.broker.faults.inject({ at, reaction: 'abort', times: 3, after: 1 })
        await kit.advance('300ms')
      }
      await kit.advance('1m')
      expect(await outputs(kit)).toEqual(values)
      expect(accounted(running.commits).processed).toBe(30)
    })

    it('are fetched again where they wait long: nothing of them stays in memory', async () => {
      const kit = await inOutDeadKit()
      const { pipeline, tries } = failing(kit, { fails: { a: 1, b: 1 }, options: { delays: ['1h'] } })
      kit.run(pipeline)
      await kit.feed('in', [{ value: 'a' }])
      await kit.advance('30m')
      await kit.feed('in', [{ value: 'b' }])
      let fetches = 0
      const fault = kit.broker.faults.inject({ at: 'fetch', of: 'in.g.retry.1h', delayMs: 0, times: 1_000 })
      await kit.advance('29m')
      fetches = fault.hits
      expect(fetches).toBe(0)
      fault.remove()
      await kit.advance('2h')
      expect(await outputs(kit)).toEqual(['a', 'b'])
      for (const value of ['a', 'b']) {
        const [failed, again] = timesOf(tries, value) as [number, number]
        expect(again - failed).toBeGreaterThanOrEqual(3_600_000)
        expect(again - failed).toBeLessThan(3_600_200)
      }
    })

    it('deleted while they waited: the pipeline stops, or goes on where told', async () => {
      const kit = await inOutDeadKit()
      const source = (onOutOfRange: 'stop' | 'earliest'): Observable<Commit> =>
        kit.cluster.source({ group: 'g', topics: ['in'], onOutOfRange }).pipe(
          withTransaction(
            (records) =>
              records.pipe(
                attempt(({ value }) => {
                  if (String(value).startsWith('bad')) throw new Error('bad')
                }),
                retryTopic({ delays: ['1h'] }),
                deadLetter({ topic: 'dead' }),
                toTopic({ topic: 'out' }),
              ),
            { provision: true },
          ),
        )
      kit.run(source('earliest'))
      await kit.feed('in', [{ value: 'bad 1' }, { value: 'good 1' }])
      await kit.advance('1m')
      // Made anew, as if retention had deleted what it held: the group's offset lies behind its end.
      await kit.cluster.deleteTopics(['in.g.retry.1h'])
      await kit.cluster.createTopics([{ topic: 'in.g.retry.1h', partitions: 1 }])
      await kit.feed('in', [{ value: 'good 2' }])
      await kit.advance('2h')
      await kit.feed('in', [{ value: 'bad 2' }, { value: 'good 3' }])
      await kit.advance('2h')
      expect(await outputs(kit)).toEqual(['good 1', 'good 2', 'good 3'])
      expect(await outputs(kit, 'dead')).toEqual(['bad 2'])
    })

    it('many with small delays apart come in time, in order', async () => {
      const kit = await inOutDeadKit()
      const values = Array.from({ length: 2_000 }, (_, i) => `v${i}`)
      const { pipeline, tries } = failing(kit, {
        fails: Object.fromEntries(values.map((value) => [value, 1])),
        options: { delays: ['5s'] },
      })
      kit.run(pipeline)
      for (let i = 0; i < values.length; i += 20) {
        await kit.feed(
          'in',
          values.slice(i, i + 20).map((value) => ({ value })),
        )
        await kit.advance('10ms')
      }
      await kit.advance('10s')
      expect(await outputs(kit)).toEqual(values)
      const again = new Map(tries.map(({ value, at }) => [value, at]))
      for (const { value, at } of tries.slice(0, 2_000)) {
        expect((again.get(value) as number) - at).toBeGreaterThanOrEqual(5_000)
        expect((again.get(value) as number) - at).toBeLessThan(5_250)
      }
    })
  })

  describe('a hop and the offset are one', () => {
    const faults: Record<string, Fault> = {
      'an aborted produce': { at: 'produce', of: 'out', reaction: 'abort', after: 1, times: 2 },
      'a fenced producer': { at: 'produce', of: 'out', reaction: 'reinit', after: 1 },
      'refused offsets': { at: 'offsets', reaction: 'abort', after: 1, times: 3 },
      'a lost generation': { at: 'offsets', reaction: 'lost', after: 2 },
      'a commit without an answer that took effect': { at: 'end', reaction: 'indeterminate', tookEffect: true, after: 1, times: 2 },
      'a commit without an answer that did not': { at: 'end', reaction: 'indeterminate', tookEffect: false, after: 1, times: 2 },
    }
    for (const [name, fault] of Object.entries(faults)) {
      it(`through ${name}, at every hop`, async () => {
        const kit = await inOutDeadKit(2)
        const values = Array.from({ length: 200 }, (_, i) => `v${i}`)
        // By the record, not by the call: an attempt that was undone counts for nothing.
        const bad = new Set(values.filter((_, i) => i % 5 === 0))
        const hopeless = new Set(values.filter((_, i) => i % 20 === 0))
        const running = kit.run(
          kit.cluster.source({ group: 'g', topics: ['in'] }).pipe(
            withTransaction(
              (records) =>
                records.pipe(
                  attempt((record) => {
                    const value = String(record.value)
                    const again = kit.clock.now() >= 1_002_000
                    if (hopeless.has(value) || (bad.has(value) && !again)) throw new Error('bad')
                  }),
                  retryTopic({ delays: ['5s', '10s'] }),
                  deadLetter({ topic: 'dead' }),
                  toTopic({ topic: 'out' }),
                ),
              { provision: true, maxRecords: 40, every: 20 },
            ),
          ),
        )
        kit.broker.faults.inject(fault)
        await kit.feed(
          'in',
          values.map((value, i) => ({ key: value, value, partition: i % 2 })),
        )
        await kit.advance('4s')
        expect((await outputs(kit, 'in.g.retry.5s')).sort()).toEqual([...bad].sort())
        kit.broker.faults.inject(fault)
        await kit.advance('7s')
        expect((await outputs(kit, 'in.g.retry.10s')).sort()).toEqual([...hopeless].sort())
        kit.broker.faults.inject(fault)
        await kit.advance('1m')
        expect((await outputs(kit)).sort()).toEqual(values.filter((value) => !hopeless.has(value)).sort())
        expect((await outputs(kit, 'dead')).sort()).toEqual([...hopeless].sort())
        accounted(running.commits)
      })
    }

    it('nothing that the failed attempt wrote is left', async () => {
      const kit = await inOutDeadKit()
      let fail = true
      kit.run(
        kit.cluster.source({ group: 'g', topics: ['in'] }).pipe(
          withTransaction(
            (records) =>
              records.pipe(
                map((record) => {
                  if (fail && String(record.value) === 'poison') throw new Error('the slice fails')
                  return record
                }),
                toTopic({ topic: 'out' }),
              ),
            { provision: true, onError: { deadLetter: 'dead' }, retryDelay: 1 },
          ),
        ),
      )
      await kit.feed(
        'in',
        ['a', 'poison', 'b'].map((value) => ({ value })),
      )
      await kit.advance('5s')
      fail = false
      expect(await outputs(kit)).toEqual(['a', 'b'])
      expect(await outputs(kit, 'dead')).toEqual(['poison'])
    })
  })

  it('a retried record on which a plain operator fails is named by its own origin', async () => {
    const kit = await inOutDeadKit()
    let calls = 0
    kit.run(
      kit.cluster.source({ group: 'g', topics: ['in'] }).pipe(
        withTransaction(
          (records) =>
            records.pipe(
              attempt(({ value }) => {
                if (String(value) === 'x' && calls++ === 0) throw new Error('once')
              }),
              retryTopic({ delays: ['1s'] }),
              deadLetter({ topic: 'dead' }),
              tap(({ value }) => {
                if (String(value) === 'x') throw new Error('the slice fails')
              }),
              toTopic({ topic: 'out' }),
            ),
          { provision: true, onError: { deadLetter: 'dead' }, retryDelay: 1 },
        ),
      ),
    )
    await kit.feed(
      'in',
      ['a', 'x', 'b'].map((value) => ({ key: value, value, headers: { trace: value } })),
    )
    await kit.advance('1m')
    expect(await outputs(kit)).toEqual(['a', 'b'])
    const [letter, ...more] = await kit.read('dead')
    expect(more).toEqual([])
    expect(letter).toMatchObject({ key: 'x', value: 'x' })
    expect(readFailure(letter?.headers ?? {})).toMatchObject({
      origin: { topic: 'in', partition: 0, offset: 1 },
      message: 'the slice fails',
    })
    expect(Object.keys(letter?.headers ?? {}).filter((name) => name.startsWith('millrace.retry'))).toEqual([])
  })

  it('a record that is too large for the retry topic passes on', async () => {
    const kit = await inOutDeadKit()
    await kit.cluster.createTopics([{ topic: 'in.g.retry.1s', partitions: 1, config: { 'max.message.bytes': '2000' } }])
    const { pipeline } = failing(kit, { fails: { [`small`]: 1, ['x'.repeat(1_900)]: 1 }, options: { delays: ['1s'] } })
    kit.run(pipeline)
    await kit.feed('in', [{ value: 'x'.repeat(1_900) }, { value: 'small' }])
    await kit.advance('1m')
    expect(await outputs(kit)).toEqual(['small'])
    expect(await outputs(kit, 'dead')).toEqual(['x'.repeat(1_900)])
  })

  it('retry topics made by provision take records 8 kB larger than the input does', async () => {
    const kit = await inOutDeadKit()
    await kit.cluster.createTopics([{ topic: 'narrow', partitions: 1, config: { 'max.message.bytes': '2000' } }])
    const full = 'x'.repeat(1_800)
    const { pipeline, tries } = failing(kit, { topic: 'narrow', fails: { [full]: 1 }, options: { delays: ['1s'] } })
    kit.run(pipeline)
    await kit.feed('narrow', [{ value: full }])
    await kit.advance('1m')
    expect(tries).toHaveLength(2)
    expect(await outputs(kit)).toEqual([full])
    expect(await outputs(kit, 'dead')).toEqual([])
    await kit.feed('narrow.g.retry.1s', [{ value: 'x'.repeat(1_800 + 8_192) }])
    await expect(kit.feed('narrow.g.retry.1s', [{ value: 'x'.repeat(2_000 + 8_192) }])).rejects.toMatchObject({ code: 'RECORD_TOO_LARGE' })
  })

  it('what somebody else put into a retry topic is taken at once, as what it is', async () => {
    const kit = await inOutDeadKit()
    const { pipeline, tries } = failing(kit, {})
    kit.run(pipeline)
    await kit.feed('in', [{ value: 'a' }])
    await kit.feed('in.g.retry.1s', [{ value: 'by hand', headers: { 'millrace.retry': 'no JSON' } }])
    await kit.advance('1s')
    expect(tries.map(({ id, value }) => [id, value])).toEqual([
      ['in/0/0', 'a'],
      ['in.g.retry.1s/0/0', 'by hand'],
    ])
    expect(await outputs(kit)).toEqual(['a', 'by hand'])
  })

  it('delays of an earlier release are read until they are empty', async () => {
    const kit = await inOutDeadKit()
    const first = kit.run(failing(kit, { fails: { a: 1 }, options: { delays: ['10s'] } }).pipeline)
    await kit.feed('in', [{ value: 'a' }])
    await kit.advance('1s')
    await first.stop()
    const { pipeline } = failing(kit, { fails: { b: 1 }, options: { delays: ['2s'], drain: ['10s'] } })
    kit.run(pipeline)
    await kit.feed('in', [{ value: 'b' }])
    await kit.advance('5s')
    expect(await outputs(kit)).toEqual(['b'])
    await kit.advance('10s')
    expect(await outputs(kit)).toEqual(['b', 'a'])
  })

  it('two of them, each for its own errors', async () => {
    const kit = await inOutDeadKit()
    let calls = 0
    kit.run(
      kit.cluster.source({ group: 'g', topics: ['in'] }).pipe(
        withTransaction(
          (records) =>
            records.pipe(
              attempt(({ value }) => {
                if (String(value) === 'net' && calls++ < 3) throw Object.assign(new Error('net'), { code: 'ECONNRESET' })
                if (String(value) === 'other') throw new Error('other')
              }),
              retryTopic({ delays: [100, 200, 300], only: 'ECONNRESET', name: 'net' }),
              retryTopic({ delays: ['1m'] }),
              deadLetter({ topic: 'dead' }),
              toTopic({ topic: 'out' }),
            ),
          { provision: true },
        ),
      ),
    )
    await kit.feed('in', [{ value: 'net' }, { value: 'other' }])
    await kit.advance('2s')
    expect(await outputs(kit)).toEqual(['net'])
    expect(await outputs(kit, 'in.g.retry.net.300ms')).toEqual(['net'])
    await kit.advance('2m')
    expect(await outputs(kit, 'dead')).toEqual(['other'])
  })

  it('how late records were is in the commits', async () => {
    const kit = await inOutDeadKit()
    const { pipeline } = failing(kit, { fails: { a: 1, b: 1 } })
    const running = kit.run(pipeline)
    await kit.feed('in', [{ value: 'a' }, { value: 'b' }])
    await kit.advance('1m')
    const sum = (name: string): number => running.commits.reduce((total, { meters }) => total + (meters[name] ?? 0), 0)
    expect(sum('retry.1s.sent')).toBe(2)
    expect(sum('retry.1s.taken')).toBe(2)
    expect(sum('retry.1s.lateMs')).toBeGreaterThanOrEqual(0)
    expect(sum('retry.1s.maxLateMs')).toBeLessThan(100)
    expect(sum('retry.30s.taken')).toBe(0)
  })

  describe('planning', () => {
    const plan = async (project: (records: RecordStream) => Observable<unknown>): Promise<readonly string[]> => {
      const kit = await inOutDeadKit()
      const { cluster }: { cluster: Cluster } = kit
      return describePipeline(cluster.source({ group: 'g', topics: ['in'] }).pipe(withTransaction(project))).warnings
    }
    const fallible = attempt<RawRecord, void>(() => {})

    it('warns of a window behind it that does not wait for retried records', async () => {
      const behind = (grace: '1s' | '1m') => (records: RecordStream) =>
        records.pipe(
          fallible,
          retryTopic({ delays: ['1s', '30s'] }),
          dropFailed(),
          window(tumbling('1m'), { aggregate: count(), grace }),
          toTopic({ topic: 'out', value: json() }),
        )
      expect(await plan(behind('1s'))).toEqual([expect.stringMatching(/window.* has a grace of 1000 ms .* add up to 31000 ms/) as string])
      expect(await plan(behind('1m'))).toEqual([])
    })

    it('warns of state before it, which counts a retried record again; not of that on another branch', async () => {
      const counting = (records: Observable<RawRecord>): Observable<unknown> =>
        records.pipe(aggregate(count()), toTopic({ topic: 'out', value: json() }))
      const retrying = (records: Observable<RawRecord>): Observable<unknown> =>
        records.pipe(fallible, retryTopic({ delays: ['1s'] }), dropFailed(), toTopic({ topic: 'out' }))
      expect(
        await plan((records) =>
          records.pipe(
            aggregate(count()),
            map((r) => new FailedRecord(r as never, 1, 'x')),
            retryTopic({ delays: ['1s'] }),
          ),
        ),
      ).toEqual([expect.stringMatching(/aggregate.* stands before retryTopic/) as string])
      expect(await plan((records) => merge(records.pipe(retrying), records.pipe(counting)))).toEqual([])
      expect(await plan((records) => merge(records.pipe(counting), records.pipe(retrying)))).toEqual([])
    })

    it('warns where it stands behind a repartition; such records pass on', async () => {
      const project = (records: RecordStream): Observable<unknown> =>
        records.pipe(
          repartition({ key: () => 'k' }),
          attempt(() => {
            throw new Error('always')
          }),
          retryTopic({ delays: ['1s'] }),
          deadLetter({ topic: 'dead' }),
        )
      expect(await plan(project)).toEqual([expect.stringMatching(/retryTopic stands behind repartition/) as string])
      const kit = await inOutDeadKit()
      kit.run(kit.cluster.source({ group: 'g', topics: ['in'] }).pipe(withTransaction(project, { provision: true })))
      await kit.feed('in', [{ value: 'a' }])
      await kit.advance('1s')
      expect(await outputs(kit, 'dead')).toEqual(['a'])
    })

    it('refuses wrong options by name, and names that are too long', () => {
      expect(() => retryTopic({ delays: [] })).toThrow(/delays/)
      expect(() => retryTopic({ delays: ['1s'], ordered: true as never })).toThrow(/ordered/)
      expect(() => retryTopic({ delays: ['1s'], only: 5 as never })).toThrow(/only/)
      expect(() => retryTopic({ delays: ['1s'], tries: 5 } as never)).toThrow(/tries/)
    })
  })
})

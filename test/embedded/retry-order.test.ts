import { filter, map, mergeMap, of, timer, type Observable } from 'rxjs'
import { describe, expect, it } from 'vitest'
import {
  FailedRecord,
  attempt,
  deadLetter,
  deliveryAttempt,
  retryTopic,
  toTopic,
  withTransaction,
  type Commit,
  type RawRecord,
  type RecordStream,
  type RetryTopicOptions,
  type TransactionOptions,
} from '../../src/index.js'
import type { Fault, TestKit } from '../../src/testing/index.js'
import { inOutDeadKit } from '../support/in-out-dead-kit.js'

/** The same numbers each time. */
function random(seed: number): () => number {
  let state = seed
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state / 2 ** 32
  }
}

interface Wanted {
  /** Until when each value fails, in virtual time; one that is not named never does. */
  readonly badUntil: Readonly<Record<string, number>>
  readonly takes?: (value: string) => number
  readonly options?: Partial<RetryTopicOptions>
  readonly transaction?: TransactionOptions
  readonly concurrency?: number
  readonly onCall?: (value: string) => void
}

const ordered = (kit: TestKit, { badUntil, takes, options = {}, transaction = {}, concurrency = 16, onCall }: Wanted): Observable<Commit> =>
  kit.cluster.source({ group: 'g', topics: ['in'] }).pipe(
    withTransaction(
      (records) =>
        records.pipe(
          attempt(
            (record) => {
              const value = String(record.value)
              onCall?.(value)
              const result = (): void => {
                if (kit.clock.now() < (badUntil[value] ?? 0)) throw new Error(`${value} is bad`)
              }
              const ms = takes?.(value)
              return ms === undefined ? result() : new Promise<void>((resolve) => kit.clock.after(ms, resolve)).then(result)
            },
            { concurrency },
          ),
          retryTopic({ delays: ['1s', '5s', '20s'], ordered: 'key', ...options }),
          deadLetter({ topic: 'dead' }),
          toTopic({ topic: 'out' }),
        ),
      { every: '50ms', provision: true, retryDelay: 1, ...transaction },
    ),
  )

const outputs = async (kit: TestKit, topic = 'out'): Promise<(string | null)[]> =>
  (await kit.read(topic, { from: 'earliest' })).map(({ value }) => value)

/** By key, in the order of the partition: values are '<key><number>'. */
const byKey = (values: readonly (string | null)[]): Record<string, number[]> => {
  const found: Record<string, number[]> = {}
  for (const value of values) (found[(value as string)[0] as string] ??= []).push(Number((value as string).slice(1)))
  return found
}

const feed = (kit: TestKit, values: readonly string[], partitions = 1): Promise<number> =>
  kit.feed(
    'in',
    values.map((value) => ({ key: value[0] as string, value, partition: value.charCodeAt(0) % partitions })),
  )

describe("retryTopic with ordered: 'key'", () => {
  it('later records of a key wait behind the one in retry, those of other keys go on', async () => {
    const kit = await inOutDeadKit()
    kit.run(ordered(kit, { badUntil: { a1: 1_003_000 } }))
    await feed(kit, ['a0', 'a1', 'b0', 'a2', 'b1'])
    await kit.advance('500ms')
    await feed(kit, ['a3', 'b2'])
    await kit.advance('500ms')
    expect(await outputs(kit)).toEqual(['a0', 'b0', 'b1', 'b2'])
    await kit.advance('1m')
    expect(await outputs(kit)).toEqual(['a0', 'b0', 'b1', 'b2', 'a1', 'a2', 'a3'])
    await feed(kit, ['a4', 'a5'])
    await kit.advance('200ms')
    expect((await outputs(kit)).slice(-2)).toEqual(['a4', 'a5'])
  })

  it('those that wait are not called meanwhile', async () => {
    const kit = await inOutDeadKit()
    const calls: string[] = []
    kit.run(ordered(kit, { badUntil: { a0: 1_009_000 }, onCall: (value) => calls.push(value) }))
    await feed(kit, ['a0', 'a1', 'a2'])
    await kit.advance('1m')
    expect(calls).toEqual(['a0', 'a0', 'a0', 'a0', 'a1', 'a2'])
  })

  it('a call that is under way when the one before it fails: there is none, whatever they take', async () => {
    const kit = await inOutDeadKit()
    const calls: string[] = []
    kit.run(ordered(kit, { badUntil: { a0: 1_001_000 }, takes: () => 30, onCall: (value) => calls.push(value) }))
    await feed(kit, ['a0', 'a1', 'b0', 'a2'])
    await kit.advance('1m')
    expect(calls.filter((value) => value.startsWith('a'))).toEqual(['a0', 'a0', 'a1', 'a2'])
    expect(byKey(await outputs(kit))).toEqual({ a: [0, 1, 2], b: [0] })
  })

  it('when it passes on in the end, those behind it come next', async () => {
    const kit = await inOutDeadKit()
    kit.run(ordered(kit, { badUntil: { a0: 9_999_999, a2: 9_999_999 } }))
    await feed(kit, ['a0', 'a1', 'a2', 'a3'])
    await kit.advance('5m')
    expect(await outputs(kit)).toEqual(['a1', 'a3'])
    expect(await outputs(kit, 'dead')).toEqual(['a0', 'a2'])
  })

  it('one that is not retried passes on in its turn, and so do those behind it', async () => {
    const kit = await inOutDeadKit()
    kit.run(
      ordered(kit, {
        badUntil: { a0: 9_999_999, a2: 1_004_000 },
        takes: () => 20,
        options: { except: (error) => (error as Error).message.startsWith('a0') },
      }),
    )
    await feed(kit, ['a0', 'a1', 'a2', 'a3'])
    await kit.advance('5m')
    expect(await outputs(kit)).toEqual(['a1', 'a2', 'a3'])
    expect(await outputs(kit, 'dead')).toEqual(['a0'])
  })

  it('of two steps the first does not go on with the next record of a key while a failure is on its way through the second', async () => {
    const kit = await inOutDeadKit()
    const calls: string[] = []
    const step = (name: string, ms: number, fails: (value: string) => boolean) =>
      attempt(
        async (record: RawRecord) => {
          calls.push(`${name} ${String(record.value)}`)
          await new Promise<void>((resolve) => kit.clock.after(ms, resolve))
          if (fails(String(record.value))) throw new Error(name)
        },
        { step: name },
      )
    const project = (records: RecordStream): Observable<unknown> =>
      records.pipe(
        step('one', 5, (value) => value === 'a1' && kit.clock.now() < 1_001_000),
        step('two', 60, () => false),
        retryTopic({ delays: ['1s', '5s'], ordered: 'key' }),
        deadLetter({ topic: 'dead' }),
        toTopic({ topic: 'out' }),
      )
    kit.run(kit.cluster.source({ group: 'g', topics: ['in'] }).pipe(withTransaction(project, { provision: true })))
    await feed(kit, ['a0', 'a1', 'a2'])
    await kit.advance('1m')
    expect(await outputs(kit)).toEqual(['a0', 'a1', 'a2'])
    expect(calls.filter((call) => call.startsWith('one'))).toEqual(['one a0', 'one a1', 'one a1', 'one a2'])
  })

  it('records without a key have no order', async () => {
    const kit = await inOutDeadKit()
    kit.run(ordered(kit, { badUntil: { a0: 1_001_000 } }))
    await kit.feed(
      'in',
      ['a0', 'a1'].map((value) => ({ key: null, value })),
    )
    await kit.advance('1m')
    expect(await outputs(kit)).toEqual(['a1', 'a0'])
  })

  it('steps without attempt keep the order as well', async () => {
    const kit = await inOutDeadKit()
    const project = (records: RecordStream): Observable<unknown> =>
      records.pipe(
        map((record) =>
          String(record.value) === 'a0' && kit.clock.now() < 1_004_000
            ? new FailedRecord(record as never, new Error('bad'), 'check')
            : record,
        ),
        retryTopic({ delays: ['1s', '5s'], ordered: 'key' }),
        deadLetter({ topic: 'dead' }),
        toTopic({ topic: 'out' }),
      )
    kit.run(kit.cluster.source({ group: 'g', topics: ['in'] }).pipe(withTransaction(project, { provision: true })))
    await feed(kit, ['a0', 'a1', 'b0', 'a2'])
    await kit.advance('1m')
    expect(await outputs(kit)).toEqual(['b0', 'a0', 'a1', 'a2'])
  })

  it('the order of two topics of the source is apart, also for one key', async () => {
    const kit = await inOutDeadKit()
    await kit.cluster.createTopics([{ topic: 'in2', partitions: 1 }])
    kit.run(
      kit.cluster.source({ group: 'g', topics: ['in', 'in2'] }).pipe(
        withTransaction(
          (records) =>
            records.pipe(
              attempt(({ value }) => {
                if (String(value) === 'a0' && kit.clock.now() < 1_004_000) throw new Error('bad')
              }),
              retryTopic({ delays: ['1s', '5s'], ordered: 'key' }),
              deadLetter({ topic: 'dead' }),
              toTopic({ topic: 'out' }),
            ),
          { provision: true },
        ),
      ),
    )
    await kit.feed('in', [
      { key: 'a', value: 'a0' },
      { key: 'a', value: 'a1' },
    ])
    await kit.feed('in2', [{ key: 'a', value: 'x0' }])
    await kit.advance('1m')
    expect(await outputs(kit)).toEqual(['x0', 'a0', 'a1'])
  })

  it('leaves no state behind', async () => {
    const kit = await inOutDeadKit()
    kit.run(ordered(kit, { badUntil: { a0: 1_001_000, b0: 9_999_999 } }))
    await feed(kit, ['a0', 'a1', 'b0', 'b1', 'c0'])
    await kit.advance('5m')
    const last = new Map((await kit.read('g-retry-changelog', { from: 'earliest' })).map(({ key, value }) => [key, value]))
    expect([...last]).toEqual([
      ['in/a', null],
      ['in/b', null],
    ])
  })

  describe('through everything', () => {
    const KEYS = ['a', 'b', 'c', 'd', 'e', 'f']
    const PER_KEY = 25
    const faults: readonly Fault[] = [
      { at: 'produce', of: 'out', reaction: 'abort', after: 3 },
      { at: 'offsets', reaction: 'abort', after: 2, times: 2 },
      { at: 'end', reaction: 'indeterminate', tookEffect: true, after: 2 },
      { at: 'end', reaction: 'indeterminate', tookEffect: false, after: 1 },
      { at: 'produce', of: 'out', reaction: 'reinit', after: 2 },
      { at: 'offsets', reaction: 'lost', after: 4 },
    ]

    /** Feeds, disturbs and waits; tells what was done of each key, in order. */
    async function disturbed(
      seed: number,
      options: Partial<RetryTopicOptions> = {},
      concurrency = 16,
    ): Promise<{ done: Record<string, number[]>; dead: string[] }> {
      const next = random(seed)
      const kit = await inOutDeadKit(2)
      const badUntil: Record<string, number> = {}
      const values: string[] = []
      for (let i = 0; i < PER_KEY; i++) for (const key of KEYS) values.push(`${key}${i}`)
      // Some for a moment, some for long, some for ever.
      for (const value of values) if (next() < 0.15) badUntil[value] = next() < 0.2 ? 9e9 : 1_000_000 + Math.floor(next() * 40_000)
      const member = (): Observable<Commit> =>
        ordered(kit, { badUntil, takes: () => Math.floor(next() * 40), options, concurrency, transaction: { maxRecords: 20 } })
      const running = [kit.run(member())]
      for (let i = 0; i < values.length; i += 10) {
        await feed(kit, values.slice(i, i + 10), 2)
        await kit.advance(Math.floor(next() * 1_500))
        const what = next()
        if (what < 0.3) kit.broker.faults.inject(faults[Math.floor(next() * faults.length)] as Fault)
        else if (what < 0.4 && running.length < 3) running.push(kit.run(member()))
        else if (what < 0.5 && running.length > 1) await running.shift()?.stop()
        else if (what < 0.58) {
          await running.shift()?.crash()
          running.push(kit.run(member()))
        }
      }
      kit.broker.faults.clear()
      await kit.advance('30m')
      const dead = (await outputs(kit, 'dead')) as string[]
      return { done: byKey(await outputs(kit)), dead }
    }

    // 30: a commit whose answer is lost while the member is stopping.
    for (const seed of [1, 2, 3, 4, 5, 6, 7, 30]) {
      it(`each record once, the order of each key kept: rebalances, crashes, aborts and slow calls, seed ${seed}`, async () => {
        const { done, dead } = await disturbed(seed)
        for (const key of KEYS) {
          const gone = new Set(dead.filter((value) => value.startsWith(key)).map((value) => Number(value.slice(1))))
          expect(done[key]).toEqual(Array.from({ length: PER_KEY }, (_, i) => i).filter((i) => !gone.has(i)))
        }
        expect(new Set(dead).size).toBe(dead.length)
        // In the dead-letter topic too they stand in their order.
        for (const numbers of Object.values(byKey(dead))) expect(numbers).toEqual([...numbers].sort((x, y) => x - y))
      }, 30_000)
    }

    it('without ordered the same shows that records overtake', async () => {
      const { done } = await disturbed(1, { ordered: false })
      expect(KEYS.some((key) => done[key]?.some((n, i, all) => i > 0 && n < (all[i - 1] as number)))).toBe(true)
    }, 30_000)
  })

  it('refuses steps before it that mix up a key, and two of its kind', async () => {
    const kit = await inOutDeadKit()
    const run = (project: (records: RecordStream) => Observable<unknown>): Promise<unknown> =>
      new Promise((resolve) =>
        kit.cluster
          .source({ group: 'g', topics: ['in'] })
          .pipe(withTransaction(project))
          .subscribe({ error: resolve }),
      )
    const retry = retryTopic<never>({ delays: ['1s'], ordered: 'key' })
    expect(
      await run((records) =>
        records.pipe(
          attempt(() => {}, { order: 'none', step: 'charge' }),
          retry as never,
        ),
      ),
    ).toMatchObject({ code: 'INVALID_OPTIONS', message: expect.stringContaining("'charge'") as string })
    expect(await run((records) => records.pipe(retry as never, retryTopic({ delays: ['2s'], ordered: 'key', name: 'b' })))).toMatchObject({
      code: 'PLAN_FAILED',
    })
  })

  it('a record that the error policy takes out keeps none behind it waiting', async () => {
    const kit = await inOutDeadKit()
    const poisoned = (records: RecordStream): Observable<unknown> =>
      records.pipe(
        map((record) => {
          if (String(record.value) === 'a2') throw new Error('poison')
          return record
        }),
        attempt((record) => {
          if (String(record.value) === 'a1' && deliveryAttempt(record) === 1) throw new Error('a1 is bad')
        }),
        retryTopic({ delays: ['1s'], ordered: 'key' }),
        deadLetter({ topic: 'dead' }),
        toTopic({ topic: 'out' }),
      )
    const options = { every: '50ms', provision: true, retryDelay: 1, onError: 'skip' } as const
    const run = kit.run(kit.cluster.source({ group: 'g', topics: ['in'] }).pipe(withTransaction(poisoned, options)))
    await feed(kit, ['a1', 'a2', 'a3', 'b1', 'a4'])
    await kit.advance('10s')
    expect(byKey(await outputs(kit))).toEqual({ a: [1, 3, 4], b: [1] })
    // Each waits once, and goes on.
    expect(run.commits.reduce((sum, { records }) => sum + records, 0)).toBeLessThan(15)
    await kit.stop()
  })

  it('a record that is dropped between one that fails and one that waits for it keeps nobody waiting', async () => {
    const kit = await inOutDeadKit()
    const dropping = (records: RecordStream): Observable<unknown> =>
      records.pipe(
        filter((record) => !String(record.value).startsWith('x') && String(record.value) !== 'a2'),
        // The call of the first is under way when the others go in.
        attempt((record) => {
          if (String(record.value) !== 'a1') return undefined
          return new Promise<void>((resolve) => kit.clock.after(200, resolve)).then(() => {
            if (deliveryAttempt(record) < 3) throw new Error('a1 is bad')
          })
        }),
        retryTopic({ delays: ['1s', '5s'], ordered: 'key' }),
        deadLetter({ topic: 'dead' }),
        toTopic({ topic: 'out' }),
      )
    kit.run(kit.cluster.source({ group: 'g', topics: ['in'] }).pipe(withTransaction(dropping, { every: '50ms', provision: true })))
    await feed(kit, ['a1'])
    await kit.advance('100ms')
    await feed(kit, ['a2', 'a3', 'a4'])
    await kit.advance('2s')
    await feed(kit, ['a5'])
    await kit.advance('1m')
    expect(byKey(await outputs(kit))).toEqual({ a: [1, 3, 4, 5] })
    await kit.stop()
  })

  it('one that comes while another of its key is on its way to the step stays behind that', async () => {
    const kit = await inOutDeadKit()
    const slow = (records: RecordStream): Observable<unknown> =>
      records.pipe(
        mergeMap((record) => (String(record.value) === 'a1' ? timer(20).pipe(map(() => record)) : of(record)), 1),
        attempt((record) => {
          if (String(record.value) === 'a0' && deliveryAttempt(record) < 3) throw new Error('a0 is bad')
        }),
        retryTopic({ delays: ['1s', '5s'], ordered: 'key' }),
        deadLetter({ topic: 'dead' }),
        toTopic({ topic: 'out' }),
      )
    kit.run(kit.cluster.source({ group: 'g', topics: ['in'] }).pipe(withTransaction(slow, { every: '1s', provision: true })))
    await feed(kit, ['a0', 'a1'])
    await kit.advance('10ms')
    await feed(kit, ['a2'])
    await kit.advance('1m')
    expect(byKey(await outputs(kit))).toEqual({ a: [0, 1, 2] })
    await kit.stop()
  })
})

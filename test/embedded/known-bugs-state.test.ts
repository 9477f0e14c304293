import { map, type Observable } from 'rxjs'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import {
  aggregate,
  aggregator,
  count,
  json,
  session,
  sliding,
  toTopic,
  tumbling,
  window,
  withTransaction,
  type Commit,
  type RecordStream,
  type TransactionOptions,
  type WindowResult,
  type Windows,
} from '../../src/index.js'
import { createTestKit, type RunningPipeline, type TestKit } from '../../src/testing/index.js'
import { EntryStore } from '../../src/state/entry-store.js'

/** What went wrong elsewhere, with the number it is known by. */

type Result = WindowResult<string>

/** The values of a window's records, in the order they came. */
const letters = aggregator({
  name: 'letters',
  init: () => '',
  add: (state: string, { value }: { readonly value: unknown }) => state + String(value),
  merge: (earlier, later) => earlier + later,
})

let kit: TestKit
beforeEach(async () => {
  kit = await createTestKit({ topics: { in: {}, out: {}, late: {} } })
})
afterEach(() => kit.stop())

const start = (project: (records: RecordStream) => Observable<unknown>, options: TransactionOptions = {}): RunningPipeline =>
  kit.run(
    kit.cluster
      .source({ group: 'g', topics: ['in'] })
      .pipe(withTransaction(project, { every: 10, provision: true, ...options }) as (source: unknown) => Observable<Commit>),
  )

const windowed =
  (windows: Windows, { grace = 0, emit = 'final' as 'final' | 'updates' } = {}) =>
  (records: RecordStream): Observable<unknown> =>
    records.pipe(
      window(windows, {
        aggregate: letters,
        grace,
        emit,
        late: (late) =>
          late.pipe(
            map(({ record }) => record),
            toTopic({ topic: 'late' }),
          ),
      }),
      toTopic({ topic: 'out', value: json() }),
    )

const counted = (records: RecordStream): Observable<unknown> => records.pipe(aggregate(count()), toTopic({ topic: 'out', value: json() }))

/** One record after the other, each in a transaction of its own. */
async function feed(...records: readonly (readonly [value: string, timestamp: number])[]): Promise<void> {
  for (const [value, timestamp] of records) {
    await kit.feed('in', { key: 'k', value, timestamp })
    await kit.advance(20)
  }
}

const results = async (): Promise<string[]> =>
  (await kit.read('out', { from: 'earliest', value: json<Result>() })).map(({ value }) => {
    const { start, end, result } = value as Result
    return `${start}-${end} ${result}`
  })
const counts = async (): Promise<number[]> =>
  (await kit.read('out', { from: 'earliest', value: json<number>() })).map(({ value }) => value as number)
const late = async (): Promise<(string | null)[]> => (await kit.read('late', { from: 'earliest' })).map(({ value }) => value)

describe('windows and event time: bugs of others', () => {
  for (const how of ['stop', 'crash'] as const) {
    it(`KAFKA-7994: stream time is not forgotten in a restart, after a ${how}`, async () => {
      const first = start(windowed(tumbling(10)))
      await feed(['a', 5], ['b', 25])
      await first[how]()
      start(windowed(tumbling(10)))
      await kit.advance('1m')
      // With the time of the new process alone this would open a window that was closed and handed out.
      await feed(['c', 6], ['d', 40])
      expect(await late()).toEqual(['c'])
      expect(await results()).toEqual(['0-10 a', '20-30 b'])
    })

    it(`KAFKA-7895: a final result comes once, whatever restarts come between, after a ${how}`, async () => {
      for (const record of [
        ['a', 1],
        ['b', 2],
        ['c', 12],
        ['d', 11],
        ['e', 21],
        ['f', 35],
      ] as const) {
        const running = start(windowed(tumbling(10), { grace: 3 }))
        await kit.advance('1m')
        await feed(record)
        await running[how]()
      }
      start(windowed(tumbling(10), { grace: 3 }))
      await kit.advance('1m')
      await feed(['g', 100])
      expect(await results()).toEqual(['0-10 ab', '10-20 cd', '20-30 e', '30-40 f'])
    })
  }

  it('KAFKA-8289, KAFKA-12718: a session closes only after gap and grace, both included', async () => {
    start(windowed(session(10), { grace: 5 }))
    await feed(['a', 100], ['b', 115])
    expect(await results()).toEqual([])
    // 100 + gap + grace is now: at the gap's distance of it, and still in time.
    await feed(['c', 110])
    await feed(['d', 131], ['e', 200])
    expect(await results()).toEqual(['100-115 abc', '131-131 d'])
    expect(await late()).toEqual([])
  })

  it('KAFKA-8289: one later it is closed', async () => {
    start(windowed(session(10), { grace: 5 }))
    await feed(['a', 100], ['b', 116])
    expect(await results()).toEqual(['100-100 a'])
    // What comes for it begins another one; it is late only if that would be closed as well.
    await feed(['c', 101], ['d', 90], ['e', 200])
    expect(await results()).toEqual(['100-100 a', '101-101 c', '116-116 b'])
    expect(await late()).toEqual(['d'])
  })

  it('KAFKA-13739: sliding windows without grace hold the records they end with', async () => {
    start(windowed(sliding(10)))
    await feed(['a', 100], ['b', 100], ['c', 105], ['d', 200])
    expect(await results()).toEqual(['90-100 ab', '95-105 abc', '101-111 c'])
    expect(await late()).toEqual([])
  })

  it('KAFKA-5636: records less than a window after the epoch have windows of their own', async () => {
    start(windowed(sliding(10)))
    await feed(['a', 0], ['b', 4], ['c', 100])
    expect(await results()).toEqual(['-10-0 a', '-6-4 ab', '1-11 b'])
  })

  it('KAFKA-12508: an update that was aborted comes, though its state had been changed already', async () => {
    start(windowed(tumbling(10), { emit: 'updates' }))
    await feed(['a', 1])
    const fault = kit.broker.faults.inject({ at: 'end', reaction: 'abort' })
    await feed(['b', 2])
    await kit.advance('5s')
    expect(fault.hits).toBe(1)
    expect(await results()).toEqual(['0-10 a', '0-10 ab'])
  })
})

describe('restoring: bugs of others', () => {
  const crashWhileCommitting = async (running: RunningPipeline): Promise<void> => {
    // What it has sent is there, what would end the transaction never comes.
    kit.broker.faults.inject({ at: 'offsets', delayMs: 1_000 })
    await feed(['lost', 3])
    expect(kit.broker.openTransactions()).toHaveLength(1)
    await running.crash()
  }

  it('KAFKA-7192, KAFKA-9891, KAFKA-20685: a crash with a transaction open leaves nothing of it in the state', async () => {
    const first = start(counted)
    await feed(['a', 1], ['b', 2])
    await crashWhileCommitting(first)
    expect((await kit.broker.records('g-aggregate-changelog', 'read_uncommitted')).length).toBe(3)
    start(counted)
    await kit.advance('5m')
    await feed(['d', 4])
    expect(await counts()).toEqual([1, 2, 3, 4])
  })

  it('KAFKA-6607, risingwave#24717: a changelog that ends with an aborted transaction and its marker is read to the end', async () => {
    const first = start(counted)
    await feed(['a', 1], ['b', 2])
    await crashWhileCommitting(first)
    await kit.advance('5m')
    expect(kit.broker.openTransactions()).toEqual([])
    const second = start(counted)
    await kit.advance(100)
    expect(second.commits.at(-1)?.restoring).toBe(0)
    expect(await counts()).toEqual([1, 2, 3])
  })

  it('KAFKA-16017: a task that goes in the middle of its restore is not taken for restored', async () => {
    const first = start(counted)
    await feed(['a', 1], ['b', 2], ['c', 3])
    await first.stop()
    kit.broker.pause('g-aggregate-changelog')
    const second = start(counted)
    await feed(['d', 4])
    kit.broker.rebalance('g')
    await kit.advance('10s')
    await second.stop()
    kit.broker.resume('g-aggregate-changelog')
    expect(await counts()).toEqual([1, 2, 3])
    start(counted)
    await kit.advance(1_000)
    expect(await counts()).toEqual([1, 2, 3, 4])
  })

  it('KAFKA-6634, KAFKA-13295: a restore longer than the transaction timeout fences nobody', async () => {
    const first = start(counted)
    await feed(['a', 1], ['b', 2])
    await first.stop()
    kit.broker.pause('g-aggregate-changelog')
    const second = start(counted, { transactionTimeout: '10s' })
    await feed(['c', 3])
    await kit.advance('5m')
    expect(await counts()).toEqual([1, 2])
    expect(kit.broker.openTransactions()).toEqual([])
    kit.broker.resume('g-aggregate-changelog')
    await kit.advance(1_000)
    expect(await counts()).toEqual([1, 2, 3])
    expect(second.ended).toBe(false)
  })

  it('streamiz#463: a changelog that was emptied, its offsets gone on, is restored at once', async () => {
    const first = start(counted)
    await feed(['a', 1], ['b', 2])
    await first.stop()
    const all = await kit.broker.records('g-aggregate-changelog')
    // Behind the last record is the marker of its commit.
    kit.broker.truncate({ topic: 'g-aggregate-changelog', partition: 0, offset: (all.at(-1)?.offset as number) + 2 })
    start(counted)
    await feed(['c', 3])
    await kit.advance(1_000)
    expect(await counts()).toEqual([1, 2, 1])
  })
})

describe('the same, broken', () => {
  afterEach(() => vi.restoreAllMocks())

  it('a stream time that is forgotten is what KAFKA-7994 was', async () => {
    const load = EntryStore.prototype.load
    vi.spyOn(EntryStore.prototype, 'load').mockImplementation(function (this: EntryStore<never, never>, key, value, version) {
      if (key.length > 0) load.call(this, key, value, version)
    })
    const first = start(windowed(tumbling(10)))
    await feed(['a', 5], ['b', 25])
    await first.stop()
    start(windowed(tumbling(10)))
    await feed(['c', 6], ['d', 40])
    expect(await late()).toEqual([])
    expect(await results()).toContain('0-10 c')
  })

  it('a state that keeps what was aborted is what KAFKA-12508 was', async () => {
    vi.spyOn(EntryStore.prototype, 'rollback').mockImplementation(function (this: EntryStore<never, never>) {
      this.commit()
    })
    start(windowed(tumbling(10), { emit: 'updates' }))
    await feed(['a', 1])
    kit.broker.faults.inject({ at: 'end', reaction: 'abort' })
    await feed(['b', 2])
    await kit.advance('5s')
    expect(await results()).not.toEqual(['0-10 a', '0-10 ab'])
  })
})

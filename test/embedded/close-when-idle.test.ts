import { delay, map, mergeMap, of, type Observable } from 'rxjs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  count,
  hopping,
  json,
  session,
  sliding,
  toTopic,
  tumbling,
  window,
  withTransaction,
  type Commit,
  type RecordStream,
  type Windows,
} from '../../src/index.js'
import { createTestKit, type TestKit } from '../../src/testing/index.js'

interface Result {
  readonly start: number
  readonly end: number
  readonly result: number
}

const IDLE = 60_000

/** Records at 1 s, 2 s and 4 s, and what each kind makes of them when all is closed. */
const cases: readonly { readonly name: string; readonly windows: Windows; readonly results: readonly Result[] }[] = [
  { name: 'tumbling', windows: tumbling('10s'), results: [{ start: 0, end: 10_000, result: 3 }] },
  {
    name: 'hopping',
    windows: hopping({ size: '10s', advance: '5s' }),
    results: [
      { start: -5_000, end: 5_000, result: 3 },
      { start: 0, end: 10_000, result: 3 },
    ],
  },
  { name: 'session', windows: session('10s'), results: [{ start: 1_000, end: 4_000, result: 3 }] },
  {
    name: 'sliding',
    windows: sliding('10s'),
    results: [
      { start: -9_000, end: 1_000, result: 1 },
      { start: -8_000, end: 2_000, result: 2 },
      { start: -6_000, end: 4_000, result: 3 },
      { start: 1_001, end: 11_001, result: 2 },
      { start: 2_001, end: 12_001, result: 1 },
    ],
  },
]

describe('closeWhenIdle', () => {
  let kit: TestKit
  beforeEach(async () => {
    kit = await createTestKit({ topics: { in: { partitions: 2 }, out: { partitions: 2, value: json<Result>() }, late: {} } })
  })
  afterEach(() => kit.stop())

  const pipeline = (
    windows: Windows,
    before: (records: RecordStream) => Observable<RecordStream extends Observable<infer R> ? R : never> = (records) => records,
  ): Observable<Commit> =>
    kit.cluster.source({ group: 'g', topics: ['in'] }).pipe(
      withTransaction(
        (records) =>
          before(records).pipe(
            window(windows, {
              aggregate: count(),
              grace: '3s',
              closeWhenIdle: IDLE,
              late: (late) =>
                late.pipe(
                  map(({ record }) => record),
                  toTopic({ topic: 'late' }),
                ),
            }),
            toTopic({ topic: 'out', value: json() }),
          ),
        { every: 100, provision: true, stallAfter: '10m' },
      ),
    )
  const feed = (...timestamps: number[]): Promise<number> =>
    kit.feed(
      'in',
      timestamps.map((timestamp) => ({ key: 'k', value: String(timestamp), timestamp, partition: 0 })),
    )
  const read = async (): Promise<Result[]> =>
    (await kit.read('out', { from: 'earliest', value: json<Result>() })).map(({ value }) => value as Result)
  const late = async (): Promise<(string | null)[]> => (await kit.read('late', { from: 'earliest' })).map(({ value }) => value)

  for (const { name, windows, results } of cases) {
    describe(`${name} windows`, () => {
      it('close after the time and not before, once, by their end', async () => {
        const running = kit.run(pipeline(windows))
        await feed(1_000, 2_000, 4_000)
        await kit.advance(200)
        await kit.advance(IDLE - 1_000)
        expect(await read()).toEqual([])
        await kit.advance(2_000)
        expect(await read()).toEqual(results)
        const commits = running.commits.length
        await kit.advance('1h')
        expect(await read()).toEqual(results)
        expect(running.commits).toHaveLength(commits)
      })

      it('wait on while records keep coming', async () => {
        kit.run(pipeline(windows))
        await feed(1_000, 2_000)
        await kit.advance(IDLE - 1_000)
        await feed(4_000)
        await kit.advance(IDLE - 1_000)
        expect(await read()).toEqual([])
        await kit.advance(2_000)
        expect(await read()).toEqual(results)
      })

      for (const at of ['produce', 'offsets', 'end'] as const) {
        it(`close once though their transaction fails at ${at}`, async () => {
          kit.run(pipeline(windows))
          await feed(1_000, 2_000, 4_000)
          await kit.advance(200)
          const fault = kit.broker.faults.inject({ at, reaction: 'abort' })
          await kit.advance(IDLE + 5_000)
          expect(fault.hits).toBe(1)
          expect(await read()).toEqual(results)
        })
      }

      it('close once though the answer to their commit is lost', async () => {
        kit.run(pipeline(windows))
        await feed(1_000, 2_000, 4_000)
        await kit.advance(200)
        kit.broker.faults.inject({ at: 'end', reaction: 'indeterminate', tookEffect: true })
        await kit.advance(IDLE + 5_000)
        expect(await read()).toEqual(results)
        await kit.advance(2 * IDLE)
        expect(await read()).toEqual(results)
      })

      it('close after a restart with nothing coming, the time counted anew', async () => {
        const first = kit.run(pipeline(windows))
        await feed(1_000, 2_000, 4_000)
        await kit.advance(IDLE - 1_000)
        await first.stop()
        kit.run(pipeline(windows))
        await kit.advance(IDLE - 1_000)
        expect(await read()).toEqual([])
        await kit.advance(2_000)
        expect(await read()).toEqual(results)
      })

      it('leave what comes later for them late', async () => {
        const running = kit.run(pipeline(windows))
        await feed(1_000, 2_000, 4_000)
        await kit.advance(IDLE + 1_000)
        await feed(1_500)
        await kit.advance(1_000)
        expect(await late()).toEqual(['1500'])
        expect(running.commits.reduce((sum, { late }) => sum + late, 0)).toBe(1)
        expect(await read()).toEqual(results)
      })
    })
  }

  it('the silence of one partition closes its windows only', async () => {
    kit.run(pipeline(tumbling('10s')))
    await kit.feed('in', [
      { key: 'a', value: '', timestamp: 1_000, partition: 0 },
      { key: 'b', value: '', timestamp: 1_000, partition: 1 },
    ])
    await kit.advance(IDLE / 2)
    await kit.feed('in', { key: 'b', value: '', timestamp: 2_000, partition: 1 })
    await kit.advance(IDLE / 2 + 1_000)
    expect(await kit.read('out')).toMatchObject([{ key: 'a' }])
    await kit.advance(IDLE / 2)
    expect(await kit.read('out')).toMatchObject([{ key: 'b', value: { result: 2 } }])
  })

  it('does not take for silence that the pipeline itself was held up', async () => {
    // A record of the other partition takes longer than the time.
    kit.run(
      pipeline(
        tumbling('10s'),
        mergeMap((record) => (String(record.value) === 'slow' ? of(record).pipe(delay(2 * IDLE)) : of(record))),
      ),
    )
    await feed(1_000)
    await kit.advance(1_000)
    await kit.feed('in', { key: 'other', value: 'slow', timestamp: 1_000, partition: 1 })
    await kit.advance(1_000)
    await feed(2_000)
    await kit.advance(2 * IDLE)
    expect(await late()).toEqual([])
    await kit.advance(IDLE)
    // Of two tasks, whose order is not told.
    expect((await read()).sort((a, b) => a.result - b.result)).toEqual([
      { start: 0, end: 10_000, result: 1 },
      { start: 0, end: 10_000, result: 2 },
    ])
  })
})

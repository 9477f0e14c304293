import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { filter, map, mergeMap, type Observable } from 'rxjs'
import {
  attempt,
  dropFailed,
  statusOf,
  toTopic,
  withTransaction,
  type RecordStream,
  type TimeStatus,
  type TransactionOptions,
} from '../../src/index.js'
import { createTestKit, type TestKit } from '../../src/testing/index.js'

describe('where the time goes', () => {
  let kit: TestKit

  beforeEach(async () => {
    kit = await createTestKit({ topics: { in: { partitions: 2 }, out: { partitions: 2 } } })
  })
  afterEach(() => kit.stop())

  const timeOf = async (
    project: (records: RecordStream) => Observable<unknown>,
    options: TransactionOptions = {},
    partitions = 2,
  ): Promise<TimeStatus> => {
    const pipeline = kit.cluster.source({ group: 'g', topics: ['in'] }).pipe(withTransaction(project, options))
    await kit.feed(
      'in',
      Array.from({ length: 20 }, (_, i) => ({ key: `k${i}`, value: String(i), partition: i % partitions })),
    )
    const began = kit.clock.monotonic()
    kit.run(pipeline)
    await kit.advance('10s')
    const { time } = statusOf(pipeline).snapshot()
    // All of the time is somewhere.
    const sum = Object.values(time.phases).reduce((all, ms) => all + ms, 0)
    expect(sum).toBeCloseTo(kit.clock.monotonic() - began, 6)
    return time
  }
  const sleep = (ms: number): Promise<void> => new Promise((resolve) => kit.clock.after(ms, resolve))

  it('what is computed, and waiting for records', async () => {
    const worked = await timeOf((records) =>
      records.pipe(
        map((record) => {
          kit.clock.spend(100)
          return record
        }),
      ),
    )
    expect(worked.phases).toMatchObject({ working: 2_000, finishing: 0, calling: 0, recovering: 0 })
    expect(worked.phases.waiting).toBeGreaterThan(7_000)
    expect(worked).toMatchObject({ sampled: { oneIn: undefined, slices: 0, records: 0 }, steps: [] })
  })

  it('what user code waits for, and that one slice alone is waited for', async () => {
    const { phases, alone } = await timeOf(
      (records) => records.pipe(mergeMap((record) => sleep(record.origin.partition === 1 ? 3_000 : 500).then(() => record))),
      { every: '100ms' },
    )
    expect(phases).toMatchObject({ finishing: 2_900, working: 0, calling: 0 })
    expect(alone).toEqual({ ms: 2_500, partition: 1 })
  })

  it('calls, with what they take, whether they have a time limit or not', async () => {
    const { phases, calls } = await timeOf(
      (records) => records.pipe(attempt(() => sleep(1_000), { step: 'charge', concurrency: 5, order: 'none' })),
      { every: '100ms' },
    )
    expect(phases).toMatchObject({ calling: 1_900, finishing: 0 })
    expect(calls).toEqual([{ step: 'charge', concurrency: 5, made: 20, underWay: 0, timed: 2, timedMs: 2_000 }])
  })

  it.each([
    ['end', undefined, 'committing'],
    ['produce', 'out', 'sending'],
  ] as const)('a slow %s of %s is %s', async (at, of, phase) => {
    kit.broker.faults.inject({ at, delayMs: 2_000, ...(of === undefined ? {} : { of }) })
    const { phases } = await timeOf((records) => records.pipe(toTopic({ topic: 'out' })))
    expect(phases[phase]).toBe(2_000)
  })

  it('that runs beside the next transaction counts where it is waited for', async () => {
    kit.broker.faults.inject({ at: 'end', delayMs: 2_000 })
    const { phases } = await timeOf((records) => records.pipe(toTopic({ topic: 'out' })), { every: '1ms', maxRecords: 10 })
    expect(phases.committing).toBe(2_000)
  })

  it('of the steps in sampled slices: what each computes, and what it waits for', async () => {
    const { sampled, steps } = await timeOf(
      (records) =>
        records.pipe(
          filter(({ origin }) => origin.offset % 2 === 0),
          map((record) => {
            kit.clock.spend(10)
            return record
          }),
          mergeMap(async (record) => {
            kit.clock.spend(1)
            await sleep(400)
            return record
          }),
          attempt((record) => record.with({ value: 'x' }), { step: 'charge' }),
          dropFailed(),
          toTopic({ topic: 'out' }),
        ),
      { sampleSteps: 1 },
    )
    expect(sampled).toMatchObject({ oneIn: 1, slices: 2, records: 20 })
    expect(steps.map(({ operator, items, busyMs }) => [operator, items, busyMs])).toEqual([
      [undefined, 0, 0],
      [undefined, 20, 0],
      [undefined, 10, 100],
      [undefined, 10, 10],
      ['charge', 10, 0],
      ['dropFailed', 10, 0],
      ['toTopic out', 10, 0],
    ])
    expect(steps.map(({ step }) => step.replace(/ of the pipe at .*time\.test\.ts:\d+:\d+$/, ''))).toEqual([
      'reading',
      'operator 1 of 6',
      'operator 2 of 6',
      'operator 3 of 6',
      'operator 4 of 6 (charge)',
      'operator 5 of 6 (dropFailed)',
      'operator 6 of 6 (toTopic out)',
    ])
    const held = steps.map(({ heldMs }) => heldMs)
    expect(held[3]).toBeGreaterThan(500)
    expect(held.filter((ms) => ms > 0)).toHaveLength(1)
  })

  it('one slice in so many is sampled, of every task in turn', async () => {
    const { sampled } = await timeOf((records) => records.pipe(toTopic({ topic: 'out' })), { sampleSteps: 2, maxRecords: 2, every: '1ms' })
    expect(sampled).toMatchObject({ oneIn: 2, slices: 10, records: 10 })
  })
})

import { map, type Observable } from 'rxjs'
import { describe, expect, it } from 'vitest'
import {
  aggregate,
  aggregator,
  average,
  max,
  min,
  record,
  reduce,
  sum,
  toTopic,
  json,
  tumbling,
  window,
  withTransaction,
  type Aggregator,
  type Commit,
  type RecordStream,
  type StreamRecord,
  type TransactionOptions,
} from '../../src/index.js'
import type { RunningPipeline, TestKit } from '../../src/testing/index.js'
import { inOutDeadKit } from '../support/in-out-dead-kit.js'

/** What goes into a state, what comes out of it, and who is to blame when that does not work. */

type Raw = StreamRecord<unknown, unknown>

const start = (kit: TestKit, project: (records: RecordStream) => Observable<unknown>, options: TransactionOptions = {}): RunningPipeline =>
  kit.run(
    kit.cluster
      .source({ group: 'g', topics: ['in'] })
      .pipe(withTransaction(project, { every: 10, provision: true, ...options }) as (source: unknown) => Observable<Commit>),
  )

const toOut = toTopic<StreamRecord<Buffer | null, unknown>>({ topic: 'out', value: json() })
const valuesOf = async (kit: TestKit, topic = 'out'): Promise<unknown[]> =>
  (await kit.read(topic, { value: json() })).map(({ value }) => value)

/** One record after the other, each in a transaction of its own. */
async function feed(kit: TestKit, ...values: readonly string[]): Promise<void> {
  for (const value of values) {
    await kit.feed('in', { key: 'k', value, timestamp: 5 })
    await kit.advance(20)
  }
}

describe('a value that no operator can work with is the failure of its record', () => {
  const numberOf = ({ value }: Raw): number => Number(String(value))
  const aggregators: Record<string, Aggregator<Raw, never, unknown>> = {
    sum: sum(numberOf) as never,
    min: min(numberOf) as never,
    max: max(numberOf) as never,
    average: average(numberOf) as never,
    reduce: reduce(
      ({ value }: Raw) => (String(value) === 'x' ? null : numberOf({ value } as Raw)),
      (a, b) => (a as number) + (b as number),
      {
        name: 'total',
      },
    ) as never,
    aggregator: aggregator({
      name: 'total',
      init: () => 0,
      add: (state: number, { value }: Raw) => (String(value) === 'x' ? undefined : state + Number(String(value))) as number,
    }) as never,
  }
  for (const [name, one] of Object.entries(aggregators)) {
    it(`${name}, in an aggregate and in a window`, async () => {
      for (const operator of [aggregate(one), window(tumbling('1m'), { aggregate: one, emit: 'updates' })]) {
        const kit = await inOutDeadKit()
        const running = start(kit, (records) => records.pipe(operator, toOut), { onError: { deadLetter: 'dead' }, retries: 0 })
        await feed(kit, '1', 'x', '3')
        await kit.advance('1s')
        expect(running.ended).toBe(false)
        expect(await valuesOf(kit)).toHaveLength(2)
        expect((await kit.read('dead')).map(({ value }) => value)).toEqual(['x'])
      }
    })
  }

  it('says which record it was, and what it had', async () => {
    const kit = await inOutDeadKit()
    start(kit, (records) => records.pipe(aggregate(sum(numberOf)), toOut), { retries: 0 })
    await expect(feed(kit, 'x')).rejects.toMatchObject({
      code: 'RECORD_FAILED',
      origin: { topic: 'in', partition: 0, offset: 0 },
      cause: { code: 'INVALID_VALUE', message: 'sum: what was taken out of in/0/0 is NaN, not a finite number' },
    })
  })

  it('record() with a time that is none', async () => {
    const kit = await inOutDeadKit()
    start(
      kit,
      (records) =>
        records.pipe(
          map(({ value }) => record({ key: 'k', value: String(value), timestamp: Number(String(value)) })),
          toTopic({ topic: 'out' }),
        ),
      { onError: { deadLetter: 'dead' }, retries: 0 },
    )
    await feed(kit, '1', 'x', '3')
    expect((await kit.read('out')).map(({ value }) => value)).toEqual(['1', '3'])
    expect((await kit.read('dead')).map(({ value }) => value)).toEqual(['x'])
  })
})

describe('a state has a name of its own', () => {
  it('which is required', () => {
    for (const make of [
      () => aggregator({ init: () => 0, add: (state: number) => state } as never),
      () => aggregator({ name: '', init: () => 0, add: (state: number) => state }),
      () =>
        (reduce as (...given: unknown[]) => unknown)(
          () => 0,
          () => 0,
        ),
    ])
      expect(make).toThrow(
        expect.objectContaining({ code: 'INVALID_OPTIONS', message: expect.stringContaining('name must be a text') as string }),
      )
  })

  it('so that no other program takes the state for its own', async () => {
    const kit = await inOutDeadKit()
    const clicks = aggregator({ name: 'clicks', init: () => ({ clicks: 0 }), add: (state) => ({ clicks: state.clicks + 1 }) })
    const total = aggregator({ name: 'total', init: () => ({ total: 0 }), add: (state) => ({ total: state.total + 5 }) })
    const first = start(kit, (records) => records.pipe(aggregate(clicks), toOut))
    await feed(kit, 'x')
    await first.stop()
    start(kit, (records) => records.pipe(aggregate(total), toOut))
    await expect(feed(kit, 'x')).rejects.toMatchObject({ code: 'STATE_MISMATCH' })
    expect(await valuesOf(kit)).toEqual([{ clicks: 1 }])
  })
})

describe('built-in aggregators', () => {
  const restarted = async (one: Aggregator<Raw, never, unknown>, ...values: readonly string[]): Promise<unknown> => {
    const kit = await inOutDeadKit()
    const shown = (records: RecordStream): Observable<unknown> =>
      records.pipe(
        aggregate(one),
        map((result) => result.with({ value: String(result.value) })),
        toOut,
      )
    for (const value of values) {
      const running = start(kit, shown)
      await feed(kit, value)
      await running.stop()
    }
    return (await valuesOf(kit)).at(-1)
  }
  const numberOf = ({ value }: Raw): number => Number(String(value))

  it('hold their states exactly, over a restart', async () => {
    expect(await restarted(sum(numberOf) as never, '1e308', '1e308', '5')).toBe('Infinity')
    expect(await restarted(sum(numberOf) as never, '-1e308', '-1e308')).toBe('-Infinity')
    expect(await restarted(average(numberOf) as never, '1e308', '1e308', '5')).toBe('Infinity')
    expect(await restarted(sum(numberOf) as never, '0.1', '0.2')).toBe(String(0.1 + 0.2))
    expect(await restarted(average(numberOf) as never, '1', '2')).toBe('1.5')
  })
})

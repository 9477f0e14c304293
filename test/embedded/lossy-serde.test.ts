import { filter, map, type Observable } from 'rxjs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  aggregate,
  aggregator,
  count,
  delayUntil,
  joinStream,
  json,
  reduce,
  repartition,
  schedule,
  session,
  sliding,
  store,
  timedStore,
  toTopic,
  tumbling,
  window,
  withStore,
  withTransaction,
  type RecordStream,
  type Serde,
  type StreamRecord,
  type TransactionOptions,
  type Windows,
} from '../../src/index.js'
import { createTestKit, type TestKit } from '../../src/testing/index.js'

/** What a store's serde does not hold is noticed as it is first written, and not after the next restart. */

type Raw = StreamRecord<Buffer | null, Buffer | null>

let kit: TestKit
beforeEach(async () => {
  kit = await createTestKit({ topics: { in: {}, other: {}, out: {}, dead: {} }, start: 1_000 })
})
afterEach(() => kit.stop())

const toOut = toTopic<StreamRecord<Buffer | null, unknown>>({ topic: 'out', value: json() })
const out = async (): Promise<unknown[]> => (await kit.read('out', { value: json(), from: 'earliest' })).map(({ value }) => value)

const start = (project: (records: RecordStream) => Observable<unknown>, options: TransactionOptions = {}) =>
  kit.run(
    kit.cluster.source({ group: 'g', topics: ['in', 'other'] }).pipe(withTransaction(project, { every: 10, provision: true, ...options })),
  )

async function feed(...values: readonly string[]): Promise<void> {
  for (const value of values) {
    await kit.feed('in', { key: 'k', value, timestamp: 1_000 })
    await kit.advance(20)
  }
}

const dated = aggregator({ name: 'first', init: () => ({ first: new Date(0) }), add: (state) => state, merge: (earlier) => earlier })
const withDate = map((record: Raw) => record.with({ value: { at: new Date(0) } }))
const shown = map((record: StreamRecord<Buffer | null, unknown>) => record.with({ value: 'x' }))

const operators: Record<string, { readonly told: string; project(records: RecordStream): Observable<unknown> }> = {
  aggregate: {
    told: "aggregate 'aggregate': the state of its aggregator 'first' is not what it was when it has been stored as json and is read again: it.first was a Date",
    project: (records) => records.pipe(aggregate(dated), shown, toOut),
  },
  'aggregate of a Set': {
    told: 'it was a Set and is an Object',
    project: (records) =>
      records.pipe(
        aggregate(
          aggregator({
            name: 'set',
            init: () => new Set<string>(),
            add: (set, { value }: Raw) => set.add(String(value)),
            result: ({ size }) => size,
          }),
        ),
        toOut,
      ),
  },
  'aggregate of infinity': {
    told: 'it.min was Infinity and is null',
    project: (records) =>
      records.pipe(
        aggregate(aggregator({ name: 'low', init: () => ({ min: Number.POSITIVE_INFINITY }), add: (state) => state })),
        shown,
        toOut,
      ),
  },
  reduce: {
    told: "the state of its aggregator 'latest'",
    project: (records) =>
      records.pipe(
        aggregate(
          reduce(
            () => new Date(0),
            (_, later) => later,
            { name: 'latest' },
          ),
        ),
        shown,
        toOut,
      ),
  },
  ...Object.fromEntries(
    Object.entries<Windows>({ tumbling: tumbling(10), sliding: sliding(10), session: session(10) }).map(([name, windows]) => [
      `${name} window`,
      {
        told: "window 'mine': the state of its aggregator 'first'",
        project: (records: RecordStream) => records.pipe(window(windows, { aggregate: dated, name: 'mine' }), shown, toOut),
      },
    ]),
  ),
  store: {
    told: "store 'mine': a value put is not what it was",
    project: (records) => records.pipe(withStore(store<Date>({ name: 'mine' }), (store, record) => (store.put('k', new Date(0)), record))),
  },
  'store of plain values': {
    told: "store 'mine': a value put is not what it was when it has been stored as json and is read again: it was NaN and is null",
    project: (records) => records.pipe(withStore(store<number>({ name: 'mine' }), (store, record) => (store.put('k', Number.NaN), record))),
  },
  timedStore: {
    told: "store 'mine': a value put is not what it was",
    project: (records) =>
      records.pipe(withStore(timedStore<Date>({ name: 'mine' }), (store, record) => (store.put('k', 1, new Date(0)), record))),
  },
  'joinStream, left': {
    told: 'joinStream \'join\': the left value it keeps is not what it was when it has been stored as json and is read again: it.at was a Date and is "1970-01-01T00:00:00.000Z". After the next restart or abort the program would go on with that: give the join a serde that holds it (leftValue: ...)',
    project: (records) => records.pipe(withDate, joinStream(records.pipe(filter(() => false)), { within: 10, join: () => 1 })),
  },
  'joinStream, right': {
    told: "joinStream 'join': the right value it keeps",
    project: (records) =>
      records.pipe(
        filter(() => false),
        joinStream(records.pipe(withDate), { within: 10, join: () => 1 }),
      ),
  },
  delayUntil: {
    told: "delayUntil 'delay': the value of a record that waits",
    project: (records) =>
      records.pipe(
        withDate,
        delayUntil(() => 10_000, { value: json() }),
      ),
  },
  repartition: {
    told: "repartition 'repartition': the value it writes",
    project: (records) => records.pipe(withDate, repartition({ key: () => 'k', value: json() })),
  },
  schedule: {
    told: "schedule 'schedule': the value of a record that waits",
    project: (records) => records.pipe(withDate, schedule({ at: () => 10_000, value: json() })),
  },
}

describe('what a serde does not hold ends the pipeline, naming the operator', () => {
  for (const [name, { told, project }] of Object.entries(operators)) {
    it(name, async () => {
      // No record is to blame: none is skipped.
      start(project, { onError: 'skip' })
      await expect(feed('x')).rejects.toMatchObject({ code: 'LOSSY_SERDE', message: expect.stringContaining(told) as string })
      expect(await out()).toEqual([])
      expect(await kit.read('dead')).toEqual([])
    })
  }
})

describe('what it holds goes on', () => {
  const dates: Serde<{ first: Date }> = {
    name: 'dates',
    encode: ({ first }) => String(first.getTime()),
    decode: (given) => ({ first: new Date(Number(given.toString())) }),
  }

  it('with a serde of its own, over a restart', async () => {
    const since = aggregator({
      name: 'since',
      serde: dates,
      init: () => ({ first: new Date(7) }),
      add: (state) => ({ first: new Date(state.first.getTime() + 1) }),
      result: ({ first }) => first.getTime(),
    })
    const running = start((records) => records.pipe(aggregate(since), toOut))
    await feed('a', 'b')
    await running.stop()
    start((records) => records.pipe(aggregate(since), toOut))
    await feed('c')
    expect(await out()).toEqual([8, 9, 10])
  })

  it('with properties that are not there yet', async () => {
    const last = aggregator({
      name: 'last',
      init: (): { n: number; last: string | undefined } => ({ n: 0, last: undefined }),
      add: (state, { value }: Raw) => ({ n: state.n + 1, last: state.n === 0 ? undefined : String(value) }),
    })
    start((records) => records.pipe(aggregate(last), toOut))
    await feed('a', 'b')
    expect(await out()).toEqual([{ n: 1 }, { n: 2, last: 'b' }])
  })

  it('built-in aggregators hold their own', async () => {
    start((records) => records.pipe(aggregate(count()), toOut))
    await feed('a', 'b')
    expect(await out()).toEqual([1, 2])
  })
})

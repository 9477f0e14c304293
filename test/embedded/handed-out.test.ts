import { filter, map, type Observable } from 'rxjs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  aggregate,
  aggregator,
  attempt,
  delayUntil,
  dropFailed,
  joinStream,
  joinTable,
  json,
  mapValue,
  queryStore,
  reduce,
  session,
  sliding,
  store,
  table,
  timedStore,
  toTopic,
  tumbling,
  window,
  withStore,
  withTransaction,
  type Commit,
  type RecordStream,
  type Serde,
  type StreamRecord,
  type Windows,
} from '../../src/index.js'
import { createTestKit, type RunningPipeline, type TestKit } from '../../src/testing/index.js'

/** What was handed out of a store, or put into it, is changed by user code: nothing of that is to be seen in the state. */

interface Items {
  items: { name: string }[]
}

/** Changed in place, nested, and merged by taking over parts of the later one. */
const list = aggregator({
  name: 'list',
  init: (): Items => ({ items: [] }),
  add(state: Items, { value }: { readonly value: unknown }) {
    state.items.push({ name: String(value) })
    return state
  },
  merge(earlier, later) {
    earlier.items.push(...later.items)
    return earlier
  },
})
const names = ({ items }: Items): string => items.map(({ name }) => name).join('')
/** What a program may do with an object that it was given. */
function spoil(state: Items): string {
  const before = names(state)
  for (const item of state.items) item.name = '!'
  state.items.push({ name: '!' })
  return before
}

let kit: TestKit
beforeEach(async () => {
  kit = await createTestKit({ topics: { in: {}, other: {}, rows: { config: { 'cleanup.policy': 'compact' } }, out: {} } })
})
afterEach(() => kit.stop())

const pipelineOf = (project: (records: RecordStream) => Observable<unknown>, topics = ['in']): Observable<Commit> =>
  kit.cluster.source({ group: 'g', topics }).pipe(withTransaction(project, { every: 10, provision: true }))
const start = (project: (records: RecordStream) => Observable<unknown>, topics?: string[]): RunningPipeline =>
  kit.run(pipelineOf(project, topics))

const toOut = toTopic<StreamRecord<Buffer | null, unknown>>({ topic: 'out', value: json() })
const out = async (): Promise<unknown[]> => (await kit.read('out', { value: json(), from: 'earliest' })).map(({ value }) => value)
const abortNext = () => kit.broker.faults.inject({ at: 'end', reaction: 'abort' })

async function feed(...records: readonly (readonly [value: string, timestamp: number, key?: string])[]): Promise<void> {
  for (const [value, timestamp, key = 'k'] of records) {
    await kit.feed('in', { key, value, timestamp })
    await kit.advance(20)
  }
  await kit.advance('5s')
}

describe('aggregate', () => {
  it('each result is as it was when it was handed out, however late it is looked at', async () => {
    start((records) =>
      records.pipe(
        aggregate(list, { emit: 'each' }),
        attempt(async () => {}),
        dropFailed(),
        map((result) => result.with({ value: names(result.value) })),
        toOut,
      ),
    )
    await kit.feed(
      'in',
      ['a', 'b', 'c'].map((value) => ({ key: 'k', value })),
    )
    await kit.advance('5s')
    expect(await out()).toEqual(['a', 'ab', 'abc'])
  })

  for (const emit of ['each', 'updates'] as const) {
    it(`what is done with the results is not in the state: ${emit}`, async () => {
      start((records) => records.pipe(aggregate(list, { emit }), mapValue(spoil), toOut))
      await feed(['a', 1], ['b', 2])
      abortNext()
      await feed(['c', 3])
      await feed(['d', 4])
      expect(await out()).toEqual(['a', 'ab', 'abc', 'abcd'])
    })
  }

  it('a result that is part of the state is a part of its copy', async () => {
    const parts = aggregator<{ readonly value: unknown }, Items, readonly { readonly name: string }[]>({
      name: 'parts',
      init: () => ({ items: [] }),
      add: (state, record) => list.add(state, record),
      serde: json<Items>(),
      result: ({ items }) => items as Items['items'],
    })
    start((records) =>
      records.pipe(
        aggregate(parts),
        mapValue((items) => spoil({ items: items as Items['items'] })),
        toOut,
      ),
    )
    await feed(['a', 1], ['b', 2])
    expect(await out()).toEqual(['a', 'ab'])
  })

  it('plain values cost nothing', async () => {
    let encoded = 0
    const counting = { ...json<number>(), encode: (value: number) => (encoded++, String(value)) }
    const total = aggregator({ name: 'total', serde: counting, init: () => 0, add: (sum: number) => sum + 1 })
    start((records) => records.pipe(aggregate(total, { emit: 'each' }), toOut))
    await kit.feed(
      'in',
      Array.from({ length: 1_000 }, () => ({ key: 'k', value: 'x' })),
    )
    await kit.advance('5s')
    expect(await out()).toHaveLength(1_000)
    // Once a commit, for the changelog.
    expect(encoded).toBeLessThan(20)
  })

  it('a value that reduce took over is not the one it hands out', async () => {
    const latest = reduce(
      ({ value }: StreamRecord<unknown, unknown>): Items => ({ items: [{ name: String(value) }] }),
      (_, later) => later,
      { name: 'latest' },
    )
    start((records) => records.pipe(aggregate(latest, { emit: 'each' }), mapValue(spoil), toOut))
    await feed(['a', 1], ['b', 2])
    start((records) => records)
    expect(await out()).toEqual(['a', 'b'])
    const [change] = (await kit.broker.records('g-aggregate-changelog')).slice(-1)
    expect(JSON.parse(String(change?.value))).toEqual({ items: [{ name: 'b' }] })
  })
})

describe('window', () => {
  const kinds: Record<string, Windows> = { tumbling: tumbling(10), sliding: sliding(10), session: session(10) }
  for (const [name, windows] of Object.entries(kinds)) {
    it(`${name}: a final result that was changed comes as it was, when its transaction was aborted`, async () => {
      start((records) =>
        records.pipe(
          window(windows, { aggregate: list }),
          mapValue(({ result }) => spoil(result)),
          toOut,
        ),
      )
      await feed(['a', 1_000], ['b', 1_001])
      const fault = abortNext()
      await feed(['c', 2_000])
      expect(fault.hits).toBe(1)
      expect((await out()).at(-1)).toBe(name === 'sliding' ? 'b' : 'ab')
      expect((await out()).every((one) => !String(one).includes('!'))).toBe(true)
    })

    it(`${name}: what is done with an update is not in the next one`, async () => {
      start((records) =>
        records.pipe(
          window(windows, { aggregate: list, emit: 'updates' }),
          filter(({ value: { end } }) => name !== 'sliding' || end === 1_002),
          mapValue(({ result }) => spoil(result)),
          toOut,
        ),
      )
      await feed(['a', 1_002], ['b', 1_002], ['c', 1_002])
      expect(await out()).toEqual(['a', 'ab', 'abc'])
    })
  }

  it('sliding: merge may take over parts of the later state and change them', async () => {
    const tallies = aggregator({
      name: 'tallies',
      init: (): Record<string, { n: number }> => ({}),
      add(state, { value }: { readonly value: unknown }) {
        ;(state[String(value)] ??= { n: 0 }).n++
        return state
      },
      merge(earlier, later) {
        for (const [name, { n }] of Object.entries(later)) {
          if (earlier[name] === undefined) earlier[name] = later[name] as { n: number }
          else earlier[name].n += n
        }
        return earlier
      },
      result: (state) =>
        Object.entries(state)
          .map(([name, { n }]) => `${name}${n}`)
          .join(' '),
    })
    start((records) =>
      records.pipe(
        window(sliding(10), { aggregate: tallies }),
        mapValue(({ end, result }) => `${end} ${result}`),
        toOut,
      ),
    )
    await feed(['a', 100], ['b', 102], ['b', 104], ['b', 106], ['z', 200])
    expect(await out()).toEqual(['100 a1', '102 a1 b1', '104 a1 b2', '106 a1 b3', '111 b3', '113 b2', '115 b1'])
  })
})

describe('stores', () => {
  it('what is put is stored as it is then, whatever becomes of the object', async () => {
    const mine = store<Items>({ name: 'mine' })
    const timed = timedStore<Items>({ name: 'timed' })
    start((records) =>
      records.pipe(
        withStore({ mine, timed }, ({ mine, timed }, record) => {
          const before = mine.get('k')
          const items = [...(before?.items ?? []), { name: String(record.value) }] as Items['items']
          const put: Items = { items }
          mine.put('k', put)
          timed.put('k', record.timestamp, put)
          const last = timed.last('k', record.timestamp - 1)?.[1] as Items | undefined
          return record.with({
            value: { put, was: `${before === undefined ? '' : names(before as Items)}/${last === undefined ? '' : names(last)}` },
          })
        }),
        mapValue(({ put, was }) => {
          spoil(put)
          return was
        }),
        toOut,
      ),
    )
    await kit.feed(
      'in',
      ['a', 'b'].map((value, i) => ({ key: 'k', value, timestamp: i })),
    )
    await feed(['c', 3])
    abortNext()
    await feed(['d', 4])
    await feed(['e', 5])
    expect(await out()).toEqual(['/', 'a/a', 'ab/ab', 'abc/abc', 'abcd/abcd'])
  })

  it('an object is made once a transaction, however often it is asked for', async () => {
    let decoded = 0
    const counting: Serde<Items> = { ...json<Items>(), decode: (given) => (decoded++, json<Items>().decode(given)) }
    const mine = store<Items>({ name: 'mine', value: counting })
    start((records) =>
      records.pipe(
        withStore(mine, (store, record) => {
          if (!store.has('k')) store.put('k', { items: [{ name: 'a' }] })
          for (let i = 0; i < 1_000; i++) store.get('k')
          return record
        }),
      ),
    )
    await feed(['a', 1], ['b', 2], ['c', 3])
    // Each in a transaction of its own, and once for the first value that was written.
    expect(decoded).toBe(3 + 1)
  })

  it('queryStore hands out copies of rows of a table, of which joins see nothing', async () => {
    const rows = table({ topic: 'rows', value: json<Items>() })
    const commits = pipelineOf((records) => records.pipe(joinTable(rows, { join: (_, row) => names(row as Items) }), toOut))
    const query = queryStore<Items>(commits, 'rows')
    await kit.feed('rows', { key: 'k', value: JSON.stringify({ items: [{ name: 'row' }] }) })
    kit.run(commits)
    await feed(['a', 1])
    const answer = query.get('k')
    spoil((answer as unknown as { readonly value: Items }).value)
    for (const { value } of query.entries()) spoil(value as Items)
    expect(query.get('k')).toMatchObject({ value: { items: [{ name: 'row' }] } })
    await feed(['b', 2])
    expect(await out()).toEqual(['row', 'row'])
  })

  it('a record that waits comes again with its own bytes', async () => {
    const seen: string[] = []
    await kit.stop()
    kit = await createTestKit({ topics: { in: {}, out: {} }, start: 10_000 })
    start((records) =>
      records.pipe(
        delayUntil(({ timestamp }) => timestamp + 1_000),
        map((record) => {
          seen.push(String(record.value))
          record.value?.fill('!')
          return record
        }),
        toTopic({ topic: 'out' }),
      ),
    )
    await kit.feed('in', { key: 'k', value: 'own', timestamp: 10_000 })
    await kit.advance(500)
    const fault = abortNext()
    await kit.advance('10s')
    expect(fault.hits).toBe(1)
    expect(seen).toEqual(['own', 'own'])
  })
})

describe('joinStream', () => {
  it('a value is joined as it came, whatever the join or what is behind it does with it', async () => {
    start(
      (records) => {
        const all = records.pipe(map((record) => record.with({ value: { items: [{ name: String(record.value) }] } as Items })))
        const from = (topic: string): Observable<StreamRecord<Buffer | null, Items>> =>
          all.pipe(filter(({ origin }) => origin.topic === topic))
        return from('in').pipe(
          joinStream(from('other'), { within: '1m', join: (left, right) => spoil(left.value) + spoil(right.value) }),
          toOut,
        )
      },
      ['in', 'other'],
    )
    for (const [topic, value] of [
      ['in', 'a'],
      ['other', 'x'],
      ['other', 'y'],
      ['in', 'b'],
    ] as const) {
      await kit.feed(topic, { key: 'k', value, timestamp: 1_000 })
      await kit.advance(20)
    }
    expect(await out()).toEqual(['ax', 'ay', 'bx', 'by'])
  })
})

describe('the same, broken', () => {
  it('a serde whose copies are the state itself gives 3, 3, 3 for 1, 2, 3', async () => {
    const states: Items[] = []
    const sharing: Serde<Items> = {
      name: 'sharing',
      encode: (state) => String(states.push(state) - 1),
      decode: (given) => states[Number(given.toString())] as Items,
    }
    start((records) =>
      records.pipe(
        aggregate({ ...list, serde: sharing }, { emit: 'each' }),
        attempt(async () => {}),
        dropFailed(),
        map((result) => result.with({ value: names(result.value) })),
        toOut,
      ),
    )
    await kit.feed(
      'in',
      ['a', 'b', 'c'].map((value) => ({ key: 'k', value })),
    )
    await kit.advance('5s')
    expect(await out()).toEqual(['abc', 'abc', 'abc'])
  })
})

import { filter, map, tap, type Observable, type Subscription } from 'rxjs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  aggregate,
  aggregator,
  count,
  embedded,
  delayUntil,
  joinStream,
  joinTable,
  json,
  queryStore,
  silentLogger,
  store,
  string,
  table,
  toTopic,
  tumbling,
  window,
  withStore,
  withTransaction,
  type Cluster,
  type Commit,
  type RecordStream,
  type SourceOptions,
  type StoreAnswer,
  type StoreQuery,
} from '../../src/index.js'
import { createEmbeddedBroker, type EmbeddedBroker } from '../../src/testing/index.js'
import { until } from '../support/until.js'

const KEYS = ['a', 'b', 'c', 'd', 'e', 'f', 'g']

describe('queryStore', () => {
  let broker: EmbeddedBroker
  let cluster: Cluster
  let subscriptions: Subscription[] = []

  beforeEach(async () => {
    broker = createEmbeddedBroker()
    cluster = embedded({ broker, logger: silentLogger })
    await cluster.createTopics(['in', 'out', 'rows'].map((topic) => ({ topic, partitions: 4 })))
  })

  afterEach(async () => {
    for (const subscription of subscriptions) subscription.unsubscribe()
    subscriptions = []
    await cluster.close()
  })

  const pipeline = (
    project: (records: RecordStream) => Observable<unknown>,
    source: Partial<SourceOptions> = {},
    maxRecords = 5,
  ): Observable<Commit> =>
    cluster
      .source({ group: 'g', topics: ['in'], ...source })
      .pipe(withTransaction(project, { every: 5, maxRecords, provision: true, retryDelay: 5 }))
  const run = (commits: Observable<unknown>): Subscription => {
    const subscription = commits.subscribe({ error: (error: unknown) => failures.push(error) })
    subscriptions.push(subscription)
    return subscription
  }
  let failures: unknown[] = []
  beforeEach(() => {
    failures = []
  })
  afterEach(() => expect(failures).toEqual([]))
  const produce = (n: number, keys: readonly string[] = KEYS): Promise<number> =>
    cluster.produce({
      topic: 'in',
      records: Array.from({ length: n }, (_, i) => ({ key: keys[i % keys.length] as string, value: String(i), timestamp: 1_000 + i })),
    })
  const value = <V>(answer: StoreAnswer<V>): unknown => (answer.at === 'here' ? answer.value : answer.at)

  const inPlace = aggregator({
    name: 'in-place',
    init: () => ({ n: 0 }),
    add(state: { n: number }) {
      state.n++
      return state
    },
  })

  /** Asks after every record of an open slice what is committed, and says whether that ever moved within one. */
  async function seesUncommitted(ask: (query: StoreQuery<{ n: number }>, live: () => unknown) => unknown): Promise<boolean> {
    const query = { current: undefined as StoreQuery<{ n: number }> | undefined }
    const slices: unknown[][] = []
    let state: { n: number } | undefined
    const held: { readonly then: unknown; readonly copy: string }[] = []
    const project = (records: RecordStream): Observable<unknown> => {
      const seen: unknown[] = []
      slices.push(seen)
      return records.pipe(
        aggregate(inPlace, { emit: 'each' }),
        tap(({ value }) => {
          state = value
          const answer = ask(query.current as StoreQuery<{ n: number }>, () => state)
          seen.push(JSON.stringify(answer))
          held.push({ then: answer, copy: JSON.stringify(answer) })
        }),
      )
    }
    const commits = pipeline(project)
    query.current = queryStore<{ n: number }>(commits, 'aggregate')
    broker.faults.inject({ at: 'offsets', reaction: 'abort', after: 1, times: 2 })
    run(commits)
    await produce(40, ['a'])
    await until(
      () =>
        value(query.current?.get('a') as StoreAnswer<{ n: number }>) !== undefined &&
        (value(query.current?.get('a') as StoreAnswer<{ n: number }>) as { n: number }).n === 40,
      { what: 'all to be committed' },
    )
    expect(slices.filter((seen) => seen.length > 1).length).toBeGreaterThan(5)
    // What was handed out stays what it was, whatever becomes of the state.
    const moved = held.some(({ then, copy }) => JSON.stringify(then) !== copy)
    return moved || slices.some((seen) => new Set(seen).size > 1)
  }

  it('never sees what is not committed, asked from inside a slice, through aborts, with state changed in place', async () => {
    expect(await seesUncommitted((query) => query.get('a'))).toBe(false)
  })

  it('nor does a walk over all entries', async () => {
    expect(await seesUncommitted((query) => [...query.entries()])).toBe(false)
  })

  it('the same check notices a look at the live state', async () => {
    expect(await seesUncommitted((_, live) => live())).toBe(true)
  })

  it('says what is committed, where there is nothing, and that it is not running', async () => {
    const visits = store<{ readonly n: number }>({ name: 'visits' })
    const commits = pipeline((records) =>
      records.pipe(withStore(visits, (mine, { key }) => mine.update(key as Buffer, (was) => ({ n: (was?.n ?? 0) + 1 })))),
    )
    const query = queryStore<{ n: number }>(commits, 'visits')
    expect(query.get('a')).toEqual({ at: 'unavailable', partition: undefined })
    expect([...query.entries()]).toEqual([])
    const running = run(commits)
    await produce(14)
    await until(() => KEYS.every((key) => JSON.stringify(value(query.get(key))) === '{"n":2}'), { what: 'all counts' })
    expect(query.get('never')).toMatchObject({ at: 'here', value: undefined })
    expect([...query.entries()].map(({ key, value: { n }, time }) => `${String(key)}${n}${time}`).sort()).toEqual(
      KEYS.map((key) => `${key}20`),
    )
    running.unsubscribe()
    await until(() => query.get('a').at === 'unavailable', { what: 'the pipeline to be over' })
  })

  it('a key of another member is answered with who has it; when that one goes, with the value', async () => {
    const project = (records: RecordStream): Observable<unknown> =>
      records.pipe(aggregate(count(), { name: 'n' }), toTopic({ topic: 'out', value: json() }))
    const [one, two] = ['one:80', 'two:80'].map((address) => pipeline(project, { address, sessionTimeout: '1s' })) as [
      Observable<Commit>,
      Observable<Commit>,
    ]
    const [atOne, atTwo] = [queryStore<number>(one, 'n'), queryStore<number>(two, 'n')]
    run(one)
    await produce(21)
    await until(() => KEYS.every((key) => value(atOne.get(key)) === 3), { what: 'all counts at the first' })
    const second = run(two)
    await until(
      () => {
        const answers = KEYS.map((key) => [atOne.get(key), atTwo.get(key)] as const)
        return (
          answers.every(([a, b]) => (a.at === 'here' && b.at === 'elsewhere') || (b.at === 'here' && a.at === 'elsewhere')) &&
          new Set(answers.map(([a]) => a.at)).size === 2
        )
      },
      { what: 'the keys to be divided' },
    )
    for (const key of KEYS) {
      const [a, b] = [atOne.get(key), atTwo.get(key)]
      const [here, there, owner] = a.at === 'here' ? [a, b, 'one:80'] : [b, a, 'two:80']
      expect(here).toEqual({ at: 'here', partition: here.partition, value: 3 })
      expect(there).toEqual({ at: 'elsewhere', partition: here.partition, owner })
    }
    const [first, other] = [atOne, atTwo].map((query) => [...query.entries()].map(({ key }) => String(key))) as [string[], string[]]
    expect([...first, ...other].sort()).toEqual(KEYS)
    expect(Math.min(first.length, other.length)).toBeGreaterThan(0)
    second.unsubscribe()
    await until(() => KEYS.every((key) => value(atOne.get(key)) === 3), { what: 'the first to have all again' })
  })

  it('looks into windows by their start, and into tables', async () => {
    await cluster.produce({ topic: 'rows', records: [{ key: 'a', value: 'row of a' }] })
    const rows = table({ topic: 'rows', value: string() })
    const commits = pipeline((records) =>
      records.pipe(joinTable(rows, { kind: 'left', join: (_, row) => row }), window(tumbling('10s'), { aggregate: count() })),
    )
    const [windows, latest] = [queryStore<number>(commits, 'window'), queryStore<string>(commits, 'rows')]
    run(commits)
    await produce(14)
    await until(() => value(windows.get('a', { time: 0 })) === 2, { what: 'the count of the first window' })
    expect(value(windows.get('a', { time: 10_000 }))).toBeUndefined()
    expect(value(latest.get('a'))).toBe('row of a')
    expect([...latest.entries()].map(({ value }) => value)).toEqual(['row of a'])
    expect(() => windows.get('a')).toThrow(/come with a time/)
    expect(() => latest.get('a', { time: 0 })).toThrow(/have no time/)
  })

  it('refuses what is no pipeline, and stores it does not have', async () => {
    const commits = pipeline((records) => records.pipe(aggregate(count())))
    expect(() =>
      queryStore(
        commits.pipe(
          filter(() => true),
          map(() => 1),
        ),
        'aggregates',
      ),
    ).toThrow(
      expect.objectContaining({
        code: 'INVALID_OPTIONS',
        message: expect.stringContaining("no store 'aggregates': it has 'aggregate'") as string,
      }),
    )
    expect(() =>
      queryStore(
        pipeline((records) => records),
        'x',
      ),
    ).toThrow(/none at all/)
    expect(() => queryStore({ source: undefined } as never, 'x')).toThrow(expect.objectContaining({ code: 'OUTSIDE_SOURCE' }))
    const joined = pipeline((records) => records.pipe(joinStream(records, { within: 1, join: () => 1 })))
    expect(() => queryStore(joined, 'join-left')).toThrow(/inner state/)
    const delayed = pipeline((records) => records.pipe(delayUntil(() => 0)))
    expect(() => queryStore(delayed, 'delay')).toThrow(/inner state/)
  })
})

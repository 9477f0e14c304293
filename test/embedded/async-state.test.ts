import { merge, type Observable } from 'rxjs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  aggregate,
  aggregator,
  embedded,
  json,
  session,
  silentLogger,
  store,
  timedStore,
  toTopic,
  tumbling,
  window,
  withStore,
  withTransaction,
  type AsyncSerde,
  type Cluster,
  type MillraceError,
  type RecordStream,
  type StreamRecord,
} from '../../src/index.js'
import { createTestKit } from '../../src/testing/index.js'
import { laterSerde } from '../support/async-serde.js'
import { contents, runUntil } from '../support/pipelines.js'

const COUNT = 900
const KEYS = 300
const input = (from = 0): { key: string; value: string; timestamp: number }[] =>
  Array.from({ length: COUNT }, (_, n) => ({ key: `k${n % KEYS}`, value: String(from + n), timestamp: 1_000 + from + n }))

interface Sum {
  n: number
  readonly last: string[]
}

const summing = (serde: AsyncSerde<Sum>) =>
  aggregator({
    name: 'sum',
    serde,
    init: (): Sum => ({ n: 0, last: [] }),
    // In place, which has to be undone all the same.
    add: (sum, record: StreamRecord<unknown, unknown>) => {
      sum.n++
      sum.last.splice(0, sum.last.length, String(record.value))
      return sum
    },
    merge: (earlier, later) => ({ n: earlier.n + later.n, last: later.last }),
  })

describe('state whose serde answers later', () => {
  let cluster: Cluster

  beforeEach(async () => {
    cluster = embedded({ logger: silentLogger })
    await cluster.createTopics([
      { topic: 'in', partitions: 1 },
      { topic: 'out', partitions: 1 },
      { topic: 'dead', partitions: 1 },
    ])
  })

  afterEach(() => cluster.close())

  const run = (project: (records: RecordStream) => Observable<unknown>, records = COUNT): Promise<unknown> =>
    runUntil(
      cluster,
      {
        group: 'g',
        topics: ['in'],
        records,
        options: { provision: true, retryDelay: 5, every: 20, maxRecords: 250, onError: { deadLetter: 'dead' } },
      },
      project,
    )
  const outputs = async (): Promise<unknown[]> => (await contents(cluster, 'out')).map(({ value }) => JSON.parse(String(value)) as unknown)
  const counted = (n: number): { n: number; last: string[] } => ({ n, last: [String((n - 1) * KEYS + KEYS - 1)] })

  it('aggregates: encoded at the end of the slice, 256 at a time, and read again by whoever comes next', async () => {
    const serde = laterSerde(json<Sum>())
    const project = (records: RecordStream): Observable<unknown> =>
      records.pipe(aggregate(summing(serde), { emit: 'each' }), toTopic({ topic: 'out', value: json() }))
    await cluster.produce({ topic: 'in', records: input() })
    await run(project)
    // A new member: all it knows is on the changelog.
    await cluster.produce({ topic: 'in', records: input(COUNT) })
    await run(project)
    const all = (await outputs()) as Sum[]
    expect(all).toHaveLength(2 * COUNT)
    expect(all.at(-1)).toEqual(counted((2 * COUNT) / KEYS))
    expect(new Set(all.slice(-KEYS).map(({ n }) => n))).toEqual(new Set([6]))
    expect(serde.mostOpen).toBeGreaterThan(100)
    expect(serde.mostOpen).toBeLessThanOrEqual(256)
    expect(await contents(cluster, 'dead')).toEqual([])
  })

  it('a state that is refused later is the failure of the record that made it; what it had changed is undone', async () => {
    const serde = laterSerde(json<Sum>(), (value) => (value as Sum).last[0] === '610')
    await cluster.produce({ topic: 'in', records: input() })
    await run((records) => records.pipe(aggregate(summing(serde), { emit: 'each' }), toTopic({ topic: 'out', value: json() })))
    expect((await contents(cluster, 'dead')).map(({ value }) => value)).toEqual(['610'])
    const all = (await outputs()) as Sum[]
    expect(all.map(({ last }) => last[0])).toEqual(input().flatMap(({ value }) => (value === '610' ? [] : [value])))
    expect(all.filter(({ n }) => n === 3)).toHaveLength(KEYS - 1)
  })

  it('windows, sessions too', async () => {
    const project = (records: RecordStream): Observable<unknown> =>
      merge(
        records.pipe(window(session('1s'), { name: 'visits', aggregate: summing(laterSerde(json<Sum>())), emit: 'updates' })),
        records.pipe(window(tumbling('1h'), { name: 'hours', aggregate: summing(laterSerde(json<Sum>())), emit: 'updates' })),
      ).pipe(toTopic({ topic: 'out', key: json(), value: json() }))
    for (const from of [0, COUNT]) {
      await cluster.produce({ topic: 'in', records: input(from).slice(0, 100) })
      await run(project, 100)
    }
    const all = ((await outputs()) as { readonly result: Sum }[]).map(({ result }) => result)
    expect(all.filter(({ n }) => n === 1)).toHaveLength(200)
    expect(all.filter(({ n }) => n === 2)).toHaveLength(200)
  })

  it('stores: what was put is kept as it was then, class and all, and can be read at once', async () => {
    class Visit {
      constructor(
        readonly at: Date,
        readonly bytes: Buffer,
        public n: number,
      ) {}
    }
    const visits: AsyncSerde<Visit> = {
      name: 'visit',
      async: true,
      encode: ({ at, bytes, n }) => Promise.resolve(JSON.stringify([at.getTime(), bytes.toString('hex'), n])),
      decode(text) {
        const [at, bytes, n] = JSON.parse(text.toString()) as [number, string, number]
        return Promise.resolve(new Visit(new Date(at), Buffer.from(bytes, 'hex'), n))
      },
    }
    const last = store<Visit>({ name: 'last', value: visits })
    const names = timedStore<string>({ name: 'names', value: laterSerde(json<string>()) })
    const project = (records: RecordStream): Observable<unknown> =>
      records.pipe(
        withStore({ last, names }, ({ last, names }, record) => {
          const key = String(record.key)
          const before = last.get(key)
          if (before !== undefined && !(before instanceof Visit && before.at instanceof Date && Buffer.isBuffer(before.bytes)))
            throw new Error('not what was put')
          const visit = new Visit(new Date(record.timestamp), Buffer.from(key), (before?.n ?? 0) + 1)
          last.put(key, visit)
          // Too late: it is kept as it was.
          visit.n = -1
          names.put(key, record.timestamp, String(record.value))
          return record.with({ value: JSON.stringify({ n: last.get(key)?.n, names: names.range(key).length }) })
        }),
        toTopic({ topic: 'out' }),
      )
    for (const from of [0, COUNT]) {
      await cluster.produce({ topic: 'in', records: input(from) })
      await run(project)
    }
    expect((await outputs()).at(-1)).toEqual({ n: 6, names: 6 })
    expect(await contents(cluster, 'dead')).toEqual([])
  })

  it('what it does not hold is noticed when it is encoded, and no record is to blame', async () => {
    const lossy = laterSerde(json<{ at: Date }>())
    const dates = store<{ at: Date }>({ name: 'dates', value: lossy })
    await cluster.produce({ topic: 'in', records: input().slice(0, 1) })
    await expect(run((records) => records.pipe(withStore(dates, (all) => all.put('a', { at: new Date() }))), 1)).rejects.toMatchObject({
      code: 'LOSSY_SERDE',
    })
  })

  it('nobody to ask: the commit waits, and so does a restore', async () => {
    const kit = await createTestKit({ topics: { in: {}, out: {} } })
    const serde = laterSerde(json<Sum>())
    const pipeline = (): Observable<never> =>
      kit.cluster
        .source({ group: 'g', topics: ['in'] })
        .pipe(
          withTransaction(
            (records) => records.pipe(aggregate(summing(serde), { emit: 'each' }), toTopic({ topic: 'out', value: json() })),
            { provision: true },
          ),
        ) as Observable<never>
    serde.down = true
    const first = kit.run(pipeline())
    await kit.feed('in', { key: 'a', value: '1' })
    await kit.advance('10m')
    expect(await kit.read('out')).toEqual([])
    serde.down = false
    await kit.advance('10s')
    expect((await kit.read('out')).map(({ value }) => value)).toEqual(['{"n":1,"last":["1"]}'])
    await first.stop()
    serde.down = true
    kit.run(pipeline())
    await kit.feed('in', { key: 'a', value: '2' })
    await kit.advance('10m')
    expect(await kit.read('out')).toEqual([])
    serde.down = false
    await kit.advance('10s')
    expect((await kit.read('out')).map(({ value }) => value)).toEqual(['{"n":2,"last":["2"]}'])
    expect(serde.calls).toBeLessThan(400)
    await kit.stop()
  })

  it('one that does not say that it answers later is told so', async () => {
    const silent = { ...laterSerde(json<Sum>()), async: undefined } as unknown as AsyncSerde<Sum>
    await cluster.produce({ topic: 'in', records: input().slice(0, 1) })
    const running = runUntil(cluster, { group: 'g', topics: ['in'], records: 1, options: { provision: true, retryDelay: 5 } }, (records) =>
      records.pipe(aggregate(summing(silent), { emit: 'each' })),
    )
    await expect(running).rejects.toSatisfy((error: MillraceError) => /says so \(async: true\)/.test(error.message))
  })
})

import { filter, map, type Observable } from 'rxjs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  embedded,
  joinStream,
  json,
  silentLogger,
  string,
  toTopic,
  type Cluster,
  type Commit,
  type JoinStreamOptions,
  type RawRecord,
  type RecordStream,
  type TransactionOptions,
} from '../../src/index.js'
import { createEmbeddedBroker } from '../../src/testing/index.js'
import { contents, runUntil, sumOf, values } from '../support/pipelines.js'

type Options = Partial<JoinStreamOptions<RawRecord, RawRecord, unknown>>

describe('joinStream', () => {
  let cluster: Cluster

  beforeEach(async () => {
    cluster = embedded({ broker: createEmbeddedBroker(), logger: silentLogger })
    await cluster.createTopics(['left', 'right', 'out', 'late', 'dead'].map((topic) => ({ topic, partitions: 1 })))
  })

  afterEach(() => cluster.close())

  const run = (
    records: number,
    project: (records: RecordStream) => Observable<unknown>,
    options: TransactionOptions = {},
  ): Promise<Commit[]> =>
    runUntil(cluster, { group: 'g', topics: ['left', 'right'], records, options: { provision: true, retries: 0, ...options } }, project)

  const of = (records: RecordStream, topic: string): Observable<RawRecord> =>
    records.pipe(filter((record) => record.origin.topic === topic))
  const outer =
    (options: Options = {}) =>
    (records: RecordStream): Observable<unknown> =>
      of(records, 'left').pipe(
        joinStream(of(records, 'right'), {
          within: 10,
          kind: 'outer',
          join: (left, right) => `${left === undefined ? '-' : String(left.value)}+${right === undefined ? '-' : String(right.value)}`,
          ...(options as object),
        }),
        toTopic({ topic: 'out', value: string() }),
      )

  /** In this order, each in a run of its own: the two topics are otherwise read as they come. */
  async function feed(
    project: (records: RecordStream) => Observable<unknown>,
    ...events: readonly (readonly [topic: string, value: string, timestamp: number, key?: string])[]
  ): Promise<Commit[]> {
    const commits: Commit[] = []
    for (const [topic, value, timestamp, key = 'k'] of events) {
      await cluster.produce({ topic, records: [{ key, value, timestamp }] })
      commits.push(...(await run(1, project)))
    }
    return commits
  }
  const out = async (): Promise<(string | null)[]> => (await contents(cluster, 'out')).map(({ value }) => value)

  it('hands out nothing alone before its window has passed, and then once (KAFKA-10847)', async () => {
    await feed(outer({ grace: 5 }), ['left', 'l1', 100], ['left', 'l2', 115, 'other'])
    // 100 + 10 + 5 is not passed yet: a partner may come.
    expect(await out()).toEqual([])
    await feed(outer({ grace: 5 }), ['right', 'r1', 110])
    expect(await out()).toEqual(['l1+r1'])
    await feed(outer({ grace: 5 }), ['left', 'l3', 130, 'other'], ['right', 'r2', 200, 'other'])
    expect(await out()).toEqual(['l1+r1', 'l2+-', 'l3+-'])
  })

  it('several records of one key and one time are each joined, and each handed out alone (KAFKA-13216)', async () => {
    await feed(outer(), ['left', 'l1', 100], ['left', 'l2', 100], ['right', 'r1', 105], ['right', 'r2', 105])
    expect((await out()).sort()).toEqual(['l1+r1', 'l1+r2', 'l2+r1', 'l2+r2'])
    await feed(outer(), ['right', 'alone', 150], ['right', 'alone', 150], ['right', 'later', 300, 'other'])
    expect((await out()).slice(4)).toEqual(['-+alone', '-+alone'])
  })

  it('hands out what is alone by the end of its window, whichever side it is of', async () => {
    const asymmetric = { within: { before: 20, after: 5 }, grace: 1_000 }
    await feed(
      outer(asymmetric),
      ...([
        ['right', 'r100', 100, 'a'],
        ['right', 'r300', 300, 'a'],
        ['left', 'l200', 200, 'a'],
        // Its window ends at 115, that of r100 at 120.
        ['left', 'l110', 110, 'b'],
        ['right', 'r110', 110, 'c'],
        ['left', 'last', 5_000, 'd'],
      ] as const),
    )
    expect(await out()).toEqual(['l110+-', '-+r100', '-+r110', 'l200+-', '-+r300'])
  })

  it('takes the bounds apart, both inclusive', async () => {
    const within = { before: 2, after: 7 }
    await feed(
      outer({ within }),
      ['left', 'l', 100],
      ['right', 'r97', 97],
      ['right', 'r98', 98],
      ['right', 'r107', 107],
      ['right', 'r108', 108],
    )
    expect((await out()).filter((pair) => pair?.startsWith('l+'))).toEqual(['l+r98', 'l+r107'])
  })

  it('counts a late record, gives it to the side output, and joins it with nothing', async () => {
    const late: unknown[] = []
    const project = outer({
      grace: 3,
      late: (records: Observable<{ readonly record: RawRecord }>) =>
        records.pipe(
          map((one) => {
            late.push({ ...one, record: String(one.record.value) })
            return one.record
          }),
          toTopic({ topic: 'late' }),
        ),
    } as Options)
    const commits = await feed(project, ['left', 'now', 113], ['right', 'just', 100], ['right', 'near', 112], ['right', 'late', 99])
    expect(late).toEqual([{ side: 'right', record: 'late', window: { start: 89, end: 109 }, streamTime: 113 }])
    expect(await values(cluster, 'late')).toEqual(['late'])
    expect(await out()).toEqual(['now+near'])
    expect(commits.map(({ late: count }) => count)).toEqual([0, 0, 0, 1])
    expect(sumOf(commits, 'processed')).toBe(3)
  })

  it('joins a stream with itself, each pair once', async () => {
    const self = (records: RecordStream): Observable<unknown> =>
      records.pipe(
        joinStream(records, { within: 10, join: (left, right) => `${String(left.value)}+${String(right.value)}` }),
        toTopic({ topic: 'out', value: string() }),
      )
    await feed(self, ['left', 'x', 100], ['left', 'y', 105])
    expect((await out()).sort()).toEqual(['x+x', 'x+y', 'y+x', 'y+y'])
  })

  it('keeps bytes as they are, all else as JSON or by the serde, over restarts; null is a value like any', async () => {
    const odd = Buffer.from([0, 255, 128, 10])
    const seen: unknown[] = []
    const project = (records: RecordStream): Observable<unknown> =>
      of(records, 'left').pipe(
        map((record) => record.with({ value: { bytes: record.value?.toString('hex'), text: 'ä€' } })),
        joinStream(of(records, 'right'), { within: 10, leftValue: json(), join: (left, right) => seen.push([left, right]) }),
      )
    await cluster.produce({ topic: 'left', records: [{ key: odd, value: odd, timestamp: 1 }] })
    await run(1, project)
    await cluster.produce({
      topic: 'right',
      records: [
        { key: odd, value: odd, timestamp: 2 },
        { key: odd, value: null, timestamp: 3 },
      ],
    })
    await run(2, project)
    await cluster.produce({ topic: 'left', records: [{ key: odd, value: null, timestamp: 4 }] })
    await run(1, project)
    const first = { key: odd, value: { bytes: '00ff800a', text: 'ä€' }, timestamp: 1 }
    const second = { key: odd, value: { text: 'ä€', bytes: undefined }, timestamp: 4 }
    const [bytes, nothing] = [
      { key: odd, value: odd, timestamp: 2 },
      { key: odd, value: null, timestamp: 3 },
    ]
    expect(seen).toEqual([
      [first, bytes],
      [first, nothing],
      [second, bytes],
      [second, nothing],
    ])
  })

  it('a record without a key, or whose value cannot be kept, follows onError alone', async () => {
    const project = (records: RecordStream): Observable<unknown> =>
      of(records, 'left').pipe(
        map((record) => record.with({ value: String(record.value) === 'bad' ? (undefined as unknown as string) : String(record.value) })),
        joinStream(of(records, 'right'), { within: 10, join: (left, right) => `${left.value}+${String(right.value)}` }),
        toTopic({ topic: 'out', value: string() }),
      )
    await cluster.produce({
      topic: 'left',
      records: [
        { key: 'k', value: 'l', timestamp: 1 },
        { key: null, value: 'keyless', timestamp: 1 },
        { key: 'k', value: 'bad', timestamp: 1 },
      ],
    })
    await cluster.produce({ topic: 'right', records: [{ key: 'k', value: 'r', timestamp: 1 }] })
    const commits = await run(4, project, { onError: { deadLetter: 'dead' } })
    expect(sumOf(commits, 'failed')).toBe(2)
    expect(await values(cluster, 'dead')).toEqual(['bad', 'keyless'])
    expect(await out()).toEqual(['l+r'])
    await cluster.produce({ topic: 'right', records: [{ key: null, value: 'r', timestamp: 1 }] })
    await expect(run(1, project)).rejects.toMatchObject({
      cause: { code: 'MISSING_KEY', message: expect.stringContaining("joinStream 'join'") as string },
    })
  })

  /** An hour of one topic in many records, of the other in few, read after the fact; how many came late. */
  async function catchUp(batch: number, together = true): Promise<number> {
    const many = Array.from({ length: 3_600 }, (_, i) => ({ key: 'k', value: `m${i}`, timestamp: i * 1_000 }))
    const few = many.filter((_, i) => i % 60 === 30).map(({ timestamp }) => ({ key: 'k', value: `f${timestamp}`, timestamp }))
    for (let i = 0; i < many.length; i += batch) await cluster.produce({ topic: 'left', records: many.slice(i, i + batch) })
    for (let i = 0; i < few.length; i += batch) await cluster.produce({ topic: 'right', records: few.slice(i, i + batch) })
    const project = outer({ within: 0, kind: 'inner' } as Options)
    const topics = together ? [['left', 'right']] : [['left'], ['left', 'right']]
    let late = 0
    let read = 0
    for (const inputs of topics) {
      const records = (inputs.includes('right') ? many.length + few.length : many.length) - read
      for (const commit of await runUntil(cluster, { group: 'g', topics: inputs, records, options: { provision: true } }, project)) {
        late += commit.late
        read += commit.records
      }
    }
    return late
  }

  it('a backlog of two topics of different rates is read by time: none runs ahead and makes the other late', async () => {
    expect(await catchUp(20)).toBe(0)
    expect(await out()).toHaveLength(60)
  })

  it('however long their batches', async () => {
    expect(await catchUp(3_600)).toBe(0)
    expect(await out()).toHaveLength(60)
  })

  it('the same check notices one topic read before the other', async () => {
    expect(await catchUp(20, false)).toBe(60)
  })

  it('refuses state of another kind of join', async () => {
    await feed(outer(), ['left', 'l', 1])
    await cluster.produce({ topic: 'left', records: [{ key: 'k', value: 'l', timestamp: 1 }] })
    await expect(run(1, outer({ kind: 'inner' } as Options))).rejects.toMatchObject({ code: 'STATE_MISMATCH' })
  })

  it('refuses wrong options by name', () => {
    const wrong =
      (options: object): (() => unknown) =>
      () =>
        joinStream({ subscribe: () => {} } as never, options as never)
    expect(wrong({ join: () => 1 })).toThrow(/within: expected a time span/)
    expect(wrong({ within: { before: 1 }, join: () => 1 })).toThrow(/within/)
    expect(wrong({ within: '5m' })).toThrow(/join: expected a function/)
    expect(wrong({ within: '5m', join: () => 1, kind: 'right' })).toThrow(/kind/)
    expect(wrong({ within: '5m', join: () => 1, value: json() })).toThrow(/unknown option 'value'/)
    expect(() => joinStream(undefined as never, { within: '5m', join: () => 1 } as never)).toThrow(/first argument is the right stream/)
  })
})

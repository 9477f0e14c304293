import { map, type Observable } from 'rxjs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  aggregate,
  aggregator,
  count,
  embedded,
  json,
  silentLogger,
  sum,
  toTopic,
  tumbling,
  window,
  type Cluster,
  type Commit,
  type RecordStream,
  type TransactionOptions,
} from '../../src/index.js'
import { createEmbeddedBroker, type EmbeddedBroker, type Fault } from '../../src/testing/index.js'
import { contents, runUntil } from '../support/pipelines.js'

const KEYS = 7
const COUNT = 600
/** Event times of one key rise by a second each; the keys take turns. */
const input = Array.from({ length: COUNT }, (_, i) => ({ key: `k${i % KEYS}`, value: String(i), timestamp: i * 100 }))

describe('state', () => {
  let broker: EmbeddedBroker
  let cluster: Cluster

  beforeEach(async () => {
    broker = createEmbeddedBroker()
    cluster = embedded({ broker, logger: silentLogger })
    await cluster.createTopics([
      { topic: 'in', partitions: 2 },
      { topic: 'out', partitions: 2 },
    ])
  })

  afterEach(() => cluster.close())

  const run = (
    records: number,
    project: (records: RecordStream) => Observable<unknown>,
    options: TransactionOptions = {},
  ): Promise<Commit[]> =>
    runUntil(cluster, { group: 'g', topics: ['in'], records, options: { maxRecords: 50, provision: true, ...options } }, project)

  const counting = (records: RecordStream): Observable<unknown> =>
    records.pipe(aggregate(count()), toTopic({ topic: 'out', value: json() }))

  const lastCounts = async (): Promise<Record<string, number>> => {
    const last: Record<string, number> = {}
    for (const { key, value } of await contents(cluster, 'out')) last[key as string] = Number(value)
    return last
  }

  const expectedCounts = (n: number): Record<string, number> => {
    const counts: Record<string, number> = {}
    for (const { key } of input.slice(0, n)) counts[key] = (counts[key] ?? 0) + 1
    return counts
  }

  it('goes on where it was after a restart, from the changelog', async () => {
    await cluster.produce({ topic: 'in', records: input.slice(0, 300) })
    await run(300, counting)
    await cluster.produce({ topic: 'in', records: input.slice(300) })
    await run(300, counting)
    expect(await lastCounts()).toEqual(expectedCounts(COUNT))
  })

  const faults: Record<string, Fault> = {
    'an aborted produce': { at: 'produce', reaction: 'abort', after: 1 },
    'a fenced producer': { at: 'produce', reaction: 'reinit', after: 2 },
    'refused offsets': { at: 'offsets', reaction: 'abort', after: 1, times: 2 },
    'a lost generation': { at: 'offsets', reaction: 'lost', after: 2 },
    'a commit without an answer that took effect': { at: 'end', reaction: 'indeterminate', tookEffect: true, after: 1 },
    'a commit without an answer that did not': { at: 'end', reaction: 'indeterminate', tookEffect: false, after: 1 },
  }
  for (const [name, fault] of Object.entries(faults)) {
    it(`counts each record once through ${name}`, async () => {
      await cluster.produce({ topic: 'in', records: input })
      broker.faults.inject(fault)
      await run(COUNT, counting)
      expect(await lastCounts()).toEqual(expectedCounts(COUNT))
    })
  }

  it('rolls back state that user code changed in place', async () => {
    await cluster.produce({ topic: 'in', records: input })
    broker.faults.inject({ at: 'offsets', reaction: 'abort', after: 1, times: 3 })
    const inPlace = aggregator({
      name: 'in-place',
      init: () => ({ n: 0 }),
      add(state: { n: number }) {
        state.n++
        return state
      },
      result: ({ n }) => n,
    })
    await run(COUNT, (records) => records.pipe(aggregate(inPlace), toTopic({ topic: 'out', value: json() })))
    expect(await lastCounts()).toEqual(expectedCounts(COUNT))
  })

  it('gives each final result of a window once, also over restarts and aborts', async () => {
    const project = (records: RecordStream): Observable<unknown> =>
      records.pipe(
        window(tumbling('10s'), { aggregate: sum((record) => Number(record.value)), grace: '1s' }),
        toTopic({ topic: 'out', value: json() }),
      )
    await cluster.produce({ topic: 'in', records: input.slice(0, 350) })
    broker.faults.inject({ at: 'end', reaction: 'indeterminate', tookEffect: true, after: 1 })
    broker.faults.inject({ at: 'produce', reaction: 'abort', after: 2 })
    await run(350, project)
    await cluster.produce({ topic: 'in', records: input.slice(350) })
    await run(COUNT - 350, project)

    const results = (await contents(cluster, 'out')).map(({ key, value }) => `${key} ${value}`).sort()
    const expected: string[] = []
    // Records lie in two partitions by key, each with its own stream time: up to the last record of that partition.
    const { partitionsOf } = await partitions()
    const sums = new Map<string, number>()
    const ends = new Map<number, number>()
    for (const { key, value, timestamp } of input) {
      const at = `${key}@${Math.floor(timestamp / 10_000) * 10_000}`
      sums.set(at, (sums.get(at) ?? 0) + Number(value))
      ends.set(partitionsOf(key), timestamp)
    }
    for (const [at, total] of sums) {
      const [key, start] = at.split('@') as [string, string]
      if (Number(start) + 10_000 + 1_000 <= (ends.get(partitionsOf(key)) as number)) {
        expected.push(`${key} ${JSON.stringify({ start: Number(start), end: Number(start) + 10_000, result: total })}`)
      }
    }
    expect(results).toEqual(expected.sort())
  })

  async function partitions(): Promise<{ partitionsOf: (key: string) => number }> {
    const of = new Map<string, number>()
    for (const { key, partition } of await contents(cluster, 'in')) of.set(key as string, partition)
    return { partitionsOf: (key) => of.get(key) as number }
  }

  it('refuses state of another kind, and of a newer version', async () => {
    await cluster.produce({ topic: 'in', records: input.slice(0, 100) })
    await run(100, counting)
    await cluster.produce({ topic: 'in', records: input.slice(100, 200) })
    await expect(
      run(100, (records) => records.pipe(aggregate(sum((record) => Number(record.value))), toTopic({ topic: 'out', value: json() }))),
    ).rejects.toMatchObject({ code: 'STATE_MISMATCH' })
  })

  it('migrates state of an older version', async () => {
    const v1 = aggregator({ name: 'n', init: () => 0, add: (state: number) => state + 1 })
    const v2 = (migrate?: (state: unknown) => { n: number }) =>
      aggregator({
        name: 'n',
        version: 2,
        init: () => ({ n: 0 }),
        add: ({ n }: { n: number }) => ({ n: n + 1 }),
        result: ({ n }) => n,
        ...(migrate && { migrate }),
      })
    await cluster.produce({ topic: 'in', records: input.slice(0, 100) })
    await run(100, (records) => records.pipe(aggregate(v1), toTopic({ topic: 'out', value: json() })))
    await cluster.produce({ topic: 'in', records: input.slice(100, 200) })
    await expect(run(100, (records) => records.pipe(aggregate(v2()), toTopic({ topic: 'out', value: json() })))).rejects.toMatchObject({
      code: 'STATE_MISMATCH',
    })
    await run(100, (records) => records.pipe(aggregate(v2((n) => ({ n: n as number }))), toTopic({ topic: 'out', value: json() })))
    expect(await lastCounts()).toEqual(expectedCounts(200))
    await cluster.produce({ topic: 'in', records: input.slice(200, 210) })
    await expect(run(10, (records) => records.pipe(aggregate(v1), toTopic({ topic: 'out', value: json() })))).rejects.toMatchObject({
      code: 'STATE_MISMATCH',
    })
  })

  it('refuses a changelog that is not compacted or has another number of partitions', async () => {
    await cluster.produce({ topic: 'in', records: input.slice(0, 10) })
    await cluster.createTopics([{ topic: 'g-aggregate-changelog', partitions: 2 }])
    await expect(run(10, counting)).rejects.toMatchObject({
      code: 'STATE_MISMATCH',
      message: expect.stringContaining('cleanup.policy=delete') as string,
    })
    await cluster.deleteTopics(['g-aggregate-changelog'])
    await cluster.createTopics([{ topic: 'g-aggregate-changelog', partitions: 3, config: { 'cleanup.policy': 'compact' } }])
    await expect(run(10, counting)).rejects.toMatchObject({ code: 'PARTITION_MISMATCH' })
    await cluster.deleteTopics(['g-aggregate-changelog'])
    await expect(run(10, counting, { provision: false })).rejects.toMatchObject({ code: 'MISSING_TOPIC' })
  })

  it('counts late records, and gives them to the side output', async () => {
    await cluster.createTopics([{ topic: 'late', partitions: 2 }])
    const records = [0, 5_000, 25_000, 3_000, 26_000].map((timestamp, i) => ({ key: 'k', value: String(i), timestamp }))
    await cluster.produce({ topic: 'in', records })
    const commits = await run(records.length, (slice) =>
      slice.pipe(
        window(tumbling('10s'), {
          aggregate: count(),
          late: (late) =>
            late.pipe(
              map(({ record }) => record),
              toTopic({ topic: 'late' }),
            ),
        }),
        toTopic({ topic: 'out', value: json() }),
      ),
    )
    expect((await contents(cluster, 'late')).map(({ value }) => value)).toEqual(['3'])
    expect(commits.reduce((sum, { late }) => sum + late, 0)).toBe(1)
    expect((await contents(cluster, 'out')).map(({ value }) => JSON.parse(value as string) as unknown)).toEqual([
      { start: 0, end: 10_000, result: 2 },
    ])
  })
})

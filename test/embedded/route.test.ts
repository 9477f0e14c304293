import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  attempt,
  decode,
  describe as describePipeline,
  dropFailed,
  embedded,
  json,
  route,
  silentLogger,
  withTransaction,
  type Cluster,
  type RawRecord,
  type RecordStream,
  type RouteOptions,
} from '../../src/index.js'
import type { Observable } from 'rxjs'
import { Order } from '../support/poison.js'
import { contents, runUntil, sumOf, values } from '../support/pipelines.js'

describe('route', () => {
  let cluster: Cluster

  beforeEach(async () => {
    cluster = embedded({ logger: silentLogger })
    await cluster.createTopics([{ topic: 'in', partitions: 2 }, { topic: 'eu', partitions: 2 }, { topic: 'us' }, { topic: 'other' }])
  })

  afterEach(() => cluster.close())

  const run = (project: (records: RecordStream) => Observable<unknown>, records: number) =>
    runUntil(cluster, { group: 'g', topics: ['in'], records }, project)
  const by =
    (to: (value: string) => unknown, topics: RouteOptions<RawRecord>['topics']) =>
    (records: RecordStream): Observable<unknown> =>
      records.pipe(route({ to: (record: RawRecord) => to(String(record.value)) as string, topics, fallback: 'other' }))
  const feed = (...list: readonly string[]): Promise<number> =>
    cluster.produce({ topic: 'in', records: list.map((value) => ({ key: `key of ${value}`, value, headers: { h: value } })) })

  it('writes each record to the topic that the function names, as toTopic would', async () => {
    await feed('eu', 'us', 'eu')
    const commits = await run(
      by((value) => value, ['eu', 'us']),
      3,
    )
    expect(await values(cluster, 'eu')).toEqual(['eu', 'eu'])
    expect((await contents(cluster, 'us')).map(({ key, value }) => [key, value])).toEqual([['key of us', 'us']])
    expect([sumOf(commits, 'processed'), sumOf(commits, 'outputs')]).toEqual([3, 3])
  })

  it('by names of its own, or by the topic', async () => {
    await feed('DE', 'FR', 'US', 'eu')
    await run(
      by((value) => value, { DE: 'eu', FR: 'eu', US: 'us' }),
      4,
    )
    expect(await values(cluster, 'eu')).toEqual(['DE', 'FR', 'eu'])
    expect(await values(cluster, 'us')).toEqual(['US'])
  })

  it('nothing is lost: whatever else the function returns goes to the fallback', async () => {
    const odd: Record<string, unknown> = {
      undefined: undefined,
      null: null,
      number: 5,
      object: {},
      unknown: 'nowhere',
      empty: '',
      constructor: 'constructor',
      ['__proto__']: '__proto__',
      other: 'other',
      known: 'us',
    }
    const names = [...Object.keys(odd), '__proto__']
    await feed(...names)
    await run(
      by((name) => (name === '__proto__' ? '__proto__' : odd[name]), { us: 'us' }),
      names.length,
    )
    expect(await values(cluster, 'us')).toEqual(['known'])
    expect(await values(cluster, 'other')).toEqual(names.filter((name) => name !== 'known').sort())
  })

  it('encodes with serdes, and passes the records on', async () => {
    await feed('{"id":"a","amount":5}', '{"id":"b","amount":50}')
    const passed: string[] = []
    await run(
      (records) =>
        records.pipe(
          decode(Order),
          dropFailed(),
          route({
            to: (order) => (order.value.amount > 10 ? 'us' : undefined),
            topics: ['us'],
            fallback: 'other',
            value: json(),
            headers: (order) => ({ id: order.value.id }),
          }),
          attempt((order) => void passed.push(order.value.id)),
        ),
      2,
    )
    expect([await values(cluster, 'us'), await values(cluster, 'other'), passed.sort()]).toEqual([
      ['{"id":"b","amount":50}'],
      ['{"id":"a","amount":5}'],
      ['a', 'b'],
    ])
  })

  it('stands in the plan with all its topics, the fallback too', async () => {
    const pipeline = cluster.source({ group: 'g', topics: ['in'] }).pipe(withTransaction(by(() => 'eu', { a: 'eu', b: 'us' })))
    expect(describePipeline(pipeline).outputs).toEqual(['eu', 'us', 'other'].map((topic) => ({ topic, writtenBy: ['route'] })))
    await feed('x')
    const missing = (records: RecordStream): Observable<unknown> =>
      records.pipe(route({ to: () => 'eu', topics: ['eu'], fallback: 'missing' }))
    await expect(run(missing, 1)).rejects.toMatchObject({ code: 'MISSING_TOPIC', message: /missing/ })
    expect(await values(cluster, 'eu')).toEqual([])
  })

  it('refuses wrong options by name', () => {
    expect(() => route({ to: () => 'a', topics: ['a'] } as never)).toThrow(/fallback:/)
    expect(() => route({ to: 'a', topics: [], fallback: 'b c', other: 1 } as never)).toThrow(
      /to: expected a function[^]*topics:[^]*fallback: topic names[^]*unknown option 'other'/,
    )
  })
})

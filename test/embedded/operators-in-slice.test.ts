import {
  EMPTY,
  bufferCount,
  catchError,
  concatMap,
  delay,
  filter,
  groupBy,
  map,
  merge,
  mergeMap,
  of,
  share,
  timer,
  toArray,
  type Observable,
  type OperatorFunction,
} from 'rxjs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { embedded, record, toTopic, type Cluster, type RawRecord, type RecordStream } from '../../src/index.js'
import { numbers, runUntil, sumOf, values } from '../support/pipelines.js'

const COUNT = 300
const all = numbers(COUNT).map(({ value }) => value)
const out = toTopic<RawRecord>({ topic: 'out' })

/** RxJS operators between source and sink, and what must be in the topic afterwards. */
const cases: Record<string, { project: (records: RecordStream) => Observable<unknown>; expected: string[] }> = {
  filter: {
    project: (records) =>
      records.pipe(
        filter((r) => Number(String(r.value)) % 3 === 0),
        out,
      ),
    expected: all.filter((value) => Number(value) % 3 === 0),
  },
  map: {
    project: (records) =>
      records.pipe(
        map((r) => r.with({ value: Buffer.from(`m${String(r.value)}`) })),
        out,
      ),
    expected: all.map((value) => `m${value}`),
  },
  'mergeMap, async, finishing out of order': {
    project: (records) =>
      records.pipe(
        mergeMap((r) => timer(Number(String(r.value)) % 7).pipe(map(() => r)), 16),
        out,
      ),
    expected: all,
  },
  'mergeMap of promises': {
    project: (records) =>
      records.pipe(
        mergeMap(async (r) => (await Promise.resolve(), r)),
        out,
      ),
    expected: all,
  },
  'concatMap, async': {
    project: (records) =>
      records.pipe(
        concatMap((r) => of(r).pipe(delay(0))),
        out,
      ),
    expected: all,
  },
  'groupBy with a sink in each group': {
    project: (records) =>
      records.pipe(
        groupBy((r) => String(r.key)),
        mergeMap((group) => group.pipe(out)),
      ),
    expected: all,
  },
  bufferCount: {
    project: (records) =>
      records.pipe(
        bufferCount(7),
        map((list) => (list[0] as RawRecord).with({ value: Buffer.from(list.map((r) => String(r.value)).join('+')) })),
        out,
      ),
    expected: [],
  },
  delay: { project: (records) => records.pipe(delay(30), out), expected: all },
  'share, two branches': {
    project: (records) => {
      const shared = records.pipe(share())
      return merge(
        shared.pipe(
          filter((r) => Number(String(r.value)) % 2 === 0),
          out,
        ),
        shared.pipe(
          filter((r) => Number(String(r.value)) % 2 === 1),
          out,
        ),
      )
    },
    expected: all,
  },
  'merge of two subscriptions': {
    project: (records) =>
      merge(
        records.pipe(
          filter((r) => Number(String(r.value)) < 100),
          out,
        ),
        records.pipe(
          filter((r) => Number(String(r.value)) >= 100),
          out,
        ),
      ),
    expected: all,
  },
  'catchError per record': {
    project: (records) =>
      records.pipe(
        mergeMap((r) =>
          of(r).pipe(
            map((one) => {
              if (Number(String(one.value)) % 5 === 0) throw new Error('no')
              return one
            }),
            catchError(() => EMPTY),
          ),
        ),
        out,
      ),
    expected: all.filter((value) => Number(value) % 5 !== 0),
  },
  'records made from nothing': {
    project: (records) =>
      records.pipe(
        toArray(),
        mergeMap((list) => list.map((r) => record({ key: r.key, value: r.value }))),
        out,
      ),
    expected: all,
  },
}

describe('RxJS operators inside a slice', () => {
  let cluster: Cluster

  beforeEach(async () => {
    cluster = embedded()
    await cluster.createTopics([
      { topic: 'in', partitions: 2 },
      { topic: 'out', partitions: 2 },
    ])
    await cluster.produce({ topic: 'in', records: numbers(COUNT) })
  })

  afterEach(() => cluster.close())

  for (const [name, { project, expected }] of Object.entries(cases)) {
    it(`${name}: no offset is lost and none is committed early`, async () => {
      const declare = { topics: ['out'] }
      const commits = await runUntil(cluster, { group: 'g', topics: ['in'], records: COUNT, options: { declare, maxRecords: 64 } }, project)
      const written = (await values(cluster, 'out')).flatMap((value) => (value as string).split('+')).sort()
      expect(written).toEqual([...(name === 'bufferCount' ? all : expected)].sort())
      expect(sumOf(commits, 'records')).toBe(COUNT)
      for (const commit of commits)
        expect(commit.processed + commit.filtered + commit.duplicate + commit.late + commit.failed).toBe(commit.records)
      // A second run of the group finds nothing left.
      await cluster.produce({ topic: 'in', records: [{ value: 'last', partition: 0 }] })
      const [rest] = await runUntil(cluster, { group: 'g', topics: ['in'], records: 1, options: { declare } }, (records) => records)
      expect(rest?.records).toBe(1)
    })
  }

  it('a record still in an operator holds back the commit of its whole slice', async () => {
    let release: () => void = () => {}
    const gate = new Promise<void>((resolve) => (release = resolve))
    const waiting: string[] = []
    const done = runUntil(cluster, { group: 'g', topics: ['in'], records: COUNT, options: { maxRecords: 50 } }, (records) =>
      records.pipe(
        mergeMap(async (r) => {
          if (String(r.value) === '7') {
            waiting.push('7')
            await gate
          }
          return r
        }),
        out as OperatorFunction<RawRecord, RawRecord>,
      ),
    )
    await expect.poll(() => waiting).toEqual(['7'])
    expect(await values(cluster, 'out')).not.toContain('9')
    release()
    await done
    expect(await values(cluster, 'out')).toEqual([...all].sort())
  })
})

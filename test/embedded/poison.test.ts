import { map, mergeMap } from 'rxjs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  embedded,
  readFailure,
  silentLogger,
  toTopic,
  type Cluster,
  type ErrorPolicy,
  type RawRecord,
  type RecordStream,
} from '../../src/index.js'
import { contents, numbers, runUntil, sumOf, values } from '../support/pipelines.js'
import type { Observable } from 'rxjs'

const COUNT = 400
const out = toTopic<RawRecord>({ topic: 'out' })
const good = (poison: readonly string[]): string[] =>
  numbers(COUNT)
    .map(({ value }) => value)
    .filter((value) => !poison.includes(value))
    .sort()

const sync =
  (poison: readonly string[]) =>
  (records: RecordStream): Observable<unknown> =>
    records.pipe(
      map((r) => {
        if (poison.includes(String(r.value))) throw new Error(`cannot take ${String(r.value)}`)
        return r
      }),
      out,
    )

const async =
  (poison: readonly string[]) =>
  (records: RecordStream): Observable<unknown> =>
    records.pipe(
      mergeMap(async (r) => {
        await Promise.resolve()
        if (poison.includes(String(r.value))) throw new Error(`cannot take ${String(r.value)}`)
        return r
      }),
      out,
    )

describe('a record that user code fails on', () => {
  let cluster: Cluster

  beforeEach(async () => {
    cluster = embedded({ logger: silentLogger })
    await cluster.createTopics([
      { topic: 'in', partitions: 2 },
      { topic: 'out', partitions: 2 },
      { topic: 'dead', partitions: 2 },
    ])
    await cluster.produce({ topic: 'in', records: numbers(COUNT) })
  })

  afterEach(() => cluster.close())

  const run = (project: (records: RecordStream) => Observable<unknown>, onError?: ErrorPolicy) =>
    runUntil(
      cluster,
      { group: 'g', topics: ['in'], records: COUNT, options: { retryDelay: 1, ...(onError === undefined ? {} : { onError }) } },
      project,
    )

  for (const [kind, project] of Object.entries({ sync, async })) {
    it(`stop (${kind}): the error names it; all before it in its partition is committed once`, async () => {
      await expect(run(project(['101']))).rejects.toMatchObject({
        code: 'RECORD_FAILED',
        origin: { topic: 'in', partition: 1, offset: 50 },
        cause: { message: 'cannot take 101' },
      })
      const ofItsPartition = (await contents(cluster, 'out')).map(({ value }) => Number(value)).filter((value) => value % 2 === 1)
      expect(ofItsPartition.sort((a, b) => a - b)).toEqual(Array.from({ length: 50 }, (_, i) => 2 * i + 1))
    })

    it(`skip (${kind}): it is counted, all others commit exactly once`, async () => {
      const commits = await run(project(['0', '101', '102', '399']), 'skip')
      expect(await values(cluster, 'out')).toEqual(good(['0', '101', '102', '399']))
      expect(sumOf(commits, 'failed')).toBe(4)
      expect(sumOf(commits, 'records')).toBe(COUNT)
    })

    it(`dead letter (${kind}): its bytes and headers stand there once, with where it came from and why`, async () => {
      await cluster.produce({
        topic: 'in',
        records: [{ key: 'key', value: 'poison', headers: { trace: 'abc' }, timestamp: 1234, partition: 1 }],
      })
      await runUntil(
        cluster,
        { group: 'g', topics: ['in'], records: COUNT + 1, options: { retryDelay: 1, onError: { deadLetter: 'dead' } } },
        project(['poison']),
      )
      expect(await values(cluster, 'out')).toEqual(good([]))
      const dead: RawRecord[] = []
      for await (const record of cluster.read({ topic: 'dead' })) dead.push(record)
      expect(dead).toHaveLength(1)
      expect(dead[0]).toMatchObject({ key: Buffer.from('key'), value: Buffer.from('poison'), timestamp: 1234 })
      expect(dead[0]?.headers['trace']).toEqual(Buffer.from('abc'))
      expect(readFailure(dead[0]?.headers ?? {})).toMatchObject({
        origin: { topic: 'in', partition: 1, offset: 200 },
        timestamp: 1234,
        step: 'project',
        error: 'Error',
        message: 'cannot take poison',
      })
    })
  }

  it('a fault that passes costs nothing but a run', async () => {
    let faults = 1
    const commits = await run((records) =>
      records.pipe(
        map((r) => {
          if (String(r.value) === '50' && faults-- > 0) throw new Error('for a moment')
          return r
        }),
        out,
      ),
    )
    expect(await values(cluster, 'out')).toEqual(good([]))
    expect(sumOf(commits, 'failed')).toBe(0)
  })

  it('the other partition goes on while the record is looked for', async () => {
    const commits = await run(sync(['1']), 'skip')
    expect(await values(cluster, 'out')).toEqual(good(['1']))
    expect(commits.flatMap((commit) => commit.tasks).some((task) => task.partition === 0)).toBe(true)
  })
})

import { map, type Observable } from 'rxjs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  contentHash,
  dedupe,
  describe as describePipeline,
  embedded,
  header,
  mapValue,
  recordKey,
  silentLogger,
  string,
  taskClaims,
  toTopic,
  withTransaction,
  type Cluster,
  type Commit,
  type IdRule,
  type Logger,
  type RecordStream,
  type TransactionOptions,
} from '../../src/index.js'
import { createEmbeddedBroker, createTestKit, sliceOf, type EmbeddedBroker, type Fault } from '../../src/testing/index.js'
import { contents, runUntil, values } from '../support/pipelines.js'

const COUNT = 600
/** Every third record has an id that came before, in the same partition as its key. */
const input = Array.from({ length: COUNT }, (_, i) => ({
  key: `id-${i % 3 === 2 ? i - 2 : i}`,
  value: String(i),
  timestamp: 1_000 + i * 10,
}))
const firsts = input
  .filter((_, i) => i % 3 !== 2)
  .map(({ value }) => value)
  .sort()
const byKey = { by: recordKey(), within: '10m' } as const

describe('dedupe', () => {
  let broker: EmbeddedBroker
  let cluster: Cluster

  beforeEach(async () => {
    broker = createEmbeddedBroker()
    cluster = embedded({ broker, logger: silentLogger })
    await cluster.createTopics(['in', 'out', 'again'].map((topic) => ({ topic, partitions: 2 })))
  })

  afterEach(() => cluster.close())

  const run = (
    records: number,
    project: (records: RecordStream) => Observable<unknown>,
    options: TransactionOptions = {},
  ): Promise<Commit[]> =>
    runUntil(cluster, { group: 'g', topics: ['in'], records, options: { maxRecords: 50, provision: true, ...options } }, project)
  const once = (records: RecordStream): Observable<unknown> => records.pipe(dedupe(byKey), toTopic({ topic: 'out' }))

  it('passes the first of each id, and counts and hands out the others with the origin of the first', async () => {
    await cluster.produce({ topic: 'in', records: input })
    const commits = await run(COUNT, (records) =>
      records.pipe(
        dedupe({
          ...byKey,
          onDuplicate: (all) =>
            all.pipe(
              map(({ record, id, first }) => record.with({ key: id, value: JSON.stringify(first) })),
              toTopic({ topic: 'again' }),
            ),
        }),
        toTopic({ topic: 'out' }),
      ),
    )
    expect(await values(cluster, 'out')).toEqual(firsts)
    const sum = (field: 'records' | 'processed' | 'duplicate'): number => commits.reduce((total, commit) => total + commit[field], 0)
    expect({ records: sum('records'), processed: sum('processed'), duplicate: sum('duplicate') }).toEqual({
      records: COUNT,
      processed: firsts.length,
      duplicate: COUNT - firsts.length,
    })
    const origins = new Map(
      (await contents(cluster, 'in')).map(({ key, partition, offset, value }) => [
        value,
        { key, origin: { topic: 'in', partition, offset } },
      ]),
    )
    const named = (await contents(cluster, 'again')).map(({ key, value }) => ({
      key,
      origin: (JSON.parse(value as string) as { origin: unknown }).origin,
    }))
    const expected = input.filter((_, i) => i % 3 === 2).map(({ value }) => origins.get(String(Number(value) - 2)))
    const sorted = (list: unknown[]): string[] => list.map((one) => JSON.stringify(one)).sort()
    expect(sorted(named)).toEqual(sorted(expected))
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
    it(`passes exactly one of each id through ${name}`, async () => {
      await cluster.produce({ topic: 'in', records: input })
      broker.faults.inject(fault)
      await run(COUNT, once)
      expect(await values(cluster, 'out')).toEqual(firsts)
    })
  }

  it('remembers over a restart', async () => {
    await cluster.produce({ topic: 'in', records: input })
    await run(COUNT, once)
    await cluster.produce({ topic: 'in', records: input })
    const commits = await run(COUNT, once)
    expect(await values(cluster, 'out')).toEqual(firsts)
    expect(commits.reduce((sum, { duplicate }) => sum + duplicate, 0)).toBe(COUNT)
  })

  it('answers what happened to an id', async () => {
    const seen = taskClaims()
    await cluster.produce({ topic: 'in', records: input })
    await run(COUNT, (records) => records.pipe(dedupe({ ...byKey, store: seen }), toTopic({ topic: 'out' })))
    const [{ partition, offset } = { partition: -1, offset: -1 }] = (await contents(cluster, 'in')).filter(({ value }) => value === '3')
    expect(seen.find('id-3')).toMatchObject({ state: 'passed', origin: { topic: 'in', partition, offset }, duplicates: 1 })
    expect(seen.find('id-4')).toMatchObject({ duplicates: 0 })
    expect(seen.find('nobody')).toBeUndefined()
    expect(seen.size).toBe(firsts.length)
  })

  describe('ids', () => {
    const headers = { id: 'h' }
    const kept = (by: IdRule | ((record: { value: Buffer | null }) => string), records: object[]): (string | null)[] => {
      const slice = sliceOf(records as { value: string }[], (stream) =>
        stream.pipe(dedupe({ by, within: '1m', partitioned: true }), toTopic({ topic: 'out' })),
      )
      return slice.written('out').map(({ value }) => value)
    }

    it('from a function, a header, the key', () => {
      expect(kept(({ value }) => String(value).slice(0, 1), [{ value: 'a1' }, { value: 'b1' }, { value: 'a2' }])).toEqual(['a1', 'b1'])
      expect(
        kept(header('id'), [
          { value: '1', headers },
          { value: '2', headers: { other: 'h', id: 'i' } },
          { value: '3', headers: { x: 'y', ...headers } },
        ]),
      ).toEqual(['1', '2'])
      expect(
        kept(header('id'), [
          { value: '1', headers },
          { value: '2', headers: { id: ['x', 'h'] } },
        ]),
      ).toEqual(['1'])
      expect(
        kept(recordKey(), [
          { key: 'k', value: '1' },
          { key: 'l', value: '2' },
          { key: 'k', value: '3' },
        ]),
      ).toEqual(['1', '2'])
    })

    it('from the content: key and value and where one ends and the other begins', () => {
      const same = { key: 'ab', value: 'c' }
      expect(kept(contentHash(), [same, { key: 'a', value: 'bc' }, same, { value: 'abc' }, { key: '', value: 'abc' }])).toEqual([
        'c',
        'bc',
        'abc',
        'abc',
      ])
    })

    it('from the content as it was read, whatever has become of it', () => {
      const slice = sliceOf([{ value: '1' }, { value: '2' }, { value: '1' }], (stream) =>
        stream.pipe(
          mapValue(() => 'same'),
          dedupe({ by: contentHash(), within: '1m' }),
          toTopic({ topic: 'out', value: string() }),
        ),
      )
      expect(slice.written('out')).toHaveLength(2)
    })

    it('that are missing, empty or not text fail their record by name, and follow the error policy', async () => {
      await cluster.produce({
        topic: 'in',
        records: [
          { value: '0', partition: 0, headers },
          { value: '1', partition: 0 },
          { value: '2', partition: 0, headers: { id: '' } },
          { value: '3', partition: 0, headers: { id: 'x' } },
        ],
      })
      const by = (records: RecordStream): Observable<unknown> =>
        records.pipe(dedupe({ by: header('id'), within: '1m', partitioned: true }), toTopic({ topic: 'out' }))
      await expect(run(4, by)).rejects.toMatchObject({
        code: 'RECORD_FAILED',
        origin: { topic: 'in', partition: 0, offset: 1 },
        cause: { code: 'MISSING_ID' },
      })
      const commits = await run(3, by, { onError: 'skip', retries: 0 })
      expect(commits.reduce((sum, { failed }) => sum + failed, 0)).toBe(2)
      expect(await values(cluster, 'out')).toEqual(['0', '3'])
      expect(() => kept((() => 7) as unknown as () => string, [{ value: '1' }])).toThrow(
        expect.objectContaining({ code: 'MISSING_ID', message: expect.stringContaining('is a number, not text') as string }),
      )
    })

    it('that are missing pass where that is asked for', () => {
      const slice = sliceOf([{ value: '1' }, { value: '2' }], (stream) =>
        stream.pipe(dedupe({ by: header('id'), within: '1m', onMissing: 'pass' }), toTopic({ topic: 'out' })),
      )
      expect(slice.written('out')).toHaveLength(2)
    })
  })

  it('goes by event time, so that a backlog is judged as when it was written', async () => {
    const kit = await createTestKit({ topics: { in: {}, out: {} }, start: Date.UTC(2024, 0, 1) })
    kit.run(kit.cluster.source({ group: 'g', topics: ['in'] }).pipe(withTransaction(once, { provision: true })))
    const at = (minutes: number): number => kit.clock.now() - (60 - minutes) * 60_000
    await kit.feed(
      'in',
      [
        [0, 'a'],
        [9, 'b'],
        [11, 'c'],
        [5, 'late, and not new'],
        [20, 'd'],
        [22, 'e'],
      ].map(([minutes, value]) => ({ key: 'k', value: value as string, timestamp: at(minutes as number) })),
    )
    await kit.advance('1s')
    expect((await kit.read('out')).map(({ value }) => value)).toEqual(['a', 'c', 'e'])
    await kit.stop()
  })

  it('warns where ids may be in several partitions and each task keeps its own', async () => {
    const warned: string[] = []
    const logger: Logger = { ...silentLogger, warn: (_, message) => warned.push(message) }
    const loud = embedded({ broker, logger })
    const pipeline = (partitioned?: true) =>
      loud
        .source({ group: 'w', topics: ['in'] })
        .pipe(
          withTransaction(
            (records) =>
              records.pipe(dedupe({ by: header('id'), within: '1m', ...(partitioned && { partitioned }) }), toTopic({ topic: 'out' })),
            { provision: true },
          ),
        )
    expect(describePipeline(pipeline()).warnings).toEqual([expect.stringMatching(/header 'id'.*repartition/)])
    expect(String(describePipeline(pipeline()))).toContain("warning: dedupe 'dedupe'")
    expect(describePipeline(pipeline(true)).warnings).toEqual([])
    expect(describePipeline(loud.source({ group: 'w', topics: ['in'] }).pipe(withTransaction(once))).warnings).toEqual([])
    const running = pipeline().subscribe()
    await loud.close()
    running.unsubscribe()
    expect(warned).toEqual([expect.stringContaining('repartition')])
  })

  it('refuses wrong options by name', () => {
    const wrong =
      (options: object): (() => unknown) =>
      () =>
        dedupe({ ...byKey, ...options } as never)
    expect(wrong({ withn: 1 })).toThrow(/'withn'/)
    expect(wrong({ within: 0 })).toThrow(/within: must be more than zero/)
    expect(wrong({ by: 'id' })).toThrow(/by: expected a function/)
    expect(wrong({ store: 'redis' })).toThrow(/store: /)
    expect(wrong({ name: 'a b' })).toThrow(/name: /)
    expect(() => header('')).toThrow(/header/)
  })

  /** The operator as it must not be: what it claims stays claimed when the transaction does not commit. */
  it('would notice claims that do not roll back, and claims that do not commit', async () => {
    const broken = (records: RecordStream, forgets: boolean): Observable<unknown> => {
      const claimed = forgets ? new Set<string>() : outliving
      return records.pipe(
        map((record) => [record, claimed.has(String(record.key))] as const),
        map(([record, known]) => (claimed.add(String(record.key)), known ? record.with({ value: null }) : record)),
        toTopic({ topic: 'out' }),
      )
    }
    const outliving = new Set<string>()
    const passed = async (): Promise<(string | null)[]> => (await values(cluster, 'out')).filter((value) => value !== null)
    await cluster.produce({ topic: 'in', records: input })
    broker.faults.inject({ at: 'offsets', reaction: 'abort', after: 1, times: 2 })
    await run(COUNT, (records) => broken(records, false))
    expect((await passed()).length).toBeLessThan(firsts.length)
    await cluster.produce({ topic: 'in', records: input })
    await run(COUNT, (records) => broken(records, true))
    expect((await passed()).length).toBeGreaterThan(firsts.length)
  })
})

import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { map, mergeMap, type Observable } from 'rxjs'
import {
  analysisOf,
  analyze,
  attempt,
  dropFailed,
  statusOf,
  toTopic,
  withTransaction,
  type Analysis,
  type Commit,
  type PipelineStatus,
  type RawRecord,
  type RecordStream,
  type TransactionOptions,
} from '../../src/index.js'
import { createTestKit, type TestKit } from '../../src/testing/index.js'
import { toExternal } from '../../src/sinks/external/to-external.js'
import { MemoryStore, type MemoryTx } from '../support/memory-store.js'
import { until } from '../support/until.js'

describe('analyze names what bounds a pipeline', () => {
  let kit: TestKit

  beforeEach(async () => {
    kit = await createTestKit({ topics: { in: { partitions: 4 }, out: { partitions: 4 } } })
  })
  afterEach(() => kit.stop())

  interface Case {
    readonly options?: TransactionOptions
    readonly records?: number
    readonly partitionOf?: (i: number) => number
    readonly prefetchBytes?: number
    readonly sampleSteps?: number
    /** While it is looked at. */
    readonly meanwhile?: () => Promise<unknown>
  }
  const pipelineOf = (project: (records: RecordStream) => Observable<unknown>, { options, prefetchBytes }: Case): Observable<Commit> =>
    kit.cluster
      .source({ group: 'g', topics: ['in'], ...(prefetchBytes === undefined ? {} : { prefetchBytes }) })
      .pipe(withTransaction(project, { every: '100ms', ...options }))
  const feed = ({ records = 4_000, partitionOf = (i) => i % 4 }: Case): Promise<unknown> =>
    kit.feed(
      'in',
      Array.from({ length: records }, (_, i) => ({ key: `k${i}`, value: String(i), partition: partitionOf(i) })),
    )
  const analysed = async (project: (records: RecordStream) => Observable<unknown>, given: Case = {}): Promise<Analysis> => {
    await feed(given)
    const pipeline = pipelineOf(project, given)
    kit.run(pipeline)
    const found = analyze(pipeline, { for: '20s', sampleSteps: given.sampleSteps ?? 1 })
    await (given.meanwhile?.() ?? kit.advance('21s'))
    return found
  }
  const sleep = (ms: number): Promise<void> => new Promise((resolve) => kit.clock.after(ms, resolve))
  const copy = (records: RecordStream): Observable<unknown> => records.pipe(toTopic({ topic: 'out' }))

  it('nothing, where it keeps up', async () => {
    const found = await analysed(copy, { records: 100 })
    expect(found).toMatchObject({ bound: 'nothing', keepsUp: true, lag: { after: 0 }, findings: [{ what: 'it keeps up' }] })
    expect(found.findings).toHaveLength(1)
  })

  it('nothing, where records go on coming and are done with time to spare', async () => {
    const found = await analysed(copy, {
      records: 100,
      meanwhile: async () => {
        for (let second = 0; second < 21; second++) {
          await feed({ records: 100 })
          await kit.advance('1s')
        }
      },
    })
    expect(found).toMatchObject({ bound: 'nothing', keepsUp: true })
    expect(found.recordsPerSecond).toBeGreaterThan(50)
  })

  it('user code that computes, and in which operator', async () => {
    const found = analysisOf([await statuses()])
    expect(found).toMatchObject({ bound: 'code', keepsUp: false })
    expect(found.findings[0].step).toMatch(/^operator 2 of 3 of the pipe at .*analyze\.test\.ts/)
    expect(found.findings[0].what).toContain('computes')
    expect(found.findings[0].share).toBeGreaterThan(0.9)
  })

  it('user code that waits, and in which operator', async () => {
    const found = await analysed((records) =>
      records.pipe(
        mergeMap((record) => sleep(1_000).then(() => record), 1),
        toTopic({ topic: 'out' }),
      ),
    )
    expect(found.bound).toBe('code')
    expect(found.findings[0].step).toMatch(/^operator 1 of 2 of the pipe at .*analyze\.test\.ts/)
    expect(found.findings[0].what).toContain('waits for something of its own')
  })

  it('calls, with their step, number and length', async () => {
    const found = await analysed((records) =>
      records.pipe(
        attempt(() => sleep(1_000), { step: 'charge', concurrency: 2 }),
        dropFailed(),
        toTopic({ topic: 'out' }),
      ),
    )
    expect(found).toMatchObject({ bound: 'downstream', findings: [{ step: 'charge' }] })
    expect(found.findings[0].evidence).toContainEqual(expect.stringMatching(/^'charge': \d+ calls of 1000 ms on the average, 2 at once/))
    expect(found.findings[0].advice[0]).toBe("raise concurrency of 'charge', if the service takes it")
  })

  it('a sink outside the log whose transactions are slow to commit', async () => {
    const store = new MemoryStore()
    store.faults.onCommit = () => sleep(1_000)
    const write = (tx: MemoryTx, some: readonly RawRecord[]): void => void tx.lines.push(...some.map(({ value }) => String(value)))
    const settings = { name: 'lines', batch: 10, repeatable: false, within: 30_000, onBehind: 'stop' } as const
    const found = await analysed((records) => records.pipe(toExternal<MemoryTx, RawRecord>('toDatabase', store, write, settings)), {
      options: { maxRecords: 10 },
    })
    expect(found).toMatchObject({ bound: 'downstream', findings: [{ what: 'a sink or a store outside the log is waited for' }] })
    expect(found.findings[0].evidence[1]).toMatch(/^0 % waiting for calls, (9\d|100) % for commits of sinks$/)
    expect(found.findings[0].advice[0]).toContain('see the system outside')
    expect(found.findings[0].step).toBeUndefined()
  })

  it.each([
    ['end', undefined, 'commit', 'raise every'],
    ['produce', 'out', 'broker', 'see the brokers'],
  ] as const)('a slow %s of %s', async (at, of, bound, advice) => {
    kit.broker.faults.inject({ at, delayMs: 1_000, times: Number.POSITIVE_INFINITY, ...(of === undefined ? {} : { of }) })
    const found = await analysed(copy, { options: { maxRecords: 10 } })
    expect(found.bound).toBe(bound)
    expect(found.findings[0].advice[0]).toContain(advice)
    expect(found.findings[0].share).toBeGreaterThan(0.9)
  })

  it('fetching', async () => {
    kit.broker.faults.inject({ at: 'fetch', delayMs: 1_000, times: Number.POSITIVE_INFINITY })
    // In many batches: one is fetched at a time.
    for (let i = 0; i < 100; i++) await feed({ records: 40 })
    const found = await analysed(copy, { prefetchBytes: 1, records: 40 })
    expect(found.bound).toBe('fetch')
    expect(found.findings[0].advice[0]).toContain('raise prefetchBytes')
  })

  it('one partition that has all there is to do', async () => {
    const slow = (records: RecordStream): Observable<unknown> => records.pipe(mergeMap((record) => sleep(1_000).then(() => record), 1))
    const found = await analysed(slow, { partitionOf: (i) => (i < 12 ? i % 4 : 2) })
    expect(found.bound).toBe('skew')
    expect(found.findings[0].what).toMatch(/^partition 2 has \d+ % of the lag/)
    // What takes its time is told as well.
    expect(found.findings[1]?.bound).toBe('code')
  })

  it('rebalances that follow one another', async () => {
    kit.broker.faults.inject({ at: 'join', delayMs: 15_000, times: Number.POSITIVE_INFINITY, after: 1 })
    const found = await analysed(copy, {
      records: 100,
      meanwhile: async () => {
        for (let i = 0; i < 7; i++) {
          kit.broker.rebalance('g')
          await feed({ records: 1_000 })
          await kit.advance('3s')
        }
      },
    })
    expect(found.bound).toBe('rebalances')
    expect(found.findings[0].advice[0]).toContain('instanceId')
  })

  it('failures, where transactions are given up again and again', async () => {
    kit.broker.faults.inject({ at: 'end', reaction: 'abort', times: Number.POSITIVE_INFINITY })
    const found = await analysed(copy)
    expect(found.bound).toBe('failures')
    expect(found.findings[0].evidence[1]).toMatch(/^\d+ given up, 0 committed/)
  })

  const statuses = async (): Promise<readonly [PipelineStatus, PipelineStatus]> => {
    await feed({ records: 600 })
    const pipeline = pipelineOf(
      (records) =>
        records.pipe(
          map((record) => record),
          map((record) => {
            kit.clock.spend(50)
            return record
          }),
          toTopic({ topic: 'out' }),
        ),
      { options: { sampleSteps: 1 } },
    )
    kit.run(pipeline)
    const before = statusOf(pipeline).snapshot()
    await kit.advance('31s')
    const after = statusOf(pipeline).snapshot()
    // As one that is still behind.
    return [before, { ...after, lag: { ...after.lag, records: 1_000_000 } }]
  }

  it('garbage collection, as the process measures it', async () => {
    setFlagsFromString('--expose-gc')
    const collect = runInNewContext('gc') as () => void
    const [before, after] = await statuses()
    const gcMs = (): number => statusOf(pipelineOf(copy, {})).snapshot().process.gcMs
    const began = gcMs()
    collect()
    await until(() => gcMs() > began, { what: 'the collection to be seen' })
    expect(statusOf(pipelineOf(copy, {})).snapshot().process.heapLiveBytes).toBeGreaterThan(0)
    const collecting = (ms: number): PipelineStatus => ({ ...after, process: { ...after.process, gcMs: before.process.gcMs + ms } })
    expect(analysisOf([[before, collecting(90_000)]]).bound).toBe('memory')
    expect(analysisOf([[before, collecting(90)]]).bound).toBe('code')
  })

  it('a heap that is nearly full', async () => {
    const [before, after] = await statuses()
    const full = { ...after, process: { ...after.process, heapLiveBytes: 90, heapLimitBytes: 100 } }
    expect(analysisOf([[before, full]]).findings[0]).toMatchObject({ bound: 'memory', what: 'the heap is nearly full' })
  })

  it('looks at a group as a whole: one member is behind, by one partition, and the other has nothing to do', async () => {
    const [before, after] = await statuses()
    const of = (status: PipelineStatus, own: readonly number[], lagOf: (partition: number) => number): PipelineStatus => ({
      ...status,
      tasks: status.tasks.filter(({ partition }) => own.includes(partition)),
      partitions: status.partitions.filter(({ partition }) => own.includes(partition)).map((at) => ({ ...at, lag: lagOf(at.partition) })),
      lag: { ...status.lag, records: own.reduce((sum, partition) => sum + lagOf(partition), 0) },
    })
    const one = [before, after].map((status) => of(status, [0, 1], (partition) => (partition === 0 ? 5_000 : 10)))
    const other = [before, after].map((status) => of(status, [2, 3], () => 0))
    expect(analysisOf([one, other])).toMatchObject({ bound: 'skew', members: 2, keepsUp: false })
    // Where the lag is spread it is the code.
    const even = [before, after].map((status) => of(status, [0, 1], () => 5_000))
    expect(analysisOf([even, other])).toMatchObject({ bound: 'code', members: 2 })
  })

  it('turns sampling off again, and says so of what does not run or has failed', async () => {
    const pipeline = pipelineOf(copy, {})
    const idle = analyze(pipeline, { for: '1s' })
    await kit.advance('2s')
    expect(await idle).toMatchObject({ bound: 'nothing', findings: [{ what: 'it does not run: idle' }] })
    kit.run(pipeline)
    await kit.advance('1s')
    const found = analyze(pipeline, { for: '2s', sampleSteps: 3 })
    await kit.advance('1s')
    expect(statusOf(pipeline).snapshot().time.sampled.oneIn).toBe(3)
    await kit.advance('2s')
    await found
    const last = statusOf(pipeline).snapshot()
    expect(last.time.sampled.oneIn).toBeUndefined()
    const failed: PipelineStatus = { ...last, state: 'failed' }
    expect(analysisOf([[last, failed]])).toMatchObject({ bound: 'failures', keepsUp: false })
    await expect(analyze(pipeline, { for: '-1s' })).rejects.toMatchObject({ code: 'INVALID_OPTIONS' })
  })
})

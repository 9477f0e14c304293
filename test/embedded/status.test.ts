import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { NEVER, Subject, map, mergeMap, tap, type Observable } from 'rxjs'
import {
  aggregate,
  attempt,
  circuitBreaker,
  count,
  deadLetter,
  delayUntil,
  json,
  retryTopic,
  statusOf,
  toTopic,
  withTransaction,
  type Commit,
  type PipelineStatus,
  type RecordStream,
  type TransactionOptions,
} from '../../src/index.js'
import { Chronicle } from '../../src/runtime/status/chronicle.js'
import { WaitBoard } from '../../src/record/wait-report.js'
import { TaskInputs } from '../../src/runtime/task-inputs.js'
import { createTestKit, type TestKit } from '../../src/testing/index.js'

const SECRET = 'customer-4711'

describe('status', () => {
  let kit: TestKit

  beforeEach(async () => {
    kit = await createTestKit({ topics: { in: { partitions: 2 }, out: { partitions: 2 }, dead: {} }, start: 1_000_000 })
  })
  afterEach(async () => {
    vi.restoreAllMocks()
    await kit.stop()
  })

  const pipelineOf = (project: (records: RecordStream) => Observable<unknown>, options: TransactionOptions = {}): Observable<Commit> =>
    kit.cluster.source({ group: 'g', topics: ['in'] }).pipe(withTransaction(project, { every: '100ms', provision: true, ...options }))
  const feed = (values: readonly string[], timestamp = kit.clock.now()): Promise<number> =>
    kit.feed(
      'in',
      values.map((value) => ({ key: SECRET, value, partition: 0, timestamp })),
    )
  const placeOf = ({ partitions }: PipelineStatus, topic = 'in', partition = 0): PipelineStatus['partitions'][number] | undefined =>
    partitions.find((at) => at.topic === topic && at.partition === partition)
  const copy = (records: RecordStream): Observable<unknown> => records.pipe(toTopic({ topic: 'out' }))

  it('tells of a pipeline that was not subscribed, runs, and was stopped', async () => {
    const pipeline = pipelineOf(copy)
    const status = statusOf(pipeline.pipe(map((commit) => commit.records)))
    expect(status.snapshot()).toMatchObject({ state: 'idle', group: 'g', topics: ['in'], operators: ['toTopic'], tasks: [] })
    const run = kit.run(pipeline)
    await feed(['a', 'b', 'c'])
    await kit.advance('1s')
    expect(status.snapshot()).toMatchObject({
      state: 'running',
      member: { state: 'stable', generation: 1 },
      taskCount: 2,
      tasks: [
        { partition: 0, state: 'running', lag: 0 },
        { partition: 1, state: 'running', lag: 0 },
      ],
      lag: { records: 0, ms: 0 },
      totals: { records: 3, processed: 3, outputs: 3 },
      written: { out: 3 },
      transaction: undefined,
      rebalances: { count: 1 },
      waits: [],
      lastError: undefined,
    })
    expect(placeOf(status.snapshot())).toMatchObject({ position: 3, committed: 3, end: 3, lag: 0, lagMs: 0 })
    const { commits, rates } = status.snapshot()
    expect(commits.last).toMatchObject({ records: 3, outputs: 3 })
    expect([commits.committed, commits.duration.count, commits.commit.count]).toEqual([1, 1, 1])
    expect(rates.records).toBeGreaterThan(1)
    await run.stop()
    expect(status.snapshot()).toMatchObject({ state: 'stopped', tasks: [], totals: { records: 3 } })
    expect(kit.cluster.status.snapshot().pipelines.map(({ state }) => state)).toEqual(['stopped'])
  })

  const stuckOnOne = (): { readonly pipeline: Observable<Commit>; readonly release: Subject<void> } => {
    const release = new Subject<void>()
    const held = (records: RecordStream): Observable<unknown> =>
      records.pipe(
        mergeMap(async (record) => {
          if (String(record.value) === 'slow') await new Promise<void>((resolve) => release.subscribe(() => resolve()))
          return record
        }),
        toTopic({ topic: 'out' }),
      )
    return { pipeline: pipelineOf(held), release }
  }

  it('goes on telling while nothing commits: age and step of the transaction, lag that grows in records and in time', async () => {
    const { pipeline, release } = stuckOnOne()
    kit.run(pipeline)
    const status = statusOf(pipeline)
    await feed(['a'])
    await kit.advance('1s')
    await feed(['slow'])
    await kit.advance('10s')
    await feed(['b', 'c'])
    await kit.advance('20s')
    const seen = status.snapshot()
    expect(seen.transaction).toMatchObject({
      state: 'finishing',
      records: 1,
      heldBy: [expect.stringMatching(/^operator 1 of 2 of the pipe at .*status\.test\.ts/)],
    })
    expect(seen.transaction?.openMs).toBeGreaterThanOrEqual(29_000)
    // One marker of a transaction lies between.
    expect(placeOf(seen)).toMatchObject({ committed: 1, end: 4, lag: 3 })
    expect(seen.lag).toEqual({ records: 3, ms: 30_000 })
    release.next()
    await kit.advance('1s')
    expect(status.snapshot()).toMatchObject({ lag: { records: 0, ms: 0 }, totals: { records: 4 } })
  })

  it('lag in time goes by the next record, also where it is fetched and not taken, or within a batch', async () => {
    const { pipeline, release } = stuckOnOne()
    kit.run(pipeline)
    await kit.advance('1s')
    await kit.feed('in', [
      { key: 'k', value: 'a', partition: 0, timestamp: kit.clock.now() - 60_000 },
      { key: 'k', value: 'b', partition: 0, timestamp: kit.clock.now() - 40_000 },
    ])
    await kit.advance('1s')
    await feed(['slow'])
    await kit.advance('1s')
    // Not taken by anybody: a round is under way that takes no more in.
    await kit.feed('in', [{ key: 'k', value: 'c', partition: 1, timestamp: kit.clock.now() - 90_000 }])
    await kit.advance('5s')
    expect(placeOf(statusOf(pipeline).snapshot(), 'in', 1)).toMatchObject({ lag: 1, lagMs: 95_000 })
    // A broken variant is noticed: without the queue's time, nothing is known.
    vi.spyOn(TaskInputs.prototype, 'nextTime').mockReturnValue(undefined)
    expect(placeOf(statusOf(pipeline).snapshot(), 'in', 1)).toMatchObject({ lag: 1, lagMs: undefined })
    release.next()
  })

  it('a pipeline behind an open breaker says so, and what it waits for', async () => {
    const breaker = circuitBreaker({ failures: 1, resetAfter: '60s' })
    const pipeline = pipelineOf((records) =>
      records.pipe(
        attempt(
          () => {
            throw new Error(`no answer for ${SECRET}`)
          },
          { breaker, step: 'charge' },
        ),
        deadLetter({ topic: 'dead' }),
      ),
    )
    kit.run(pipeline)
    await feed(['a', 'b'])
    await kit.advance('20s')
    const seen = statusOf(pipeline).snapshot()
    expect(seen.breakers).toEqual([{ step: 'charge', state: 'open', retryInMs: expect.any(Number) as number }])
    expect(seen.transaction).toMatchObject({ state: 'finishing', waits: { outside: 1 } })
    expect(seen.lag).toEqual({ records: 2, ms: 20_000 })
    expect(seen.events.map(({ message }) => message).join()).toContain('a circuit breaker opened')
  })

  it('retries, timers, dead letters, stores and counts by outcome; and nothing out of the records', async () => {
    const pipeline = pipelineOf((records) =>
      records.pipe(
        attempt((record) => {
          if (String(record.value).startsWith(SECRET)) throw new RangeError(`refused ${String(record.value)}`)
        }),
        retryTopic({ delays: ['1h'] }),
        deadLetter({ topic: 'dead' }),
        aggregate(count()),
        delayUntil(() => kit.clock.now() + 3_600_000, { name: 'later', value: json() }),
        toTopic({ topic: 'out', value: json() }),
      ),
    )
    kit.run(pipeline)
    await feed([SECRET, 'fine', 'fine too'])
    await kit.advance('30s')
    const status = statusOf(pipeline)
    let seen = status.snapshot()
    expect(seen.totals).toMatchObject({ records: 3, processed: 2, failed: 1 })
    expect(seen.retries).toMatchObject([{ topic: 'in.g.retry.1h' }])
    expect(seen.retries[0]?.records).toBeGreaterThan(0)
    expect(seen.retries[0]?.nextDueAt).toBeGreaterThan(kit.clock.now() + 3_000_000)
    expect(seen.lag.records).toBe(0)
    expect(seen.deadLetters).toEqual({ total: 0, byTopic: { dead: 0 } })
    expect(seen.stores.map(({ name, keys }) => [name, keys > 0])).toContainEqual(['aggregate', true])
    await kit.advance('1h')
    await kit.advance('10s')
    seen = status.snapshot()
    expect(seen.deadLetters).toEqual({ total: 1, byTopic: { dead: 1 } })
    expect(seen.meters).toMatchObject({ 'retry.1h.sent': 1, 'retry.1h.taken': 1 })
    const text = JSON.stringify(seen)
    // All but what the process has done meanwhile.
    expect(JSON.parse(text)).toEqual({ ...JSON.parse(JSON.stringify(status.snapshot())), process: { ...seen.process } })
    expect(text).not.toContain(SECRET)
  })

  /** A slice fails and its task is set aside; then the pipeline ends with it. */
  const failing = async (): Promise<{ readonly seen: PipelineStatus; readonly ended: PipelineStatus }> => {
    const parse = (): void => void JSON.parse(SECRET)
    const pipeline = pipelineOf((records) => records.pipe(tap(parse), toTopic({ topic: 'out' })), { retries: 3, retryDelay: '10s' })
    kit.run(pipeline)
    await feed(['a'])
    await kit.advance('5s')
    const seen = statusOf(pipeline).snapshot()
    await kit.advance('10m').catch(() => {})
    return { seen, ended: statusOf(pipeline).snapshot() }
  }

  it('a slice that fails: its task is set aside, with what and without the text; then what the pipeline failed with', async () => {
    const { seen, ended } = await failing()
    expect(seen.tasks[0]).toMatchObject({ state: 'set-aside', why: { where: 'slice', name: 'SyntaxError', message: undefined } })
    expect([seen.commits.aborted, seen.lag.records]).toEqual([1, 1])
    expect(ended).toMatchObject({ state: 'failed', lastError: { where: 'end', code: 'RECORD_FAILED', message: undefined } })
    expect(JSON.stringify([seen, ended])).not.toContain(SECRET)
  })

  it('would notice texts of errors that hold a part of a record', async () => {
    vi.spyOn(WaitBoard, 'sayable').mockImplementation((error) => (error as Error).message)
    expect(JSON.stringify(await failing())).toContain(SECRET.slice(0, 8))
  })

  it('restoring, rebalances and their number', async () => {
    const counting = (records: RecordStream): Observable<unknown> => records.pipe(aggregate(count()))
    const first = kit.run(pipelineOf(counting))
    await feed(Array.from({ length: 500 }, (_, i) => String(i)))
    await kit.advance('1s')
    await first.stop()
    const restored: PipelineStatus[] = []
    const pipeline = pipelineOf(counting)
    kit.broker.pause('g-aggregate-changelog')
    kit.run(pipeline)
    await kit.advance('8s')
    restored.push(statusOf(pipeline).snapshot())
    expect(restored[0]?.tasks[0]).toMatchObject({ state: 'restoring', restoring: { done: 0 } })
    expect(restored[0]?.tasks[0]?.restoring?.total).toBeGreaterThan(0)
    expect(restored[0]?.tasks[0]?.restoring?.forMs).toBeGreaterThanOrEqual(7_000)
    expect(restored[0]?.waits.map(({ what }) => what).join()).toContain('for state to restore')
    kit.broker.resume('g-aggregate-changelog')
    await kit.advance('1s')
    expect(
      statusOf(pipeline)
        .snapshot()
        .tasks.map(({ state }) => state),
    ).toEqual(['running', 'running'])
    kit.broker.rebalance('g')
    await kit.advance('10s')
    const { rebalances, state } = statusOf(pipeline).snapshot()
    expect([rebalances.count, rebalances.recent, rebalances.duration.count, state]).toEqual([2, 2, 2, 'running'])
  })

  it('changes come by the clock, at most one for each time, and none where nothing changed', async () => {
    const pipeline = pipelineOf(copy)
    const seen: PipelineStatus[] = []
    let ended = false
    statusOf(pipeline)
      .changes({ every: '10s' })
      .subscribe({ next: (status) => seen.push(status), complete: () => (ended = true) })
    const run = kit.run(pipeline)
    for (let i = 0; i < 20; i++) {
      await feed([String(i)])
      await kit.advance('1s')
    }
    expect(seen.length).toBeLessThanOrEqual(3)
    expect(seen.at(-1)?.totals.records).toBeGreaterThan(10)
    await kit.advance('2m')
    const quiet = seen.length
    await kit.advance('5m')
    expect(seen.length).toBe(quiet)
    await run.stop()
    await kit.advance('10s')
    expect([seen.at(-1)?.state, ended]).toEqual(['stopped', true])
    expect(() => statusOf(pipeline).changes({ every: 0 })).toThrow(/every: must be more than zero/)
    expect(() => statusOf(NEVER)).toThrow(/statusOf takes what withTransaction made/)
  })

  it('does nothing for a record: as much is written down for 10 as for 10,000, and looked at only when asked', async () => {
    const calls = async (records: number): Promise<number> => {
      const spies = [
        vi.spyOn(Chronicle.prototype, 'committed'),
        vi.spyOn(Chronicle.prototype, 'told'),
        vi.spyOn(Chronicle.prototype, 'failed'),
        vi.spyOn(TaskInputs.prototype, 'nextTime'),
      ]
      const before = commits.length
      await feed(Array.from({ length: records }, (_, i) => String(i)))
      await kit.advance('1s')
      const made = commits.length - before
      const called = spies.reduce((sum, spy) => sum + spy.mock.calls.length, 0)
      for (const spy of spies) spy.mockRestore()
      return called / made
    }
    const { commits } = kit.run(pipelineOf(copy))
    await calls(10)
    expect([await calls(10), await calls(10_000)]).toEqual([1, 1])
  })
})

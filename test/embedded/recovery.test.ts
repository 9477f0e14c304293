import { lastValueFrom, map, mergeMap, Subject, takeWhile, tap, timer, toArray, type Observable } from 'rxjs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  MillraceError,
  embedded,
  silentLogger,
  toTopic,
  withTransaction,
  type Cluster,
  type Commit,
  type RawRecord,
  type RecordStream,
  type TransactionOptions,
} from '../../src/index.js'
import { createEmbeddedBroker, type EmbeddedBroker, type Fault } from '../../src/testing/index.js'
import { contents, numbers, runUntil, sumOf, values } from '../support/pipelines.js'

const COUNT = 400
const all = numbers(COUNT)
  .map(({ value }) => value)
  .sort()
const out = toTopic<RawRecord>({ topic: 'out' })
/** However busy the machine is. */
const PATIENT = { timeout: 30_000 }

describe('recovery', () => {
  let broker: EmbeddedBroker
  let cluster: Cluster

  beforeEach(async () => {
    broker = createEmbeddedBroker()
    cluster = embedded({ broker, logger: silentLogger })
    await cluster.createTopics([
      { topic: 'in', partitions: 2 },
      { topic: 'out', partitions: 2 },
    ])
    await cluster.produce({ topic: 'in', records: numbers(COUNT) })
  })

  afterEach(() => cluster.close())

  const run = (options: TransactionOptions = {}): Promise<Commit[]> =>
    runUntil(cluster, { group: 'g', topics: ['in'], records: COUNT, options: { maxRecords: 50, ...options } }, (records) =>
      records.pipe(out),
    )

  const inOrder = async (): Promise<void> => {
    const written = await contents(cluster, 'out')
    expect(written.map(({ value }) => value).sort()).toEqual(all)
    for (const key of new Set(written.map((record) => record.key))) {
      const ofKey = written.filter((record) => record.key === key).map(({ value }) => Number(value))
      expect(ofKey).toEqual([...ofKey].sort((a, b) => a - b))
    }
  }

  const faults: Record<string, Fault> = {
    'a produce that fails': { at: 'produce', reaction: 'abort', after: 1 },
    'a produce that runs into its time limit': { at: 'produce', reaction: 'retry', after: 1 },
    'a producer that was fenced by a timeout': { at: 'produce', reaction: 'reinit', after: 2 },
    'offsets that are refused': { at: 'offsets', reaction: 'abort', after: 1, times: 2 },
    'a generation that is over at the commit': { at: 'offsets', reaction: 'lost', after: 2 },
    'a commit without an answer that took effect': { at: 'end', reaction: 'indeterminate', tookEffect: true, after: 1 },
    'a commit without an answer that did not': { at: 'end', reaction: 'indeterminate', tookEffect: false, after: 1 },
    'init that fails for a while': { at: 'init', reaction: 'retry', times: 2 },
    'joining that fails for a while': { at: 'join', reaction: 'retry', times: 1 },
    'stored offsets that cannot be read for a while': { at: 'committedOffsets', reaction: 'retry', times: 2 },
  }
  for (const [name, fault] of Object.entries(faults)) {
    it(`${name}: nothing lost, nothing twice, in order`, async () => {
      // Not the script's own producer, which has no transactional id.
      broker.faults.inject(fault)
      const commits = await run()
      await inOrder()
      expect(sumOf(commits, 'records')).toBe(COUNT)
    })
  }

  it('a commit is reported once also when its answer was lost', async () => {
    broker.faults.inject({ at: 'end', reaction: 'indeterminate', tookEffect: true, after: 1, times: 3 })
    const commits = await run()
    expect(sumOf(commits, 'outputs')).toBe(COUNT)
    await inOrder()
  })

  for (const tookEffect of [true, false]) {
    it(`a stop while the answer to its commit is lost, which ${tookEffect ? 'took effect' : 'did not take effect'}: ends in order, tells what was committed, leaves no transaction open`, async () => {
      const stop = new AbortController()
      broker.faults.inject({ at: 'end', reaction: 'indeterminate', tookEffect })
      const first = lastValueFrom(
        cluster.source({ group: 'g', topics: ['in'], signal: stop.signal }).pipe(
          withTransaction(
            (records) =>
              records.pipe(
                tap(() => stop.abort()),
                out,
              ),
            { every: 20 },
          ),
          toArray(),
        ),
      )
      const told = sumOf(await first, 'records')
      expect((await contents(cluster, 'out')).length).toBe(told)
      expect(told > 0).toBe(tookEffect)
      if (told < COUNT) await runUntil(cluster, { group: 'g', topics: ['in'], records: COUNT - told }, (records) => records.pipe(out))
      await inOrder()
    })
  }

  it('a refusal that nobody can cure ends the pipeline with its error', async () => {
    broker.faults.inject({ at: 'produce', reaction: 'fatal' })
    await expect(run()).rejects.toMatchObject({ code: 'BROKER_REFUSED' })
    expect(await values(cluster, 'out')).toEqual([])
  })

  describe('what no record is to blame for is charged to none, whatever onError says', () => {
    it.each(['BROKER_REFUSED', 'UNSUPPORTED_FORMAT', 'UNAUTHORIZED', 'MISSING_TOPIC'] as const)('the log refuses with %s', async (code) => {
      broker.faults.inject({ at: 'produce', reaction: 'abort', code, retryable: false })
      await expect(run({ onError: 'skip' })).rejects.toMatchObject({ code })
      expect(await values(cluster, 'out')).toEqual([])
      const commits = await run({ onError: 'skip' })
      expect([sumOf(commits, 'failed'), sumOf(commits, 'processed')]).toEqual([0, COUNT])
      await inOrder()
    })

    it.each(['CORRUPT_STATE', 'NOT_REPARTITIONED', 'STATE_MISMATCH', 'PLAN_FAILED'] as const)('a slice fails with %s', async (code) => {
      const project = (records: RecordStream): Observable<unknown> =>
        records.pipe(
          tap((r) => {
            if (String(r.value) === '7') throw new MillraceError(code, 'for the sake of the test')
          }),
          out,
        )
      const options = { onError: 'skip', maxRecords: 50 } as const
      await expect(runUntil(cluster, { group: 'g', topics: ['in'], records: COUNT, options }, project)).rejects.toMatchObject({ code })
      expect(await values(cluster, 'out')).not.toContain('9')
    })

    it.each(['RECORD_TOO_LARGE', 'INVALID_TIMESTAMP', 'RECORD_REFUSED'] as const)('but %s is', async (code) => {
      broker.faults.inject({ at: 'produce', reaction: 'abort', code, retryable: false, of: 'out/1', times: 60 })
      const commits = await run({ onError: 'skip', retries: 0 })
      expect(sumOf(commits, 'failed')).toBeGreaterThan(0)
    })
  })

  it('a session that ends in the middle of a slice: its outputs never appear, the records come again', async () => {
    let expired = false
    const commits = await runUntil(cluster, { group: 'g', topics: ['in'], records: COUNT, options: { maxRecords: 50 } }, (records) =>
      records.pipe(
        tap((record) => {
          // In the third slice: the commit of the first is over by then.
          if (String(record.value) === '149' && !expired) {
            expired = true
            broker.expire('g')
          }
        }),
        out,
      ),
    )
    expect(expired).toBe(true)
    await inOrder()
    expect(new Set(commits.map((commit) => commit.generation)).size).toBeGreaterThan(1)
  })

  it('two members share the partitions; one leaves and the other goes on, each record once', async () => {
    const seen: Commit[] = []
    // Until both have worked there is more to do, however late the second one comes.
    let pace = 50
    const member = (signal: AbortSignal): Promise<unknown> =>
      lastValueFrom(
        cluster.source({ group: 'g', topics: ['in'], signal }).pipe(
          withTransaction(
            (records) =>
              records.pipe(
                mergeMap((record) => timer(pace).pipe(map(() => record)), 2),
                out,
              ),
            { every: 10, maxRecords: 20 },
          ),
          tap((commit) => seen.push(commit)),
        ),
        { defaultValue: undefined },
      )
    const stops = [new AbortController(), new AbortController()] as const
    const first = member(stops[0].signal)
    await expect.poll(() => seen.length, PATIENT).toBeGreaterThan(1)
    const second = member(stops[1].signal)
    await expect.poll(() => broker.members('g').length, PATIENT).toBe(2)
    await expect
      .poll(
        () => new Set(seen.filter((commit) => commit.generation > 1).flatMap((commit) => commit.tasks.map((task) => task.partition))).size,
        PATIENT,
      )
      .toBe(2)
    pace = 1
    stops[0].abort()
    await first
    await expect.poll(() => values(cluster, 'out'), PATIENT).toEqual(all)
    stops[1].abort()
    await second
    expect(sumOf(seen, 'records')).toBe(COUNT)
  })

  it('a signal drains: what is in the slice commits, then the group is left and the observable completes', async () => {
    const stop = new AbortController()
    const gate = new Subject<void>()
    let entered = 0
    const commits = lastValueFrom(
      cluster.source({ group: 'g', topics: ['in'], signal: stop.signal }).pipe(
        withTransaction(
          (records) =>
            records.pipe(
              mergeMap((record) => {
                entered++
                return gate.pipe(
                  map(() => record),
                  takeWhile(() => false, true),
                )
              }),
              out,
            ),
          { every: 5, maxRecords: 10 },
        ),
        toArray(),
      ),
    )
    await expect.poll(() => entered).toBeGreaterThan(0)
    stop.abort()
    await expect.poll(() => entered).toBe(10)
    gate.next()
    const done = await commits
    expect(sumOf(done, 'records')).toBe(10)
    expect(await values(cluster, 'out')).toHaveLength(10)
    expect(broker.members('g')).toEqual([])
  })

  it('unsubscribing drains too, and close waits for it', async () => {
    const entered: string[] = []
    const gate = new Subject<void>()
    const held = (record: RawRecord) => {
      entered.push(String(record.value))
      return gate.pipe(
        map(() => record),
        takeWhile(() => false, true),
      )
    }
    const subscription = cluster
      .source({ group: 'g', topics: ['in'] })
      .pipe(withTransaction((records) => records.pipe(mergeMap(held), out), { every: 5, maxRecords: 10 }))
      .subscribe()
    await expect.poll(() => entered.length).toBe(10)
    subscription.unsubscribe()
    const closed = cluster.close()
    gate.next()
    await closed
    const reader = embedded({ broker })
    expect(await values(reader, 'out')).toEqual([...entered].sort())
    await reader.close()
    expect(broker.members('g')).toEqual([])
  })

  it('offsets deleted by retention stop the pipeline, unless told where to go on', async () => {
    await run()
    await cluster.produce({ topic: 'in', records: numbers(COUNT) })
    broker.truncate({ topic: 'in', partition: 0, offset: 300 })
    await expect(runUntil(cluster, { group: 'g', topics: ['in'], records: 1 }, (records) => records)).rejects.toMatchObject({
      code: 'OFFSET_OUT_OF_RANGE',
    })
    const rest = await lastValueFrom(
      cluster.source({ group: 'g', topics: ['in'], onOutOfRange: 'earliest' }).pipe(
        withTransaction((records) => records, { every: 10 }),
        takeWhile((commit) => commit.lag > 0, true),
        toArray(),
      ),
    )
    expect(sumOf(rest, 'records')).toBe(100 + 200)
  })

  it('what was fetched before the gap is written, though the log no longer holds it', async () => {
    await cluster.createTopics([{ topic: 'gap', partitions: 1 }])
    const feed = (from: number): Promise<number> =>
      cluster.produce({ topic: 'gap', records: Array.from({ length: 5 }, (_, i) => ({ value: `${from + i}` })) })
    await feed(0)
    const gate = new Subject<void>()
    let entered = 0
    const done = lastValueFrom(
      cluster.source({ group: 'g', topics: ['gap'], onOutOfRange: 'earliest' }).pipe(
        withTransaction(
          (records) =>
            records.pipe(
              mergeMap(async (record) => {
                if (++entered <= 5) await lastValueFrom(gate, { defaultValue: undefined })
                return record
              }),
              out,
            ),
          { every: 1_000 },
        ),
        takeWhile((commit) => commit.offsets[0]?.offset !== 10, true),
      ),
    )
    await expect.poll(() => entered).toBe(5)
    // The five are in an open slice when the reader finds that it cannot go on behind them.
    broker.pause('gap')
    await feed(5)
    broker.truncate({ topic: 'gap', partition: 0, offset: 7 })
    broker.resume('gap')
    await expect.poll(() => entered).toBeGreaterThan(5)
    gate.complete()
    await done
    expect((await contents(cluster, 'out')).map(({ value }) => value)).toEqual(['0', '1', '2', '3', '4', '7', '8', '9'])
  })

  it('at-least-once: outputs and offsets are written without a transaction', async () => {
    const commits = await run({ guarantee: 'at-least-once' })
    expect(sumOf(commits, 'outputs')).toBe(COUNT)
    await inOrder()
  })
})

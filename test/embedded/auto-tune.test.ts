import { map, mergeMap, type Observable } from 'rxjs'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import {
  attempt,
  dropFailed,
  statusOf,
  toTopic,
  withTransaction,
  type PipelineStatus,
  type RecordStream,
  type SourceOptions,
  type TransactionOptions,
} from '../../src/index.js'
import { openTelemetry } from '../../src/opentelemetry/index.js'
import { createTestKit, type TestKit } from '../../src/testing/index.js'

const memory = { part: 0.3, resident: 0 }
vi.mock('../../src/runtime/process-heap.js', () => ({
  processHeap: () => ({ live: memory.part * 1_000, limit: 1_000 }),
  thisProcess: {
    status: () => ({
      upMs: 0,
      busyMs: 0,
      gcMs: 0,
      heapUsedBytes: 0,
      heapLiveBytes: memory.part * 1_000,
      heapLimitBytes: 1_000,
      residentBytes: memory.resident * 1_000,
      residentLimitBytes: 1_000,
    }),
  },
}))

describe('autoTune', () => {
  let kit: TestKit
  let underWay = 0
  let most = 0

  beforeEach(async () => {
    memory.part = 0.3
    memory.resident = 0
    underWay = most = 0
    kit = await createTestKit({ topics: { in: { partitions: 2 }, out: { partitions: 2 } } })
  })
  afterEach(() => kit.stop())

  const run = (
    project: (records: RecordStream) => Observable<unknown>,
    options: TransactionOptions,
    source: Partial<SourceOptions> = {},
  ): (() => PipelineStatus) => {
    const pipeline = kit.cluster
      .source({ group: 'g', topics: ['in'], ...source })
      .pipe(withTransaction(project, { every: '1s', ...options }))
    kit.run(pipeline)
    return () => statusOf(pipeline).snapshot()
  }
  const feed = (records: number): Promise<unknown> =>
    kit.feed(
      'in',
      Array.from({ length: records }, (_, i) => ({ key: `k${i % 40}`, value: String(i), partition: i % 2 })),
    )
  const copy = (records: RecordStream): Observable<unknown> => records.pipe(toTopic({ topic: 'out' }))
  const call = async (): Promise<void> => {
    most = Math.max(most, ++underWay)
    await new Promise<void>((resolve) => kit.clock.after(1_000, resolve))
    underWay--
  }
  const calling =
    (concurrency: number) =>
    (records: RecordStream): Observable<unknown> =>
      records.pipe(attempt(call, { step: 'charge', concurrency }), dropFailed(), toTopic({ topic: 'out' }))
  const changes = (status: PipelineStatus): string[] =>
    status.events
      .filter(({ message }) => message.startsWith('autoTune'))
      .map(
        ({ message, fields: { step, name, from, to } }) => `${step === undefined ? '' : `${step}: `}${name} ${from} to ${to}; ${message}`,
      )
  const WAITED = 'autoTune raised concurrency: records wait, and calls are waited for'

  /** Each record once, and those of a key in the order they came. */
  const expectExact = async (records: number): Promise<void> => {
    const written = await kit.read('out')
    const values = written.map(({ value }) => Number(value))
    expect([...values].sort((a, b) => a - b)).toEqual(Array.from({ length: records }, (_, i) => i))
    const last = new Map<string, number>()
    for (const { key, value } of written) {
      expect(Number(value)).toBeGreaterThan(last.get(String(key)) ?? -1)
      last.set(String(key), Number(value))
    }
  }

  it('raises the calls at once behind a slow service, within its bounds; each record comes out once, in the order of its key', async () => {
    const status = run(calling(2), { maxRecords: 100, autoTune: { concurrency: { max: 8 } } })
    await feed(1_000)
    await kit.advance('10m')
    expect(changes(status())).toEqual([`charge: concurrency 2 to 4; ${WAITED}`, `charge: concurrency 4 to 8; ${WAITED}`])
    expect(status().time.calls).toMatchObject([{ step: 'charge', concurrency: 8 }])
    // In each of two partitions.
    expect(most).toBe(16)
    await expectExact(1_000)
  })

  it('is off unless asked for, and leaves steps alone that are one at a time', async () => {
    const off = run(calling(2), { maxRecords: 100 })
    await feed(200)
    await kit.advance('5m')
    expect([changes(off()), off().limits.maxRecords, most]).toEqual([[], 100, 4])
    await kit.stop()
    kit = await createTestKit({ topics: { in: { partitions: 2 }, out: { partitions: 2 } } })
    most = 0
    const ordered = run(calling(1), { maxRecords: 100, autoTune: true })
    await feed(200)
    await kit.advance('5m')
    expect([changes(ordered()), most]).toEqual([[], 2])
  })

  it('keeps a step one at a time that shares its name with one that is raised', async () => {
    let [strict, mostStrict] = [0, 0]
    const one = async (): Promise<void> => {
      mostStrict = Math.max(mostStrict, ++strict)
      await new Promise<void>((resolve) => kit.clock.after(10, resolve))
      strict--
    }
    const status = run(
      (records) =>
        records.pipe(
          attempt(one, { step: 'charge', concurrency: 1 }),
          attempt(call, { step: 'charge', concurrency: 2 }),
          dropFailed(),
          toTopic({ topic: 'out' }),
        ),
      { maxRecords: 100, autoTune: true },
    )
    await feed(600)
    await kit.advance('5m')
    expect(changes(status())[0]).toContain('concurrency 2 to 4')
    expect(mostStrict).toBe(2)
    await expectExact(600)
  })

  it('loses, doubles and reorders nothing over aborts, rebalances and a crash while settings change', async () => {
    const options: TransactionOptions = { maxRecords: 20, autoTune: { every: '2s' } }
    const status = run(calling(2), options)
    await feed(600)
    for (let i = 0; i < 12; i++) {
      kit.broker.faults.inject({ at: i % 2 === 0 ? 'end' : 'produce', reaction: 'abort' })
      if (i % 3 === 1) kit.broker.rebalance('g')
      await kit.advance('7s')
    }
    const other = kit.run(kit.cluster.source({ group: 'g', topics: ['in'] }).pipe(withTransaction(calling(2), { every: '1s', ...options })))
    await kit.advance('20s')
    await other.crash()
    await kit.advance('10m')
    expect(changes(status()).length).toBeGreaterThan(0)
    await expectExact(600)
  })

  it('lowers what is read ahead and held where memory is short, down to the bounds', async () => {
    const status = run(copy, { autoTune: { prefetchBytes: { min: 5_000_000 }, maxBytes: { min: 20_000_000 } } })
    const own = status().limits
    memory.part = 0.85
    for (let i = 0; i < 60; i++) {
      // Of the heap first, then of what the container may have.
      if (i === 10) [memory.part, memory.resident] = [0.3, 0.85]
      await feed(10)
      await kit.advance('5s')
    }
    expect(own).toEqual({ prefetchBytes: 16 * 1024 * 1024, maxRecords: 250_000, maxBytes: 24 * 1024 * 1024 })
    expect(status().limits).toEqual({ prefetchBytes: 5_000_000, maxRecords: 250_000, maxBytes: 20_000_000 })
    expect(changes(status()).map((text) => text.split(' ')[0])).toEqual(['prefetchBytes', 'prefetchBytes', 'maxBytes'])
    expect(changes(status())[0]).toMatch(/autoTune lowered prefetchBytes: memory is short$/)
  })

  it('has as much read ahead as is in force', async () => {
    let polls = 0
    const durations = { processed: () => {}, operated: (operation: string) => void (operation === 'poll' && polls++) }
    await kit.stop()
    kit = await createTestKit({ topics: { in: {}, out: {} }, telemetry: { ...openTelemetry(), durations } })
    let release = (): void => {}
    run(
      (records) =>
        records.pipe(mergeMap((record) => (String(record.value) === 'hold' ? new Promise<void>((resolve) => (release = resolve)) : []))),
      { every: '100ms', autoTune: true },
      { prefetchBytes: 5_000 },
    )
    /** How many batches are fetched while nothing is taken. */
    const ahead = async (): Promise<number> => {
      await kit.feed('in', [{ value: 'hold' }])
      await kit.advance('1s')
      const before = polls
      for (let i = 0; i < 20; i++) await kit.feed('in', [{ value: 'x'.repeat(100) }])
      const fetched = polls - before
      release()
      await kit.advance('1s')
      return fetched
    }
    const [wide] = [await ahead(), (memory.part = 0.85)]
    for (let i = 0; i < 20; i++) {
      await kit.feed('in', [{ value: 'x' }])
      await kit.advance('5s')
    }
    const narrow = await ahead()
    expect(wide).toBeGreaterThanOrEqual(5)
    expect(narrow).toBeLessThanOrEqual(2)
  })

  it('raises how many records a transaction may take where code is fast, and commits bound it', async () => {
    kit.broker.faults.inject({ at: 'end', delayMs: 500, times: Number.POSITIVE_INFINITY })
    const status = run(copy, { maxRecords: 10, autoTune: { maxRecords: { max: 35 } } })
    await feed(3_000)
    await kit.advance('10m')
    expect(status().limits.maxRecords).toBe(35)
    expect(changes(status()).map((text) => text.split(';')[0])).toEqual(['maxRecords 10 to 20', 'maxRecords 20 to 35'])
    await expectExact(3_000)
  })

  it('takes back what did no good, and does not try it again for long', async () => {
    kit.broker.faults.inject({ at: 'fetch', delayMs: 1_000, times: Number.POSITIVE_INFINITY })
    for (let i = 0; i < 150; i++) await feed(4)
    // One batch is fetched at a time, whether one byte is read ahead or two.
    const status = run(copy, { autoTune: true }, { prefetchBytes: 1 })
    await kit.advance('4m')
    expect(changes(status())).toEqual([
      'prefetchBytes 1 to 2; autoTune raised prefetchBytes: records wait in the log, and what is fetched is waited for',
      'prefetchBytes 2 to 1; autoTune lowered prefetchBytes: it did no good',
    ])
  })

  it('leaves all as it is while it keeps up', async () => {
    const status = run(
      (records) =>
        records.pipe(
          map((record) => record),
          attempt(() => new Promise<void>((resolve) => kit.clock.after(20, resolve)), { step: 'charge' }),
          dropFailed(),
          toTopic({ topic: 'out' }),
        ),
      { autoTune: { every: '2s' } },
    )
    for (let i = 0; i < 100; i++) {
      await feed(10 + (i % 7))
      await kit.advance('1s')
    }
    expect(changes(status())).toEqual([])
    expect(status().commits.committed).toBeGreaterThan(50)
  })

  it('what is set is in its bounds in any case, and bounds that are none are refused by name', async () => {
    const status = run(calling(8), { maxRecords: 100, autoTune: { concurrency: { max: 4 } } })
    await feed(400)
    await kit.advance('5m')
    expect([changes(status()), most]).toEqual([[], 16])
    const refused =
      (autoTune: object): (() => unknown) =>
      () =>
        withTransaction(copy, { autoTune })
    expect(refused({ concurrency: { min: 5, max: 2 } })).toThrow(/autoTune/)
    expect(refused({ maxRecords: { max: 0 } })).toThrow(/autoTune/)
    expect(refused({ every: '0s' })).toThrow(/autoTune/)
    expect(refused({ retries: {} })).toThrow(/autoTune/)
  })
})

import { map, mergeMap, of, throwError, type Observable } from 'rxjs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  dedupe,
  keepResult,
  memoryClaims,
  recordKey,
  silentLogger,
  taskClaims,
  toTopic,
  withTransaction,
  type BloomOptions,
  type ClaimStore,
  type Logger,
  type RecordStream,
  type TransactionOptions,
} from '../../src/index.js'
import { createTestKit, type TestKit } from '../../src/testing/index.js'
import { viewOf } from '../support/shared-claims.js'

const topics = { in: { partitions: 2 }, out: { partitions: 1 } }
const HOUR = 3_600_000

describe('dedupe with a Bloom filter', () => {
  let kit: TestKit<typeof topics>
  let store: ClaimStore
  let asked = 0
  let sizes: number[] = []
  let warned: string[] = []

  beforeEach(async () => {
    asked = 0
    sizes = []
    warned = []
    const logger: Logger = { ...silentLogger, warn: (_, message) => warned.push(message) }
    kit = await createTestKit({ topics, start: 1_000 * HOUR, logger })
    const memory = viewOf(memoryClaims({ clock: kit.clock }))
    const exclusive = memory.exclusive as NonNullable<typeof memory.exclusive>
    store = {
      ...memory,
      exclusive: {
        ...exclusive,
        get: (ids, sections) => ((asked += ids.length), exclusive.get(ids, sections)),
        put: (ids, keepMs, withinMs) => (sizes.push(ids.length), exclusive.put(ids, keepMs, withinMs)),
      },
    }
  })

  afterEach(() => kit.stop())

  const filtered = (bloom: Partial<BloomOptions> = {}) =>
    dedupe<RecordStream extends Observable<infer R> ? R : never>({
      by: recordKey(),
      within: '1h',
      store,
      bloom: { expected: 10_000, errorRate: 0.01, exclusive: true, ...bloom },
    })
  const run = (
    project: (records: RecordStream) => Observable<unknown> = (records) => records.pipe(filtered(), toTopic({ topic: 'out' })),
    options: TransactionOptions = {},
  ) =>
    kit.run(kit.cluster.source({ group: 'g', topics: ['in'] }).pipe(withTransaction(project, { every: 50, provision: true, ...options })))
  const feed = (ids: readonly (number | string)[]): Promise<number> =>
    kit.feed(
      'in',
      ids.map((id) => ({ key: `id-${id}`, value: String(id) })),
    )
  const range = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, i) => from + i)
  const out = async (): Promise<(string | null)[]> => (await kit.read('out', { from: 'earliest' })).map(({ value }) => value)

  it('asks for next to none of new ids, and writes them many at a time', async () => {
    run()
    await feed(range(0, 5_000))
    await kit.advance('1s')
    expect(await out()).toHaveLength(5_000)
    expect(asked).toBeLessThan(150)
    expect(Math.max(...sizes)).toBeGreaterThan(1_000)
  })

  it('checks each positive exactly, however often the filter is wrong', async () => {
    run((records) => records.pipe(filtered({ expected: 50, errorRate: 0.9 }), toTopic({ topic: 'out' })))
    await feed(range(0, 1_000))
    await feed([...range(500, 1_500), ...range(0, 100)])
    await kit.advance('1s')
    expect((await out()).map(Number).sort((a, b) => a - b)).toEqual(range(0, 1_500))
    expect(asked).toBeGreaterThan(500)
    expect(warned.filter((text) => text.includes('Raise bloom.expected')).length).toBeGreaterThan(0)
  })

  it('keeps the order, whoever has to be looked for', async () => {
    const seen: Record<number, number[]> = { 0: [], 1: [] }
    run((records) =>
      records.pipe(
        filtered({ expected: 100, errorRate: 0.5 }),
        map((record) => (seen[record.origin.partition]?.push(record.origin.offset), record)),
        toTopic({ topic: 'out' }),
      ),
    )
    await feed([...range(0, 500), ...range(250, 750)])
    await kit.advance('1s')
    for (const offsets of Object.values(seen)) expect(offsets).toEqual([...offsets].sort((a, b) => a - b))
    expect((seen[0]?.length ?? 0) + (seen[1]?.length ?? 0)).toBe(750)
  })

  it('knows after a crash, and on another member, what was seen before', async () => {
    const first = run()
    await feed(range(0, 300))
    await kit.advance('1s')
    await first.crash()
    run()
    await kit.advance('2m')
    await feed(range(0, 400))
    await kit.advance('1s')
    expect((await out()).map(Number).sort((a, b) => a - b)).toEqual(range(0, 400))
  })

  it('turns with time: an id passes again after it, the filters do not fill up, and the changelog stays short', async () => {
    run()
    for (let hour = 0; hour < 12; hour++) {
      await feed([...range(hour * 1_000, (hour + 1) * 1_000), 'always'])
      await kit.advance('30m')
      await feed(['always', ...range(hour * 1_000, hour * 1_000 + 10)])
      await kit.advance('31m')
    }
    const outputs = await out()
    expect(outputs.filter((value) => value === 'always')).toHaveLength(12)
    expect(outputs).toHaveLength(12 * 1_001)
    // 12,000 new ids, a few of which the filters of two hours take for known, and 11 a time that are.
    expect(asked).toBeLessThan(12 * (12 + 40))
    expect(warned).toEqual([])
    const live = new Map<string, boolean>()
    for (const { partition, key, value } of await kit.broker.records('g-dedupe-changelog'))
      live.set(`${partition} ${key?.toString('hex')}`, value !== null)
    expect([...live.values()].filter(Boolean).length).toBeLessThan(30)
  })

  it('frees the id of a record that fails for good', async () => {
    run(
      (records) =>
        records.pipe(
          filtered(),
          mergeMap((record) => (String(record.value) === 'poison' ? throwError(() => new Error('poison')) : of(record))),
          toTopic({ topic: 'out' }),
        ),
      { onError: 'skip' },
    )
    await kit.feed('in', [{ key: 'x', value: 'poison' }])
    await kit.advance('2s')
    await kit.feed('in', [
      { key: 'x', value: 'good' },
      { key: 'x', value: 'again' },
    ])
    await kit.advance('2s')
    expect(await out()).toEqual(['good'])
  })

  it('loses nothing where the store has lost what it held', async () => {
    run()
    await feed(range(0, 100))
    await kit.advance('1s')
    const section = Math.floor(kit.clock.now() / HOUR)
    await store.exclusive?.forget(section)
    await feed(range(0, 200))
    await kit.advance('1s')
    expect(new Set(await out()).size).toBe(200)
    expect(await out()).toHaveLength(300)
  })

  it('answers what happened to an id', async () => {
    run((records) =>
      records.pipe(
        filtered(),
        keepResult({ by: recordKey(), result: (record) => `made of ${String(record.value)}` }),
        toTopic({ topic: 'out' }),
      ),
    )
    await feed([1, 2, 1])
    await kit.advance('1s')
    await feed([1])
    await kit.advance('1s')
    const found = await store.find('id-1')
    expect(found).toMatchObject({ state: 'passed', duplicates: 2, result: 'made of 1' })
    expect((found?.until ?? 0) - (found?.at ?? 0)).toBe(HOUR)
    expect(await store.find('id-2')).toMatchObject({ duplicates: 0 })
    expect(await store.find('id-3')).toBeUndefined()
  })

  it('is refused by name where it cannot be right', () => {
    const made =
      (options: object): (() => unknown) =>
      () =>
        dedupe({ by: recordKey(), within: '1h', store, ...options } as never)
    expect(made({ bloom: { expected: 10 } })).toThrow(/bloom.exclusive: a filter knows only what its own task has seen/)
    expect(made({ bloom: { expected: 10, exclusive: false } })).toThrow(/bloom.exclusive/)
    expect(made({ bloom: { expected: 10, exclusive: true }, store: 'task' })).toThrow(/bloom: is for a shared store/)
    expect(made({ bloom: { expected: 10, exclusive: true }, store: taskClaims() })).toThrow(/bloom: is for a shared store/)
    expect(made({ bloom: { expected: 10, exclusive: true }, waitAtMost: '1s' })).toThrow(/waitAtMost: is for ids that others claim too/)
    expect(made({ bloom: { expected: 0, exclusive: true } })).toThrow(/bloom.expected/)
    expect(made({ bloom: { expected: 10, errorRate: 1, exclusive: true } })).toThrow(/bloom.errorRate/)
    const { exclusive: _, ...without } = store
    expect(made({ bloom: { expected: 10, exclusive: true }, store: without })).toThrow(/bloom: the store 'memory' has no part/)
  })
})

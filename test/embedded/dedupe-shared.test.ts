import { map, mergeMap, of, throwError, type Observable } from 'rxjs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  MillraceError,
  dedupe,
  header,
  keepResult,
  memoryClaims,
  record,
  recordKey,
  silentLogger,
  taskClaims,
  toTopic,
  withTransaction,
  type ClaimStore,
  type Commit,
  type Logger,
  type RecordStream,
  type TransactionOptions,
} from '../../src/index.js'
import { createTestKit, type TestKit } from '../../src/testing/index.js'
import { viewOf } from '../support/shared-claims.js'

const topics = { a: { partitions: 2 }, b: { partitions: 2 }, out: { partitions: 1 } }
const ofId = (id: string, partition = 0, value = id): { value: string; partition: number; headers: { id: string } } => ({
  value,
  partition,
  headers: { id },
})

describe('dedupe with a shared store', () => {
  let kit: TestKit<typeof topics>
  let store: ClaimStore
  const warned: string[] = []
  const logger: Logger = { ...silentLogger, warn: (_, message) => warned.push(message) }

  beforeEach(async () => {
    kit = await createTestKit({ topics, start: 1_000_000, logger })
    store = memoryClaims({ clock: kit.clock })
    warned.length = 0
  })

  afterEach(() => kit.stop())

  const byId = (claims: ClaimStore, more: object = {}) =>
    dedupe<RecordStream extends Observable<infer R> ? R : never>({ by: header('id'), within: '10m', store: claims, ...more })
  const pipeline = (
    name: 'a' | 'b',
    claims: ClaimStore,
    project: (records: RecordStream) => Observable<unknown> = (records) => records.pipe(byId(claims), toTopic({ topic: 'out' })),
    options: TransactionOptions = {},
  ) => kit.cluster.source({ group: name, topics: [name], sessionTimeout: '10s' }).pipe(withTransaction(project, { every: 50, ...options }))
  const out = async (): Promise<(string | null)[]> => (await kit.read('out', { from: 'earliest' })).map(({ value }) => value).sort()

  it('passes one of each id over partitions and pipelines, and asks many at a time', async () => {
    const sizes: number[] = []
    const counted: ClaimStore = {
      ...viewOf(store),
      claim: (requests, terms) => (sizes.push(requests.length), store.claim(requests, terms)),
    }
    const runs = [kit.run(pipeline('a', counted)), kit.run(pipeline('b', counted))]
    const records = Array.from({ length: 1_000 }, (_, i) => ofId(String(i % 400), i % 2))
    await kit.feed('a', records)
    await kit.feed('b', records)
    await kit.advance('1s')
    expect(await out()).toEqual(Array.from({ length: 400 }, (_, i) => String(i)).sort())
    const sum = (field: 'duplicate' | 'processed'): number =>
      runs.flatMap(({ commits }) => commits).reduce((total, commit: Commit) => total + commit[field], 0)
    expect([sum('processed'), sum('duplicate')]).toEqual([400, 1_600])
    expect(Math.max(...sizes)).toBeGreaterThan(100)
  })

  it('keeps the order of a partition, failures and duplicates in their places', async () => {
    const seen: string[] = []
    kit.run(
      pipeline('a', store, (records) =>
        records.pipe(
          byId(store),
          map((one) => (seen.push(String(one.value)), one)),
          toTopic({ topic: 'out' }),
        ),
      ),
    )
    await kit.feed(
      'a',
      Array.from({ length: 1_500 }, (_, i) => ofId(String(i), 0)),
    )
    await kit.advance('1s')
    expect(seen).toEqual(Array.from({ length: 1_500 }, (_, i) => String(i)))
  })

  it('waits for the claim of another until its transaction has committed', async () => {
    // The first claims, and takes its time.
    let release: () => void = () => {}
    const slow = new Promise<void>((resolve) => (release = resolve))
    kit.run(
      pipeline('a', store, (records) =>
        records.pipe(
          byId(store),
          mergeMap(async (one) => (await slow, one)),
          toTopic({ topic: 'out' }),
        ),
      ),
    )
    await kit.feed('a', ofId('x', 0, 'from a'))
    const b = kit.run(pipeline('b', store))
    await kit.feed('b', [ofId('x', 0, 'from b'), ofId('y', 1)])
    await kit.advance('3s')
    expect(await out()).toEqual([])
    release()
    await kit.advance('1s')
    expect(await out()).toEqual(['from a', 'y'])
    expect(b.commits.reduce((sum, { duplicate }) => sum + duplicate, 0)).toBe(1)
  })

  it('gives its slice up when that takes too long, lets other tasks go on, and fails no record for it', async () => {
    await store.claim([{ id: 'x', origin: { topic: 'elsewhere', partition: 0, offset: 5 } }], {
      group: 'gone',
      transaction: 't',
      generation: 1,
      withinMs: 600_000,
    })
    const b = kit.run(pipeline('b', store, undefined, { retries: 0 }))
    await kit.feed('b', [ofId('x', 0), ofId('after', 0), ofId('other', 1)])
    await kit.advance('30s')
    expect(await out()).toEqual(['other'])
    // From takeOverAfter on the claim counts no longer.
    await kit.advance('100s')
    expect(await out()).toEqual(['after', 'other', 'x'])
    expect(b.commits.reduce((sum, { failed }) => sum + failed, 0)).toBe(0)
  })

  it('knows by the committed offset of its group that a claimant has committed, though it died before it could say so', async () => {
    const view = viewOf(store)
    const silent: ClaimStore = { ...view, end: () => new Promise(() => {}) }
    const a = kit.run(pipeline('a', silent))
    await kit.feed('a', ofId('x'))
    await kit.advance('200ms')
    await a.crash()
    expect((await store.find('x'))?.state).toBe('pending')
    const b = kit.run(pipeline('b', store))
    await kit.feed('b', ofId('x'))
    await kit.advance('1s')
    expect(await out()).toEqual(['x'])
    expect(b.commits.map(({ duplicate }) => duplicate)).toEqual([1])
  })

  it('the heir of a claimant that died before its commit passes the record', async () => {
    const view = viewOf(store)
    kit.broker.faults.inject({ at: 'end', reaction: 'indeterminate', tookEffect: false, delayMs: 600_000 })
    const a = kit.run(pipeline('a', view))
    await kit.feed('a', ofId('x'))
    await kit.advance('100ms')
    view.crash()
    await a.crash()
    kit.run(pipeline('a', store))
    kit.run(pipeline('b', store))
    await kit.feed('b', ofId('x', 1, 'from b'))
    await kit.advance('1m')
    expect(await out()).toEqual(['x'])
  })

  it('frees the id of a record that fails for good', async () => {
    kit.run(
      pipeline(
        'a',
        store,
        (records) =>
          records.pipe(
            byId(store),
            mergeMap((one) => (String(one.value) === 'poison' ? throwError(() => new Error('poison')) : of(one))),
            toTopic({ topic: 'out' }),
          ),
        { onError: 'skip' },
      ),
    )
    await kit.feed('a', ofId('x', 0, 'poison'))
    await kit.advance('2s')
    await kit.feed('a', ofId('x', 1, 'good'))
    await kit.advance('2s')
    expect(await out()).toEqual(['good'])
  })

  it('does not commit what others may have taken over meanwhile', async () => {
    let slowly = true
    const takes = (one: unknown): Promise<unknown> =>
      new Promise((resolve) => (slowly ? kit.clock.after(30_000, () => resolve(one)) : resolve(one)))
    kit.run(
      pipeline('a', store, (records) =>
        records.pipe(
          byId(store, { takeOverAfter: '40s' }),
          mergeMap((one) => takes(one).then(() => one)),
          toTopic({ topic: 'out' }),
        ),
      ),
    )
    await kit.feed('a', ofId('x'))
    await kit.advance('100s')
    expect(await out()).toEqual([])
    expect(warned).toContainEqual(expect.stringMatching(/aborted and will be run again/))
    slowly = false
    await kit.advance('60s')
    expect(await out()).toEqual(['x'])
  })

  it('takes nothing in while the store hangs or fails, and loses nothing', async () => {
    let down = false
    let hanging: (() => void)[] = []
    const flaky: ClaimStore = {
      ...viewOf(store),
      async claim(requests, terms) {
        if (down) await new Promise<void>((resolve) => hanging.push(resolve))
        return store.claim(requests, terms)
      },
    }
    const a = kit.run(pipeline('a', flaky, undefined, { maxRecords: 10 }))
    await kit.feed(
      'a',
      Array.from({ length: 50 }, (_, i) => ofId(String(i), i % 2)),
    )
    await kit.advance('1s')
    down = true
    await kit.feed(
      'a',
      Array.from({ length: 500 }, (_, i) => ofId(String(i + 50), i % 2)),
    )
    await kit.advance('10m')
    const before = a.commits.reduce((sum, { records }) => sum + records, 0)
    expect(before).toBe(50)
    expect(warned).toContainEqual(expect.stringContaining('waits for its store'))
    // A member more, and one less, do not wait for it either.
    const second = kit.run(pipeline('a', store))
    await kit.advance('1m')
    await second.stop()
    down = false
    for (const go of hanging) go()
    hanging = []
    await kit.advance('1m')
    expect(await out()).toHaveLength(550)
    expect(new Set(await out()).size).toBe(550)
  })

  it('a store that refuses for good ends the pipeline, by name', async () => {
    const refusing: ClaimStore = { ...viewOf(store), claim: () => Promise.reject(new MillraceError('CLAIM_STORE_FAILED', 'no rights')) }
    kit.run(pipeline('a', refusing))
    await expect(kit.feed('a', ofId('x')).then(() => kit.advance('5s'))).rejects.toMatchObject({ code: 'CLAIM_STORE_FAILED' })
  })

  it('answers what happened to an id, with duplicates and result', async () => {
    kit.run(
      pipeline('a', store, (records) =>
        records.pipe(
          byId(store),
          keepResult({ by: header('id'), result: (one) => `made of ${String(one.value)}` }),
          toTopic({ topic: 'out' }),
        ),
      ),
    )
    await kit.feed('a', [ofId('x', 0, 'v1'), ofId('x', 0, 'v2'), ofId('x', 1, 'v3')])
    await kit.advance('1s')
    expect(await store.find('x')).toMatchObject({
      id: 'x',
      state: 'passed',
      duplicates: 2,
      result: expect.stringMatching(/^made of v[13]$/) as string,
    })
    const own = taskClaims()
    kit.run(
      pipeline(
        'b',
        store,
        (records) =>
          records.pipe(
            dedupe({ by: recordKey(), within: '1h', store: own, name: 'seen' }),
            keepResult({ by: recordKey(), result: (one) => String(one.value), of: 'seen' }),
            toTopic({ topic: 'out' }),
          ),
        { provision: true },
      ),
    )
    await kit.feed('b', [
      { key: 'k', value: '1' },
      { key: 'k', value: '2' },
    ])
    await kit.advance('1s')
    expect(own.find('k')).toMatchObject({ state: 'passed', duplicates: 1, result: '1' })
  })

  it('refuses two of one name, which would share what they keep', async () => {
    kit.run(pipeline('a', store, (records) => records.pipe(byId(store), byId(memoryClaims()), toTopic({ topic: 'out' }))))
    await expect(kit.advance('1s')).rejects.toMatchObject({
      code: 'PLAN_FAILED',
      message: expect.stringContaining("two of dedupe 'dedupe'") as string,
    })
    kit.run(
      pipeline('b', store, (records) => records.pipe(byId(store), byId(memoryClaims(), { name: 'second' }), toTopic({ topic: 'out' }))),
    )
    await kit.feed('b', [ofId('x'), ofId('x')])
    await kit.advance('1s')
    expect(await out()).toEqual(['x'])
  })

  it('refuses records without an origin, options of the other kind of store, and a keepResult without its dedupe', async () => {
    expect(() => byId(store, { maxIds: 5 })).toThrow(/maxIds: is for the task's own store/)
    expect(() => byId(store, { partitioned: true })).toThrow(/partitioned: /)
    expect(() => dedupe({ by: recordKey(), within: 1, waitAtMost: 5 })).toThrow(/waitAtMost: is for a shared store/)
    expect(() => dedupe({ by: recordKey(), within: 1, store: {} as ClaimStore })).toThrow(/store: expected/)
    kit.run(
      pipeline('a', store, (records) =>
        records.pipe(
          map(({ value }) => record({ key: null, value, headers: { id: 'x' } })),
          byId(store),
          toTopic({ topic: 'out' }),
        ),
      ),
    )
    await expect(kit.feed('a', ofId('x')).then(() => kit.advance('1s'))).rejects.toMatchObject({
      code: 'INVALID_OPTIONS',
      message: expect.stringContaining('was not read from a topic') as string,
    })
    kit.run(pipeline('b', store, (records) => records.pipe(keepResult({ by: header('id'), result: () => '' }), toTopic({ topic: 'out' }))))
    await expect(kit.feed('b', ofId('x')).then(() => kit.advance('1s'))).rejects.toMatchObject({
      code: 'INVALID_OPTIONS',
      message: expect.stringContaining("no dedupe of the name 'dedupe'") as string,
    })
  })
})

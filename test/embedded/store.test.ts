import { map, merge, mergeMap, of, type Observable } from 'rxjs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  embedded,
  json,
  record as newRecord,
  silentLogger,
  store,
  string,
  timedStore,
  toTopic,
  withStore,
  type Cluster,
  type Commit,
  type RecordStream,
  type StoreHandle,
  type TransactionOptions,
} from '../../src/index.js'
import { VirtualClock, createEmbeddedBroker, type EmbeddedBroker, type Fault } from '../../src/testing/index.js'
import { inVirtualTime } from '../support/fast-run.js'
import { contents, runUntil, sumOf } from '../support/pipelines.js'

const COUNT = 300
const input = Array.from({ length: COUNT }, (_, i) => ({ key: `k${i % 7}`, value: String(i), timestamp: 1_000 + i }))

describe('store', () => {
  let clock: VirtualClock
  let broker: EmbeddedBroker
  let cluster: Cluster

  beforeEach(async () => {
    clock = new VirtualClock(1_000_000)
    broker = createEmbeddedBroker({ clock })
    cluster = embedded({ broker, clock, logger: silentLogger })
    await inVirtualTime(clock, cluster.createTopics(['in', 'out'].map((topic) => ({ topic, partitions: 2 }))))
  })

  afterEach(() => inVirtualTime(clock, cluster.close()))

  const run = (
    records: number,
    project: (records: RecordStream) => Observable<unknown>,
    options: TransactionOptions = {},
  ): Promise<Commit[]> =>
    inVirtualTime(
      clock,
      runUntil(
        cluster,
        { group: 'g', topics: ['in'], records, options: { maxRecords: 20, provision: true, retries: 0, ...options } },
        project,
      ),
    )
  const produce = (records: readonly { readonly key: string; readonly value: string; readonly timestamp?: number }[]): Promise<number> =>
    inVirtualTime(clock, cluster.produce({ topic: 'in', records }))
  const read = (topic: string) => inVirtualTime(clock, contents(cluster, topic))
  /** What the changelog holds in the end, by key. */
  const changelog = async (name: string): Promise<Record<string, string>> => {
    const last: Record<string, string> = {}
    for (const { key, value } of await read(`g-${name}-changelog`)) {
      if (value === null) delete last[key as string]
      else last[key as string] = value
    }
    return last
  }

  const visits = store<{ readonly n: number }>({ name: 'visits' })
  const counting = (records: RecordStream): Observable<unknown> =>
    records.pipe(
      withStore(visits, (mine, record) => record.with({ value: mine.update(record.key as Buffer, (was) => ({ n: (was?.n ?? 0) + 1 })) })),
      toTopic({ topic: 'out', value: json() }),
    )
  const highest = async (): Promise<Record<string, number>> => {
    const last: Record<string, number> = {}
    for (const { key, value } of await read('out')) last[key as string] = (JSON.parse(value as string) as { n: number }).n
    return last
  }
  const expected = Object.fromEntries(Array.from({ length: 7 }, (_, k) => [`k${k}`, input.filter(({ key }) => key === `k${k}`).length]))

  const faults: Record<string, Fault> = {
    'an aborted produce': { at: 'produce', reaction: 'abort', after: 3, times: 2 },
    'refused offsets': { at: 'offsets', reaction: 'abort', after: 2, times: 2 },
    'a lost generation': { at: 'offsets', reaction: 'lost', after: 3 },
    'a commit without an answer that took effect': { at: 'end', reaction: 'indeterminate', tookEffect: true, after: 2 },
    'a commit without an answer that did not': { at: 'end', reaction: 'indeterminate', tookEffect: false, after: 2 },
  }
  for (const [name, fault] of Object.entries(faults)) {
    it(`commits and rolls back with the offsets, through ${name} and a restart`, async () => {
      await produce(input.slice(0, 200))
      const injected = broker.faults.inject(fault)
      await run(200, counting)
      expect(injected.hits).toBe(fault.times ?? 1)
      await produce(input.slice(200))
      const commits = await run(100, counting)
      expect(await highest()).toEqual(expected)
      expect(sumOf(commits, 'processed')).toBe(100)
    })
  }

  it('the same check notices state that is not rolled back', async () => {
    await produce(input)
    broker.faults.inject(faults['refused offsets'] as Fault)
    const outside = new Map<string, number>()
    await run(COUNT, (records) =>
      records.pipe(
        map((record) => {
          const n = (outside.get(String(record.key)) ?? 0) + 1
          outside.set(String(record.key), n)
          return record.with({ value: { n } })
        }),
        toTopic({ topic: 'out', value: json() }),
      ),
    )
    expect(await highest()).not.toEqual(expected)
  })

  it('gives what was put, also by others in the same slice; deletes; walks', async () => {
    const log: unknown[] = []
    const both = store<string>({ name: 'both', value: string() as never })
    const first = (mine: StoreHandle<string>, value: string): void => {
      mine.put(value, `of ${value}`)
      mine.put(Buffer.from([0, 255]), 'odd')
    }
    await produce([{ key: 'a', value: 'x' }])
    await run(1, (records) =>
      merge(
        records.pipe(withStore(both, (mine, record) => first(mine, String(record.value)))),
        records.pipe(
          withStore(both, (mine) => {
            log.push(
              mine.get('x'),
              mine.get(Buffer.from('x')),
              mine.has('y'),
              mine.size,
              mine.delete('y'),
              mine.delete('x'),
              mine.get('x'),
              mine.size,
            )
            log.push(
              [...mine.entries()],
              mine.update('z', (was) => (was === undefined ? 'new' : undefined)),
              mine.update('z', () => undefined),
              mine.has('z'),
            )
          }),
        ),
      ),
    )
    expect(log).toEqual(['of x', 'of x', false, 2, false, true, undefined, 1, [[Buffer.from([0, 255]), 'odd']], 'new', undefined, false])
    // What came and went in one transaction was never written.
    expect((await read('g-both-changelog')).map(({ key }) => key)).toEqual([String(Buffer.from([0, 255]))])
  })

  it('opens several at once', async () => {
    const [names, ages] = [store<string>({ name: 'names' }), timedStore<number>({ name: 'ages' })]
    const seen: unknown[] = []
    await produce([{ key: 'a', value: 'x' }])
    await run(1, (records) =>
      records.pipe(
        withStore({ names, ages }, (at, record) => {
          at.names.put(record.key as Buffer, 'Ann')
          at.ages.put('a', 5, 30)
          seen.push(at.names.get('a'), at.ages.get('a', 5))
        }),
      ),
    )
    expect(seen).toEqual(['Ann', 30])
  })

  const remember = (bounds: object, seen: string[][] = []) => {
    const kept = store<string>({ name: 'kept', ...bounds })
    return (records: RecordStream): Observable<unknown> =>
      records.pipe(
        withStore(kept, (mine, record) => {
          mine.put(record.key as Buffer, String(record.value))
          seen.push([...mine.entries()].map(([key]) => String(key)).sort())
        }),
      )
  }

  it('ttl by event time: entries go when later records come, from the changelog too, and come back with a rollback', async () => {
    const seen: string[][] = []
    await inVirtualTime(clock, cluster.createTopics([{ topic: 'one', partitions: 1 }]))
    const project = remember({ ttl: 100 }, seen)
    const events = [
      ['a', 1_000],
      ['b', 1_050],
      ['a', 1_080],
      ['c', 1_149],
      ['d', 1_150],
      ['e', 1_180],
    ] as const
    await inVirtualTime(
      clock,
      cluster.produce({ topic: 'one', records: events.map(([key, timestamp]) => ({ key, value: 'v', timestamp })) }),
    )
    broker.faults.inject({ at: 'offsets', reaction: 'abort', after: 4 })
    await inVirtualTime(
      clock,
      runUntil(cluster, { group: 'g', topics: ['one'], records: events.length, options: { maxRecords: 1, provision: true } }, project),
    )
    // The fifth transaction ran twice: what it had evicted was there again.
    expect(seen).toEqual([['a'], ['a', 'b'], ['a', 'b'], ['a', 'b', 'c'], ['a', 'c', 'd'], ['a', 'c', 'd'], ['c', 'd', 'e']])
    // Under no key: how far time had come.
    expect(Object.keys(await changelog('kept')).sort()).toEqual(['', 'c', 'd', 'e'])
    await inVirtualTime(clock, cluster.produce({ topic: 'one', records: [{ key: 'f', value: 'v', timestamp: 1_249 }] }))
    await inVirtualTime(clock, runUntil(cluster, { group: 'g', topics: ['one'], records: 1, options: { provision: true } }, project))
    expect(seen.at(-1)).toEqual(['d', 'e', 'f'])
  })

  it('ttl by event time: a restart does not set the time back', async () => {
    const seen: string[][] = []
    await inVirtualTime(clock, cluster.createTopics([{ topic: 'one', partitions: 1 }]))
    const kept = store<string>({ name: 'kept', ttl: 100 })
    const project = (records: RecordStream): Observable<unknown> =>
      records.pipe(
        withStore(kept, (mine, record) => {
          if (record.value !== null) mine.put(record.key as Buffer, String(record.value))
          seen.push([...mine.entries()].map(([key]) => key.toString('hex')).sort())
        }),
      )
    const feed = async (key: string | Buffer, value: string | null, timestamp: number): Promise<void> => {
      await inVirtualTime(clock, cluster.produce({ topic: 'one', records: [{ key, value, timestamp }] }))
      await inVirtualTime(clock, runUntil(cluster, { group: 'g', topics: ['one'], records: 1, options: { provision: true } }, project))
    }
    // Keys that could be taken for what stands for the time.
    await feed(Buffer.from([0xff]), 'v', 10_000)
    await feed('', 'v', 10_001)
    // Nothing is put, but time goes on.
    await feed('x', null, 10_050)
    // Its life is over at 9,950: it goes at once, after the restart as before.
    await feed('late', 'v', 9_950)
    await feed('late', 'v', 9_951)
    expect(seen).toEqual([['ff'], ['', 'ff'], ['', 'ff'], ['', 'ff'], ['', '6c617465', 'ff']])
  })

  it('ttl by the wall clock: looked at whenever a record comes, also after a restart', async () => {
    await inVirtualTime(clock, cluster.createTopics([{ topic: 'one', partitions: 1 }]))
    const seen: string[][] = []
    const project = remember({ ttl: { after: '1h', by: 'wall' } }, seen)
    const feed = async (key: string): Promise<void> => {
      await inVirtualTime(clock, cluster.produce({ topic: 'one', records: [{ key, value: 'v', timestamp: 1 }] }))
      await inVirtualTime(clock, runUntil(cluster, { group: 'g', topics: ['one'], records: 1, options: { provision: true } }, project))
    }
    await feed('a')
    await clock.advance('40m')
    await feed('b')
    await clock.advance('30m')
    await feed('c')
    await clock.advance('30m')
    await feed('d')
    expect(seen.map((keys) => keys.join(''))).toEqual(['a', 'ab', 'bc', 'cd'])
    expect(Object.keys(await changelog('kept')).sort()).toEqual(['c', 'd'])
  })

  it('maxEntries: those put longest ago go first, and a restart keeps the bound', async () => {
    await inVirtualTime(clock, cluster.createTopics([{ topic: 'one', partitions: 1 }]))
    const seen: string[][] = []
    const project = remember({ maxEntries: 2 }, seen)
    const feed = async (keys: string, from: number): Promise<void> => {
      await inVirtualTime(
        clock,
        cluster.produce({ topic: 'one', records: [...keys].map((key, i) => ({ key, value: 'v', timestamp: from + i })) }),
      )
      await inVirtualTime(
        clock,
        runUntil(cluster, { group: 'g', topics: ['one'], records: keys.length, options: { provision: true } }, project),
      )
    }
    await feed('abac', 1)
    expect(seen.map((keys) => keys.join(''))).toEqual(['a', 'ab', 'ab', 'ac'])
    await feed('d', 10)
    expect(seen.at(-1)?.join('')).toBe('cd')
    expect(Object.keys(await changelog('kept')).sort()).toEqual(['c', 'd'])
  })

  it('timed keys: stretches of time, the last before, ttl', async () => {
    await inVirtualTime(clock, cluster.createTopics([{ topic: 'one', partitions: 1 }]))
    const prices = timedStore<number>({ name: 'prices', ttl: 100 })
    const seen: unknown[] = []
    const project = (records: RecordStream): Observable<unknown> =>
      records.pipe(
        withStore(prices, (mine, record) => {
          mine.update('gold', record.timestamp, (was) => (was ?? 0) + Number(record.value))
          seen.push(mine.range('gold', record.timestamp - 50), mine.last('gold', record.timestamp - 1))
        }),
      )
    const at = (timestamp: number, value: number): Promise<number> =>
      inVirtualTime(clock, cluster.produce({ topic: 'one', records: [{ key: 'gold', value: String(value), timestamp }] }))
    const go = (): Promise<Commit[]> =>
      inVirtualTime(clock, runUntil(cluster, { group: 'g', topics: ['one'], records: 1, options: { provision: true } }, project))
    await at(1_000, 1)
    await go()
    await at(1_060, 2)
    await go()
    await at(1_060, 3)
    await go()
    await at(1_100, 4)
    await go()
    // 1,000 is over at 1,100; one that is over when it comes is gone at once.
    await at(990, 5)
    await go()
    expect(seen).toEqual([
      [[1_000, 1]],
      undefined,
      [[1_060, 2]],
      [1_000, 1],
      [[1_060, 5]],
      [1_000, 1],
      [
        [1_060, 5],
        [1_100, 4],
      ],
      [1_060, 5],
      [
        [1_060, 5],
        [1_100, 4],
      ],
      undefined,
    ])
  })

  it('refuses older values without a migration, and migrates with one', async () => {
    await produce([{ key: 'a', value: 'x' }])
    const project =
      (definition: ReturnType<typeof store<{ text: string }>>, seen: unknown[] = []) =>
      (records: RecordStream): Observable<unknown> =>
        records.pipe(
          withStore(definition, (mine) => {
            seen.push(mine.get('a'))
            mine.put('a', { text: 'new' })
          }),
        )
    await run(1, (records) => records.pipe(withStore(store<string>({ name: 'm' }), (mine) => mine.put('a', 'old'))))
    await produce([{ key: 'a', value: 'x' }])
    await expect(run(1, project(store<{ text: string }>({ name: 'm', version: 2 })))).rejects.toMatchObject({ code: 'STATE_MISMATCH' })
    const seen: unknown[] = []
    await run(
      1,
      project(
        store<{ text: string }>({ name: 'm', version: 2, migrate: (old, version) => ({ text: `${String(old)} of ${version}` }) }),
        seen,
      ),
    )
    expect(seen).toEqual([{ text: 'old of 1' }])
  })

  it('a value that cannot be stored is blamed on the record that put it', async () => {
    const any = store<unknown>({ name: 'any' })
    await produce(input.slice(0, 10))
    const commits = await run(
      10,
      (records) =>
        records.pipe(
          withStore(any, (mine, record) => mine.put(record.key as Buffer, String(record.value) === '4' ? 10n : 'fine')),
          map(() => undefined),
        ),
      { onError: 'skip' },
    )
    expect(sumOf(commits, 'failed')).toBe(1)
    await produce(input.slice(0, 1))
    await expect(run(1, (records) => records.pipe(withStore(any, (mine) => mine.put('a', null))))).rejects.toMatchObject({
      cause: { code: 'ENCODE_FAILED', message: expect.stringContaining("store 'any': null was put") as string },
    })
  })

  it('says so when it is used outside a slice, after it, or in a branch that planning did not see', async () => {
    const failed: unknown[] = []
    of(newRecord({ key: 'a', value: 1 }))
      .pipe(withStore(visits, () => 1))
      .subscribe({ error: (error: unknown) => failed.push(error) })
    expect(failed).toMatchObject([
      { code: 'OUTSIDE_SLICE', message: expect.stringContaining("withStore 'visits' was subscribed outside a slice") as string },
    ])

    let leaked: StoreHandle<{ readonly n: number }> | undefined
    await produce([{ key: 'a', value: 'x' }])
    await run(1, (records) => records.pipe(withStore(visits, (mine) => (leaked = mine))))
    expect(() => leaked?.get('a')).toThrow(
      expect.objectContaining({
        code: 'OUTSIDE_SLICE',
        message: expect.stringContaining("store 'visits' was used after its slice had ended") as string,
      }),
    )

    await produce([{ key: 'a', value: 'x' }])
    const hidden = (records: RecordStream): Observable<unknown> =>
      records.pipe(mergeMap((record) => of(record).pipe(withStore(visits, () => 1))))
    await expect(run(1, hidden)).rejects.toMatchObject({ code: 'NOT_PLANNED', message: expect.stringContaining("'visits'") as string })
  })

  it('refuses wrong options by name', () => {
    expect(() => store({ name: 'a b' })).toThrow(/name: names of state/)
    expect(() => store({ name: 'a', ttl: 'soon' as never })).toThrow(/ttl: expected a time span/)
    expect(() => store({ name: 'a', maxEntries: 0 })).toThrow(/maxEntries/)
    expect(() => timedStore({ name: 'a', maxEntries: 1 } as never)).toThrow(/unknown option 'maxEntries'/)
    expect(() => withStore({} as never, () => 1)).toThrow(/first argument/)
    expect(() => withStore(visits, undefined as never)).toThrow(/second argument/)
  })
})

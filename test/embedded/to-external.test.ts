import { concatMap, delay, filter, from, map, merge, mergeMap, of, tap, throwError, type Observable } from 'rxjs'
import { describe, expect, it, vi } from 'vitest'
import {
  aggregate,
  count,
  delayUntil,
  json,
  repartition,
  silentLogger,
  toTopic,
  tumbling,
  window,
  withTransaction,
  type MillraceError,
  type RawRecord,
  type RecordStream,
  type StoredRow,
  type StreamRecord,
  type TransactionOptions,
} from '../../src/index.js'
import { TaskMarks } from '../../src/sinks/external/task-marks.js'
import { toExternal } from '../../src/sinks/external/to-external.js'
import { createTestKit, sliceOf, type TestKit } from '../../src/testing/index.js'
import { Again, Away, MemoryStore, Poison, type MemoryTx } from '../support/memory-store.js'

type AnyRecord = StreamRecord<unknown, unknown>

const kitOf = (partitions = 1): Promise<TestKit> =>
  createTestKit({
    topics: { in: { partitions }, out: { partitions }, dead: { partitions } },
    start: 1_000_000,
    logger: silentLogger,
  })

const settings = { name: 'lines', batch: 3, repeatable: false, within: 30_000, onBehind: 'stop' } as const
const lineOf = ({ value }: AnyRecord): string => (Buffer.isBuffer(value) ? value.toString() : JSON.stringify(value))
const write = (tx: MemoryTx, records: readonly AnyRecord[]): void => void tx.lines.push(...records.map(lineOf))
const sink = <R extends AnyRecord>(store: MemoryStore, more: Partial<Parameters<typeof toExternal>[3]> = {}) =>
  toExternal<MemoryTx, R>('toDatabase', store, write, { ...settings, ...more })

const run = (kit: TestKit, project: (records: RecordStream) => Observable<unknown>, options: TransactionOptions = {}) =>
  kit.run(kit.cluster.source({ group: 'g', topics: ['in'] }).pipe(withTransaction(project, { every: 50, provision: true, ...options })))
const values = (from: number, to: number): string[] => Array.from({ length: to - from }, (_, i) => `v${from + i}`)
const feed = (kit: TestKit, given: readonly string[]) =>
  kit.feed(
    'in',
    given.map((value) => ({ key: 'k', value })),
  )
const row = (store: MemoryStore, topic = 'in', name = 'lines', partition = 0) =>
  store.rows.get(JSON.stringify(['g', name, topic, partition]))
const failureOf = async (kit: TestKit, act: () => Promise<unknown>): Promise<MillraceError> => {
  try {
    await act()
    await kit.advance('1s')
    await kit.stop()
  } catch (error) {
    await kit.stop().catch(() => {})
    return error as MillraceError
  }
  throw new Error('it did not fail')
}

describe('a sink outside the log', () => {
  it('writes the records of a transaction in one of its own, in batches, with where the task stands', async () => {
    const [kit, store] = [await kitOf(), new MemoryStore()]
    const calls: number[] = []
    run(kit, (records) =>
      records.pipe(
        toExternal(
          'toDatabase',
          store,
          (tx: MemoryTx, some: readonly RawRecord[]) => {
            calls.push(some.length)
            write(tx, some)
          },
          settings,
        ),
        toTopic({ topic: 'out' }),
      ),
    )
    await feed(kit, values(0, 7))
    await kit.advance(100)
    expect(store.lines).toEqual(values(0, 7))
    expect(calls).toEqual([3, 3, 1])
    expect({ begun: store.begun, committed: store.committed }).toEqual({ begun: 1, committed: 1 })
    expect(row(store)).toEqual({ position: 7, epoch: 1, gaps: '0', owed: '' })
    expect(await kit.read('out')).toHaveLength(7)
    await kit.stop()
  })

  it('keeps up with the log where nothing is to be written', async () => {
    const [kit, store] = [await kitOf(), new MemoryStore()]
    run(kit, (records) =>
      records.pipe(
        filter(({ value }) => String(value) === 'v3'),
        sink(store),
      ),
    )
    await feed(kit, values(0, 5))
    await kit.advance(100)
    await feed(kit, ['x', 'y'])
    await kit.advance(100)
    expect(store.lines).toEqual(['v3'])
    expect(row(store)).toMatchObject({ position: 7, gaps: '5:5 2' })
    await kit.stop()
  })

  it('writes nothing again when the transaction of the log fails behind it, and makes the outputs again', async () => {
    const [kit, store] = [await kitOf(), new MemoryStore()]
    kit.broker.faults.inject({ at: 'offsets', reaction: 'abort' })
    const member = run(kit, (records) => records.pipe(sink(store), toTopic({ topic: 'out' })), { maxRecords: 4 })
    await feed(kit, values(0, 10))
    await kit.advance('2s')
    expect(store.lines).toEqual(values(0, 10))
    expect((await kit.read('out')).map(({ value }) => String(value))).toEqual(values(0, 10))
    expect(member.commits.reduce((sum, { meters }) => sum + (meters['lines.repeated'] ?? 0), 0)).toBe(4)
    await kit.stop()
  })

  it('one that another has taken the positions of joins again, and writes nothing twice', async () => {
    const [kit, store] = [await kitOf(), new MemoryStore()]
    run(kit, (records) => records.pipe(sink(store)), { maxRecords: 4 })
    await feed(kit, values(0, 4))
    await kit.advance(100)
    const before = store.begun
    await store.take('g', [{ sink: 'lines', topic: 'in', partition: 0, start: 0 }])
    await feed(kit, values(4, 8))
    await kit.advance('5s')
    expect(store.begun - before).toBeGreaterThan(1)
    expect(store.lines).toEqual(values(0, 8))
    await kit.stop()
  })

  it('ends when its positions are taken again and again: another program has its group', async () => {
    const [kit, store] = [await kitOf(), new MemoryStore()]
    store.faults.onCommit = async () => {
      await store.take('g', [{ sink: 'lines', topic: 'in', partition: 0, start: 0 }])
    }
    const error = await failureOf(kit, async () => {
      run(kit, (records) => records.pipe(sink(store)))
      await feed(kit, values(0, 4))
      await kit.advance('5m')
    })
    expect(error).toMatchObject({ code: 'SINK_FENCED' })
    expect(error.message).toMatch(/another program.*group 'g'/)
    expect(store.lines).toEqual([])
  })

  it('takes nothing in while the system is away, loses nothing, and a stop does not wait for it', async () => {
    const [kit, store] = [await kitOf(), new MemoryStore()]
    let taken = 0
    let away = true
    store.faults.onTake = () => {
      if (away) throw new Away('down')
    }
    const pipeline = (records: RecordStream) =>
      records.pipe(
        tap(() => taken++),
        sink(store),
      )
    const first = run(kit, pipeline, { maxRecords: 4 })
    await feed(kit, values(0, 20))
    await kit.advance('2m')
    expect(taken).toBe(4)
    await first.stop()
    run(kit, pipeline, { maxRecords: 4 })
    await kit.advance('10s')
    away = false
    await kit.advance('10s')
    expect(store.lines).toEqual(values(0, 20))
    await kit.stop()
  })

  it('what hangs is given up after its time and written again over another connection', async () => {
    const [kit, store] = [await kitOf(), new MemoryStore()]
    let hangs = true
    const slow = (tx: MemoryTx, records: readonly RawRecord[]): unknown => {
      if (hangs) {
        hangs = false
        return new Promise(() => {})
      }
      return write(tx, records)
    }
    run(kit, (records) => records.pipe(toExternal('toDatabase', store, slow, { ...settings, within: 1_000 })))
    await feed(kit, values(0, 4))
    await kit.advance('3s')
    expect(store.lines).toEqual(values(0, 4))
    expect(store.rolledBack).toBe(1)
    await kit.stop()
  })

  it('a transaction that the system undid for a conflict is written again whole', async () => {
    const [kit, store] = [await kitOf(2), new MemoryStore()]
    let conflicts = 3
    let runs = 0
    store.faults.onCommit = () => {
      if (conflicts-- > 0) throw new Again('deadlock')
    }
    run(kit, (records) =>
      records.pipe(
        tap(() => runs++),
        sink(store),
      ),
    )
    await kit.feed(
      'in',
      values(0, 8).map((value, i) => ({ key: 'k', value, partition: i % 2 })),
    )
    await kit.advance('3s')
    expect([...store.lines].sort()).toEqual(values(0, 8))
    // User code before the sink is not run again for that.
    expect(runs).toBe(8)
    await kit.stop()
  })

  it('what others hold for long is asked for again soon after it is free', async () => {
    const store = new MemoryStore()
    const warnings: unknown[] = []
    const logger = { ...silentLogger, warn: (...told: unknown[]) => void warnings.push(told) }
    const kit = await createTestKit({ topics: { in: { partitions: 1 } }, start: 1_000_000, logger })
    let held = true
    store.faults.onCommit = () => {
      if (held) throw new Again('database is locked')
    }
    run(kit, (records) => records.pipe(sink(store)))
    await feed(kit, values(0, 4))
    await kit.advance('20s')
    held = false
    await kit.advance(150)
    expect(store.lines).toEqual(values(0, 4))
    // Twenty seconds of it are worth a word, each of hundreds of tries is not.
    expect(warnings.length).toBeGreaterThan(0)
    expect(warnings.length).toBeLessThan(5)
    await kit.stop()
  })

  it('a record that cannot be stored is found and follows onError; all others are written once', async () => {
    const [kit, store] = [await kitOf(), new MemoryStore()]
    const picky = (tx: MemoryTx, records: readonly RawRecord[]): void => {
      if (records.some(({ value }) => /v(5|11)$/.test(String(value)))) throw new Poison('too long')
      write(tx, records)
    }
    run(kit, (records) => records.pipe(toExternal('toDatabase', store, picky, settings), toTopic({ topic: 'out' })), {
      onError: { deadLetter: 'dead' },
      retries: 0,
    })
    await feed(kit, values(0, 20))
    await kit.advance('10s')
    const good = values(0, 20).filter((value) => value !== 'v5' && value !== 'v11')
    expect(store.lines).toEqual(good)
    expect((await kit.read('out')).map(({ value }) => String(value))).toEqual(good)
    expect((await kit.read('dead')).map(({ value }) => String(value))).toEqual(['v5', 'v11'])
    await kit.stop()
  })

  it('two sinks of one pipeline share a transaction, and have positions of their own', async () => {
    const [kit, store] = [await kitOf(), new MemoryStore()]
    run(kit, (records) =>
      merge(
        records.pipe(sink(store, { name: 'all' })),
        records.pipe(
          filter(({ value }) => String(value) < 'v2'),
          sink(store, { name: 'few' }),
        ),
      ),
    )
    await feed(kit, values(0, 4))
    await kit.advance(100)
    expect([...store.lines].sort()).toEqual(['v0', 'v0', 'v1', 'v1', 'v2', 'v3'])
    expect(store.committed).toBe(1)
    expect(row(store, 'in', 'few')).toMatchObject({ position: 4, gaps: '0:2 2' })
    await kit.stop()
  })

  it('a transaction of one task has nothing to do with what is known of the others', async () => {
    const marked = async (partitions: number): Promise<number> => {
      const [kit, store] = [await kitOf(partitions), new MemoryStore()]
      run(kit, (records) => records.pipe(sink(store)))
      await kit.feed(
        'in',
        Array.from({ length: partitions }, (_, partition) => ({ value: 'v', partition })),
      )
      await kit.advance('1s')
      const spies = [vi.spyOn(TaskMarks.prototype, 'commit'), vi.spyOn(TaskMarks.prototype, 'reset')]
      for (let i = 0; i < 3; i++) {
        await kit.feed('in', { value: 'v', partition: 1 })
        await kit.advance(100)
      }
      const calls = spies.reduce((sum, { mock }) => sum + mock.calls.length, 0)
      await kit.stop()
      vi.restoreAllMocks()
      expect(store.lines).toHaveLength(partitions + 3)
      return calls
    }
    const few = await marked(2)
    expect(few).toBeGreaterThanOrEqual(3)
    expect(await marked(60)).toBe(few)
  })

  it('waits for what comes out of steps that take their time', async () => {
    const [kit, store] = [await kitOf(), new MemoryStore()]
    run(kit, (records) =>
      records.pipe(
        concatMap((record) => of(record).pipe(delay(10))),
        sink(store),
        toTopic({ topic: 'out' }),
      ),
    )
    await feed(kit, values(0, 5))
    await kit.advance('1s')
    expect(store.lines).toEqual(values(0, 5))
    expect(await kit.read('out')).toHaveLength(5)
    await kit.stop()
  })

  it('works in a slice by itself', async () => {
    const store = new MemoryStore()
    const done = sliceOf(from(values(0, 4).map((value) => ({ key: 'k', value }))), (records) => records.pipe(sink(store)))
    await done.done()
    expect(store.lines).toEqual(values(0, 4))
  })
})

describe('records without a position', () => {
  const unplaced: Record<string, (records: RecordStream) => Observable<AnyRecord>> = {
    'of an aggregate': (records) => records.pipe(aggregate(count())),
    'of a window': (records) => records.pipe(window(tumbling(10), { aggregate: count() })),
    'that were delayed': (records) => records.pipe(delayUntil(() => 1_000_200)),
  }
  const three = [1, 2, 3].map((value, i) => ({ key: 'k', value: String(value), timestamp: 1_000_000 + i * 10 }))

  for (const [what, project] of Object.entries(unplaced)) {
    it(`are refused by name: ${what}`, async () => {
      const [kit, store] = [await kitOf(), new MemoryStore()]
      const error = await failureOf(kit, async () => {
        run(kit, (records) => project(records).pipe(sink(store)))
        await kit.feed('in', three)
      })
      expect(error).toMatchObject({ code: 'NO_POSITION' })
      expect(error.message).toMatch(/toDatabase 'lines'.*repartition.*repeatable: true/s)
      expect(store.lines).toEqual([])
    })

    it(`are taken where writing them again changes nothing: ${what}`, async () => {
      const [kit, store] = [await kitOf(), new MemoryStore()]
      run(kit, (records) => project(records).pipe(sink(store, { repeatable: true })))
      await kit.feed('in', three)
      await kit.advance('2s')
      expect(store.lines.length).toBeGreaterThan(0)
      await kit.stop()
    })
  }

  it('have one behind a repartition: written once, whatever comes again', async () => {
    const [kit, store] = [await kitOf(), new MemoryStore()]
    const inner = 'g-repartition-repartition'
    for (const after of [1, 3]) kit.broker.faults.inject({ at: 'offsets', reaction: 'abort', after })
    run(
      kit,
      (records) =>
        records.pipe(aggregate(count(), { emit: 'each' }), repartition({ key: ({ key }) => key, value: json<number>() }), sink(store)),
      { maxRecords: 2 },
    )
    await kit.feed('in', [...three, ...three])
    await kit.advance('5s')
    expect(store.lines).toEqual(['1', '2', '3', '4', '5', '6'])
    expect(row(store, inner)?.position).toBeGreaterThanOrEqual(6)
    await kit.stop()
  })
})

describe('positions that are not of this log', () => {
  const place = { sink: 'lines', topic: 'in', partition: 0 }
  const commitAt = async (store: MemoryStore, position: number): Promise<void> => {
    const [taken] = (await store.take('g', [{ ...place, start: 0 }])) as [StoredRow]
    const tx = await store.begin()
    await tx.commit('g', [{ ...place, ...taken, was: taken.position, position }])
  }

  it('a running pipeline whose database is put back under it is told with the next transaction, not before a gap is left', async () => {
    const [kit, store] = [await kitOf(), new MemoryStore()]
    run(kit, (records) => records.pipe(sink(store)))
    await feed(kit, values(0, 3))
    await kit.advance(100)
    const [key, backup] = [...store.rows][0] as [string, StoredRow]
    await feed(kit, values(3, 6))
    await kit.advance(100)
    // As a failover to a replica without the last transaction leaves it: its epoch is the same.
    store.rows.set(key, backup)
    store.lines.length = 3
    const error = await failureOf(kit, () => feed(kit, values(6, 9)))
    expect(error.code).toBe('SINK_MISMATCH')
    expect(error.message).toContain('up to 3, and the log has committed 6')
    expect(store.lines).toEqual(values(0, 3))
  })

  it('behind what the log has committed: a database from a backup is told, before anything is written', async () => {
    const [kit, store] = [await kitOf(), new MemoryStore()]
    const first = run(kit, (records) => records.pipe(sink(store)))
    await feed(kit, values(0, 6))
    await kit.advance(100)
    await first.stop()
    await commitAt(store, 2)
    const error = await failureOf(kit, async () => {
      run(kit, (records) => records.pipe(sink(store)))
      await feed(kit, values(6, 8))
    })
    expect(error).toMatchObject({ code: 'SINK_MISMATCH' })
    expect(error.message).toMatch(/up to 2, and the log has committed 6.*back to 2/s)
    expect(store.lines).toEqual(values(0, 6))
  })

  it("behind, and told to go on: onBehind: 'continue'", async () => {
    const [kit, store] = [await kitOf(), new MemoryStore()]
    const first = run(kit, (records) => records.pipe(sink(store)))
    await feed(kit, values(0, 6))
    await kit.advance(100)
    await first.stop()
    await commitAt(store, 2)
    run(kit, (records) => records.pipe(sink(store, { onBehind: 'continue' })))
    await feed(kit, values(6, 8))
    await kit.advance('1s')
    expect(store.lines).toEqual(values(0, 8))
    await kit.stop()
  })

  describe('a system that has lost its data, positions and all', () => {
    const empty = (store: MemoryStore): void => {
      store.rows.clear()
      store.lines.length = 0
    }
    const start = (kit: TestKit, store: MemoryStore, more: Parameters<typeof sink>[1] = {}) =>
      run(kit, (records) => records.pipe(sink(store, more)))

    it('under a running pipeline is told with the next transaction', async () => {
      const [kit, store] = [await kitOf(), new MemoryStore()]
      start(kit, store)
      await feed(kit, values(0, 6))
      await kit.advance(100)
      empty(store)
      const error = await failureOf(kit, () => feed(kit, values(6, 8)))
      expect(error).toMatchObject({ code: 'SINK_MISMATCH' })
      expect(error.message).toMatch(/up to 0, and the log has committed 6.*lost its data/s)
      expect(store.lines).toEqual([])
    })

    it('while it was stopped is told when it starts, and each time it is started again', async () => {
      const [kit, store] = [await kitOf(), new MemoryStore()]
      const first = start(kit, store)
      await feed(kit, values(0, 6))
      await kit.advance(100)
      await first.stop()
      empty(store)
      await feed(kit, values(6, 8))
      for (let i = 0; i < 2; i++) {
        start(kit, store)
        await expect(kit.advance('1s')).rejects.toMatchObject({ code: 'SINK_MISMATCH' })
      }
      expect(store.lines).toEqual([])
      start(kit, store, { onBehind: 'continue' })
      await kit.advance('1s')
      expect(store.lines).toEqual(values(6, 8))
      await kit.stop()
    })

    it('is none where the log has committed nothing with it: a sink that is new to its group goes on where that is', async () => {
      const [kit, store] = [await kitOf(), new MemoryStore()]
      const first = start(kit, store)
      await feed(kit, values(0, 6))
      await kit.advance(100)
      await first.stop()
      start(kit, store, { name: 'second' })
      await feed(kit, values(6, 8))
      await kit.advance('1s')
      expect(row(store, 'in', 'second')).toMatchObject({ position: 8, gaps: '6' })
      await kit.stop()
    })
  })

  it('beyond the end of the partition: a topic that was made anew is told, not skipped', async () => {
    const [kit, store] = [await kitOf(), new MemoryStore()]
    await commitAt(store, 50)
    const error = await failureOf(kit, async () => {
      run(kit, (records) => records.pipe(sink(store)))
      await feed(kit, values(0, 4))
    })
    expect(error).toMatchObject({ code: 'SINK_MISMATCH' })
    expect(error.message).toMatch(/up to 50, and the log ends at 4/)
  })

  it('a group that is deleted and begins anew writes nothing again', async () => {
    const [kit, store] = [await kitOf(), new MemoryStore()]
    await feed(kit, values(0, 6))
    await commitAt(store, 4)
    run(kit, (records) => records.pipe(sink(store)))
    await kit.advance('1s')
    expect(store.lines).toEqual(['v4', 'v5'])
    await kit.stop()
  })
})

describe('a sink outside the log is refused where it cannot be one', () => {
  it('twice under one name', async () => {
    const [kit, store] = [await kitOf(), new MemoryStore()]
    const error = await failureOf(kit, async () => {
      run(kit, (records) =>
        records.pipe(
          sink(store),
          map((record) => record),
          sink(store),
        ),
      )
    })
    expect(error).toMatchObject({ code: 'PLAN_FAILED' })
    expect(error.message).toMatch(/'lines'/)
  })

  it('made anew for each slice', async () => {
    const kit = await kitOf()
    const error = await failureOf(kit, async () => {
      run(kit, (records) => records.pipe(sink(new MemoryStore())))
      await feed(kit, ['x'])
    })
    expect(error).toMatchObject({ code: 'NOT_PLANNED' })
    expect(error.message).toMatch(/made anew inside the project function/)
  })

  it('an error of the code that writes is the fault of its record', async () => {
    const [kit, store] = [await kitOf(), new MemoryStore()]
    const error = await failureOf(kit, async () => {
      run(kit, (records) =>
        records.pipe(
          mergeMap((record) => (String(record.value) === 'x' ? throwError(() => new Error('no')) : of(record))),
          sink(store),
        ),
      )
      await feed(kit, ['x'])
      await kit.advance('10s')
    })
    expect(error).toMatchObject({ code: 'RECORD_FAILED' })
  })
})

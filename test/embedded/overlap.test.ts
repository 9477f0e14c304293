import fc from 'fast-check'
import { filter, mergeMap, of, tap, throwError, timer, map, type Observable } from 'rxjs'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import {
  aggregate,
  count,
  dedupe,
  header,
  joinStream,
  joinTable,
  json,
  memoryClaims,
  queryStore,
  recordKey,
  session,
  silentLogger,
  sliding,
  store,
  table,
  toTopic,
  tumbling,
  window,
  withStore,
  withTransaction,
  type RawRecord,
  type RecordStream,
  type StreamRecord,
} from '../../src/index.js'
import { overlap } from '../../src/runtime/plan.js'
import { Round } from '../../src/runtime/round.js'
import { TaskState } from '../../src/runtime/task-state.js'
import { EntryStore } from '../../src/state/entry-store.js'
import { createTestKit, type TestKit } from '../../src/testing/index.js'
import { courseSteps, takeStep, type CourseStep, type Member } from '../support/course.js'

const out = toTopic<RawRecord>({ topic: 'out' })
const numbered = (from: number, to: number) =>
  Array.from({ length: to - from }, (_, i) => ({ key: 'k', value: String(from + i), headers: { id: String(from + i) } }))

const asJson = toTopic<StreamRecord<unknown, unknown>>({ topic: 'out', value: json() } as never)

// Pipelines with state do so here alone.
beforeAll(() => void (overlap.withState = true))
afterAll(() => void (overlap.withState = false))

describe('while a commit is under way', () => {
  const kitOf = (): Promise<TestKit> =>
    createTestKit({
      topics: { in: { partitions: 1 }, rows: { partitions: 1 }, out: { partitions: 1 } },
      start: 1_000_000,
      logger: silentLogger,
    })
  type Keeping = (records: Observable<RawRecord>) => Observable<unknown>
  const piped = (kit: TestKit, project: Keeping) =>
    kit.cluster.source({ group: 'g', topics: ['in'] }).pipe(withTransaction(project, { provision: true, maxRecords: 5, every: 50 }))
  /** Ten records, five a transaction, the first commit answered after a second: how many were processed before that. */
  const processedMeanwhile = async (kit: TestKit, project: Keeping): Promise<number> => {
    const processed = new Set<string>()
    kit.broker.faults.inject({ at: 'end', delayMs: 1_000 })
    kit.run(piped(kit, (records) => project(records.pipe(tap(({ id }) => processed.add(id))))))
    await kit.feed('in', numbered(0, 10))
    await kit.advance(500)
    return processed.size
  }

  it('the next records are processed, and what they become waits for it', async () => {
    const kit = await kitOf()
    expect(await processedMeanwhile(kit, (records) => records.pipe(out))).toBe(10)
    expect(await kit.read('out')).toEqual([])
    // What is in the log, committed or not: the second transaction has sent nothing.
    expect((await kit.broker.records('out')).length).toBeLessThanOrEqual(5)
    await kit.advance(1_000)
    expect((await kit.read('out')).map(({ value }) => String(value))).toEqual(numbered(0, 10).map(({ value }) => value))
    await kit.stop()
  })

  const numbers = store<number>({ name: 'numbers' })
  const own: Record<string, Keeping> = {
    'state by key': (records) => records.pipe(aggregate({ ...count(), name: 'counts' }, { emit: 'each' }), asJson),
    windows: (records) => records.pipe(window(tumbling(10), { aggregate: count(), emit: 'updates' }), asJson),
    sessions: (records) => records.pipe(window(session(10), { aggregate: count(), emit: 'updates' }), asJson),
    'sliding windows': (records) => records.pipe(window(sliding(10), { aggregate: count(), emit: 'updates' }), asJson),
    'ids in the task': (records) => records.pipe(dedupe({ by: header('id'), within: '1h', partitioned: true }), out),
    'a store of user code': (records) =>
      records.pipe(
        withStore(numbers, (kept, record) => record.with({ value: kept.update('k', (n = 0) => n + 1) as number })),
        asJson,
      ),
    'both sides of a join': (records) => records.pipe(joinStream(records, { within: 10, join: (left) => String(left.value) }), asJson),
    'a table': (records) =>
      records.pipe(joinTable(table({ topic: 'rows', value: json() }), { kind: 'left', join: ({ value }) => String(value) }), asJson),
  }
  for (const [what, project] of Object.entries(own)) {
    it(`so are those of a pipeline that keeps ${what}`, async () => {
      const kit = await kitOf()
      expect(await processedMeanwhile(kit, project)).toBe(10)
      const written = (await kit.broker.records('out')).length
      await kit.advance(1_000)
      // Of the second transaction nothing was there before the first was done.
      expect((await kit.broker.records('out')).length).toBeGreaterThan(written)
      await kit.stop()
    })
  }

  it('nobody sees what the next transaction makes of the state, nor what this one did, before it is in the log', async () => {
    const kit = await kitOf()
    let processed = 0
    kit.broker.faults.inject({ at: 'end', delayMs: 1_000, after: 1 })
    const pipeline = piped(kit, (records) =>
      records.pipe(
        tap(() => processed++),
        aggregate(count(), { name: 'counts' }),
        asJson,
      ),
    )
    kit.run(pipeline)
    const counts = queryStore<number>(pipeline, 'counts')
    const seen = (): unknown => counts.get('k')
    await kit.feed('in', numbered(0, 5))
    await kit.advance(500)
    expect(seen()).toMatchObject({ at: 'here', value: 5 })
    await kit.feed('in', numbered(5, 15))
    await kit.advance(500)
    expect(processed).toBe(15)
    expect(seen()).toMatchObject({ at: 'here', value: 5 })
    expect([...counts.entries()].map(({ value }) => value)).toEqual([5])
    await kit.advance(2_000)
    expect(seen()).toMatchObject({ at: 'here', value: 15 })
    await kit.stop()
  })

  const outside: Record<string, Keeping> = {
    'ids are claimed outside the log': (records) => records.pipe(dedupe({ by: header('id'), within: '1h', store: memoryClaims() }), out),
    'operators are called by the clock': (records) =>
      records.pipe(window(tumbling(10), { aggregate: count(), emit: 'updates', closeWhenIdle: '1h' }), asJson),
    'ids are claimed by key, of which all have one': (records) =>
      records.pipe(dedupe({ by: recordKey(), within: '1h', store: memoryClaims() }), out),
  }
  for (const [what, project] of Object.entries(outside)) {
    it(`nothing more is taken in where ${what}`, async () => {
      const kit = await kitOf()
      expect(await processedMeanwhile(kit, project)).toBe(5)
      await kit.advance(2_000)
      await kit.stop()
    })
  }
})

type Step =
  | {
      readonly do: 'feed'
      readonly records: readonly { readonly partition: number; readonly kind: 'plain' | 'slow' | 'dropped' | 'poison' }[]
    }
  | CourseStep

const PARTITIONS = 2

const steps: fc.Arbitrary<readonly Step[]> = fc.array(
  fc.oneof(
    {
      weight: 8,
      arbitrary: fc.record({
        do: fc.constant('feed' as const),
        records: fc.array(
          fc.record({
            partition: fc.nat(PARTITIONS - 1),
            kind: fc.constantFrom('plain', 'plain', 'plain', 'plain', 'slow', 'dropped', 'poison'),
          }),
          { minLength: 1, maxLength: 12 },
        ),
      }),
    },
    ...courseSteps(1),
  ),
  { minLength: 4, maxLength: 30, size: 'max' },
) as fc.Arbitrary<readonly Step[]>

const handled = (records: Observable<RawRecord>): Observable<RawRecord> =>
  records.pipe(
    filter(({ value }) => !String(value).startsWith('dropped')),
    mergeMap((record) => {
      const kind = String(record.value).split(' ')[0]
      if (kind === 'poison') return throwError(() => new Error('poison'))
      return kind === 'slow' ? timer(20).pipe(map(() => record)) : of(record)
    }, 1),
  )
const asRead = toTopic<RawRecord>({ topic: 'out', partition: (record) => record.origin.partition })
const byKey = { topic: 'out', value: json<unknown>(), partition: ({ key }: { readonly key: Buffer }) => Number(String(key)) } as const

/** What is kept, what a record is to become, once, in the order of its partition, and what the `n`th that passes becomes. */
const HOW = {
  nothing: { project: (records: RecordStream) => handled(records).pipe(asRead), becomes: (value: string) => value },
  counts: {
    project: (records: RecordStream) =>
      handled(records).pipe(aggregate({ ...count(), name: 'counts' }, { emit: 'each' }), toTopic(byKey as never)),
    becomes: (_: string, n: number) => String(n),
  },
  /** What passes comes twice. */
  ids: {
    project: (records: RecordStream) => handled(records).pipe(dedupe({ by: header('id'), within: '365d', partitioned: true }), asRead),
    becomes: (value: string) => value,
  },
  /** Each with itself. */
  pairs: {
    project: (records: RecordStream) =>
      handled(records).pipe(
        joinStream(handled(records), { within: 0, grace: '1h', join: (left, right) => `${String(left.value)} ${String(right.value)}` }),
        toTopic(byKey as never),
      ),
    becomes: (value: string) => JSON.stringify(`${value} ${value}`),
  },
} as const
type How = keyof typeof HOW
const HOWS = Object.keys(HOW) as How[]

async function run(
  how: How,
  given: readonly Step[],
): Promise<{ readonly outputs: readonly (readonly string[])[]; readonly expected: readonly (readonly string[])[] }> {
  // Batches of two or three records, so that outputs are sent before the end of their transaction.
  const kit = await createTestKit({
    topics: { in: { partitions: PARTITIONS }, out: { partitions: PARTITIONS, config: { 'max.message.bytes': '190' } } },
    start: 1_000_000,
    logger: silentLogger,
  })
  const members: Member[] = []
  const expected: string[][] = Array.from({ length: PARTITIONS }, () => [])
  let fed = 0
  const { project, becomes } = HOW[how]
  const start = (): Member => {
    const source = kit.cluster.source({ group: 'g', topics: ['in'], sessionTimeout: '10s', rebalanceTimeout: '20s' })
    return kit.run(
      source.pipe(
        withTransaction(project, {
          onError: 'skip',
          retries: 1,
          retryDelay: 10,
          maxRecords: 4,
          every: 30,
          streamBytes: 1,
          provision: true,
        }),
      ),
    )
  }
  members.push(start())
  await kit.advance(0)
  for (const step of given) {
    if (step.do !== 'feed') {
      await takeStep(kit, step, 'g', members, start)
      continue
    }
    const records = step.records.map(({ partition, kind }) => {
      const value = `${kind} ${String(fed++).padStart(5, '0')}`
      const passed = expected[partition] as string[]
      if (kind === 'plain' || kind === 'slow') passed.push(becomes(value, passed.length + 1))
      return { key: String(partition), value, partition, headers: { id: value }, timestamp: 1_000 + 2 * fed }
    })
    await kit.feed('in', how === 'ids' ? [...records, ...records] : records)
  }
  kit.broker.faults.clear()
  start()
  for (let i = 0; i < 200; i++) {
    await kit.advance('5s')
    const read = kit.broker.offsets('g').reduce((sum, { offset }) => sum + offset, 0)
    if ((await kit.broker.records('in')).length <= read && kit.broker.openTransactions().length === 0) break
  }
  const read = await kit.read('out', { from: 'earliest' })
  const outputs = expected.map((_, partition) => read.filter((record) => record.partition === partition).map(({ value }) => String(value)))
  await kit.stop()
  return { outputs, expected }
}

const check = (numRuns: number) =>
  fc.check(
    fc.asyncProperty(fc.constantFrom(...HOWS), steps, async (how, given) => {
      const { outputs, expected } = await run(how, given)
      expect(outputs).toEqual(expected)
    }),
    { numRuns, endOnFailure: false },
  )

describe('overlapping transactions', () => {
  afterEach(() => vi.restoreAllMocks())

  it('through faults, crashes and rebalances every record passes once, in the order of its partition', async () => {
    const details = await check(200)
    expect(details.failed ? `seed ${details.seed}\n${JSON.stringify(details.counterexample)}\n${String(details.errorInstance)}` : '').toBe(
      '',
    )
  }, 240_000)

  const eight: Step = {
    do: 'feed',
    records: (['plain', 'plain', 'plain', 'plain', 'plain', 'plain', 'plain', 'slow'] as const).map((kind) => ({ partition: 0, kind })),
  }
  const waiting: readonly Step[] = [
    { do: 'advance', ms: 400 },
    { do: 'advance', ms: 3_000 },
  ]
  /** The second transaction is made while the first commits, and fails at its offsets. */
  const secondFails: readonly Step[] = [
    { do: 'fault', fault: { at: 'end', delayMs: 1_000 } },
    { do: 'fault', fault: { at: 'offsets', reaction: 'abort', after: 1 } },
    eight,
    ...waiting,
  ]
  /** The first fails while the second is made. */
  const firstFails: readonly Step[] = [{ do: 'fault', fault: { at: 'end', reaction: 'abort', delayMs: 1_000 } }, eight, ...waiting]
  /** Nobody hears how the first ended until the second is made. */
  const firstUnheard = (tookEffect: boolean): readonly Step[] => [
    { do: 'fault', fault: { at: 'end', reaction: 'indeterminate', tookEffect, delayMs: 1_000 } },
    eight,
    ...waiting,
  ]
  const passes = async (how: How, course: readonly Step[]): Promise<void> => {
    const { outputs, expected } = await run(how, course)
    expect(outputs).toEqual(expected)
  }
  const isNoticed = async (how: How, course: readonly Step[]): Promise<void> => {
    const { outputs, expected } = await run(how, course)
    expect(outputs).not.toEqual(expected)
  }

  for (const how of HOWS) {
    it(`one that is undone leaves nothing in the one before (${how})`, () => passes(how, secondFails))
    it(`one that fails takes the one behind it with it (${how})`, () => passes(how, firstFails))
    it(`one whose end is asked for is kept, and the one behind it made anew (${how})`, () => passes(how, firstUnheard(true)))
    it(`one that turns out to have failed takes the one behind it with it (${how})`, () => passes(how, firstUnheard(false)))
  }

  it('would notice outputs that are sent before the commit before them is done', async () => {
    vi.spyOn(Round.prototype as unknown as { isHeld: boolean }, 'isHeld', 'get').mockReturnValue(false)
    await isNoticed('nothing', secondFails)
  })

  it('would notice a commit that ends the undo of the transaction behind it', async () => {
    vi.spyOn(TaskState.prototype, 'seal').mockImplementation(function (this: TaskState) {
      Object.assign(this, { flushed: false })
    })
    await isNoticed('counts', secondFails)
    await isNoticed('pairs', secondFails)
  })

  it('would notice an abort that does not take the transaction behind it back', async () => {
    const { rollback } = EntryStore.prototype
    vi.spyOn(EntryStore.prototype, 'rollback').mockImplementation(function (this: EntryStore<never, never>) {
      if ((this as unknown as { sealed?: unknown }).sealed !== undefined) Object.assign(this, { changed: [] })
      rollback.call(this)
    })
    await isNoticed('counts', firstFails)
  })
})

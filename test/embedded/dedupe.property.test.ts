import fc from 'fast-check'
import { mergeMap, of, throwError } from 'rxjs'
import { describe, expect, it } from 'vitest'
import {
  dedupe,
  header,
  memoryClaims,
  recordKey,
  silentLogger,
  toTopic,
  withTransaction,
  type ClaimStore,
  type RecordStream,
} from '../../src/index.js'
import { createTestKit, type Clock, type Fault, type TestKit } from '../../src/testing/index.js'
import { takeStep, type CourseStep, type Member } from '../support/course.js'
import { marksAfter, marksBefore, viewOf } from '../support/shared-claims.js'

const GROUPS = ['a', 'b'] as const
const PARTITIONS = 2
type Group = (typeof GROUPS)[number]

type Step =
  | {
      readonly do: 'feed'
      readonly group: Group
      readonly records: readonly { readonly id: number; readonly partition: number; readonly poison: boolean }[]
    }
  | (CourseStep & { readonly group?: Group })

const group = fc.constantFrom(...GROUPS)
// Only of what the pipelines write: the records fed to them come whole.
const fault: fc.Arbitrary<Fault> = fc.oneof(
  fc.record({
    at: fc.constant('produce'),
    of: fc.constant('out'),
    reaction: fc.constantFrom('abort', 'reinit'),
    after: fc.nat(3),
  }) as fc.Arbitrary<Fault>,
  fc.record({ at: fc.constant('offsets'), reaction: fc.constantFrom('abort', 'reinit'), after: fc.nat(3) }) as fc.Arbitrary<Fault>,
  fc.record({ at: fc.constant('offsets'), reaction: fc.constant('lost'), after: fc.nat(3) }) as fc.Arbitrary<Fault>,
  fc.record({
    at: fc.constant('end'),
    reaction: fc.constant('indeterminate'),
    tookEffect: fc.boolean(),
    after: fc.nat(3),
  }) as fc.Arbitrary<Fault>,
  fc.record({
    at: fc.constant('committedOffsets'),
    reaction: fc.constant('retry'),
    after: fc.nat(3),
    times: fc.integer({ min: 1, max: 3 }),
  }) as fc.Arbitrary<Fault>,
  fc.record({
    at: fc.constantFrom('end', 'offsets'),
    delayMs: fc.integer({ min: 10, max: 4_000 }),
    after: fc.nat(3),
  }) as fc.Arbitrary<Fault>,
)

const steps: fc.Arbitrary<readonly Step[]> = fc.array(
  fc.oneof(
    {
      weight: 8,
      arbitrary: fc.record({
        do: fc.constant('feed' as const),
        group,
        records: fc.array(fc.record({ id: fc.nat(12), partition: fc.nat(PARTITIONS - 1), poison: fc.nat(9).map((n) => n === 0) }), {
          minLength: 1,
          maxLength: 8,
        }),
      }),
    },
    { weight: 5, arbitrary: fc.record({ do: fc.constant('advance' as const), ms: fc.constantFrom(10, 60, 100, 400, 3_000) }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('start' as const), group, which: fc.constant(0) }) },
    { weight: 3, arbitrary: fc.record({ do: fc.constant('crash' as const), group, which: fc.nat(2) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('stop' as const), group, which: fc.nat(2) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('rebalance', 'expire'), group }) },
    { weight: 3, arbitrary: fc.record({ do: fc.constant('fault' as const), fault }) },
  ),
  { minLength: 4, maxLength: 30, size: 'max' },
)

/** What passes: with an error for poison, one way or another, after the id was claimed. */
const project = (deduped: (records: RecordStream) => ReturnType<RecordStream['pipe']>) => (records: RecordStream) =>
  (deduped(records) as RecordStream).pipe(
    mergeMap((record) => (String(record.value) === 'poison' ? throwError(() => new Error('poison')) : of(record))),
    toTopic({ topic: 'out' }),
  )

interface Outcome {
  readonly outputs: readonly string[]
  readonly expected: readonly string[]
}

interface Kind {
  /** Default: the tasks' own. */
  readonly store?: (clock: Clock) => ClaimStore
  /** Ids are in all partitions and both groups; else in one partition of one group each. */
  readonly shared: boolean
  /** Default: where ids are not shared. */
  readonly bloom?: boolean
}

/** Runs the steps, then everything to its end. */
async function run(given: readonly Step[], { store: made, shared, bloom: filtered = !shared }: Kind): Promise<Outcome> {
  const kit: TestKit = await createTestKit({
    topics: { a: { partitions: PARTITIONS }, b: { partitions: PARTITIONS }, out: { partitions: 1 } },
    start: 1_000_000,
    logger: silentLogger,
  })
  const store = made?.(kit.clock)
  const members = new Map<Group, Member[]>(GROUPS.map((name) => [name, []]))
  const wanted = new Set<string>()
  const start = (name: Group): Member => {
    const view = store === undefined ? undefined : viewOf(store)
    const claims = view === undefined ? {} : { store: view }
    const waiting = shared && !filtered ? ({ takeOverAfter: '40s', waitAtMost: '2s' } as const) : {}
    // So few that the filter is full at once, and wrong often.
    const bloom = view === undefined || !filtered ? {} : ({ bloom: { expected: 6, errorRate: 0.3, exclusive: true } } as const)
    const member = kit.run(
      kit.cluster.source({ group: name, topics: [name], sessionTimeout: '10s', rebalanceTimeout: '20s' }).pipe(
        withTransaction(
          project((records) =>
            records.pipe(dedupe({ by: shared ? header('id') : recordKey(), within: '1h', ...claims, ...waiting, ...bloom })),
          ),
          { provision: true, onError: 'skip', retries: 1, maxRecords: 5, every: 50 },
        ),
      ),
    )
    return {
      get ended() {
        return member.ended
      },
      stop: () => member.stop(),
      async crash() {
        view?.crash()
        await member.crash()
      },
    }
  }
  for (const name of GROUPS) members.get(name)?.push(start(name))
  await kit.advance(0)
  for (const step of given) {
    if (step.do !== 'feed') {
      const name = step.group ?? GROUPS[0]
      await takeStep(kit, step, name, members.get(name) as Member[], () => start(name))
      continue
    }
    const records = step.records.map(({ id, partition, poison }) => {
      const own = shared ? String(id) : `${step.group}-${partition}-${id}`
      if (!poison) wanted.add(own)
      return { key: own, value: poison ? 'poison' : own, partition, headers: { id: own } }
    })
    await kit.feed(step.group, records)
  }
  kit.broker.faults.clear()
  for (const name of GROUPS) start(name)
  const read = (name: Group): number =>
    kit.broker
      .offsets(name)
      .filter(({ topic }) => topic === name)
      .reduce((sum, { offset }) => sum + offset, 0)
  for (let i = 0; i < 200; i++) {
    await kit.advance('5s')
    let left = 0
    // Positions go past control records too; what is not committed yet is behind.
    for (const name of GROUPS) left += (await kit.broker.records(name)).length - read(name)
    if (left <= 0 && kit.broker.openTransactions().length === 0) break
  }
  const outputs = (await kit.read('out', { from: 'earliest' })).map(({ value }) => String(value)).sort()
  await kit.stop()
  return { outputs, expected: [...wanted].sort() }
}

const check = (kind: Kind, numRuns: number, seed?: number): Promise<fc.RunDetails<[readonly Step[]]>> =>
  Promise.resolve(
    fc.check(
      fc.asyncProperty(steps, async (given) => {
        const { outputs, expected } = await run(given, kind)
        expect(outputs).toEqual(expected)
      }),
      { numRuns, endOnFailure: false, ...(seed === undefined ? {} : { seed }) },
    ),
  )

const report = (details: fc.RunDetails<[readonly Step[]]>): string =>
  details.failed ? `seed ${details.seed}\n${JSON.stringify(details.counterexample)}\n${String(details.errorInstance)}` : ''

describe('exactly one of each id, whatever happens', () => {
  it('with the ids of each task', async () => {
    const details = await check({ shared: false }, 150)
    expect(report(details)).toBe('')
  }, 120_000)

  it('with ids shared by partitions, members and groups', async () => {
    const details = await check({ store: (clock) => memoryClaims({ clock }), shared: true }, 200)
    expect(report(details)).toBe('')
  }, 240_000)

  it('with a filter before the ids that each task owns', async () => {
    const details = await check({ store: (clock) => memoryClaims({ clock }), shared: false }, 150)
    expect(report(details)).toBe('')
  }, 120_000)

  it('passes the next record of an id whose first was given up in a transaction of unknown end', async () => {
    const given: readonly Step[] = [
      { do: 'feed', group: 'b', records: [{ id: 0, partition: 1, poison: false }] },
      { do: 'feed', group: 'a', records: [{ id: 0, partition: 0, poison: true }] },
      { do: 'fault', fault: { at: 'offsets', reaction: 'abort', after: 0 } },
      { do: 'advance', ms: 100 },
      { do: 'expire', group: 'b' },
      {
        do: 'feed',
        group: 'b',
        records: [
          { id: 1, partition: 1, poison: true },
          { id: 0, partition: 0, poison: false },
        ],
      },
      { do: 'feed', group: 'b', records: [{ id: 1, partition: 1, poison: false }] },
      { do: 'advance', ms: 20 },
    ]
    const { outputs, expected } = await run(given, { store: (clock) => memoryClaims({ clock }), shared: false })
    expect(outputs).toEqual(expected)
  })

  it('passes the next record of an id whose first was claimed by a member that had lost the task, and given up by the one that has it', async () => {
    const poison = (id: number, partition = 0) => ({ id, partition, poison: true })
    const good = (id: number, partition = 0) => ({ id, partition, poison: false })
    const given: readonly Step[] = [
      { do: 'fault', fault: { at: 'offsets', reaction: 'abort', after: 2 } },
      { do: 'advance', ms: 3_000 },
      { do: 'feed', group: 'a', records: [good(0), good(0, 1)] },
      { do: 'feed', group: 'a', records: [poison(0), poison(3), poison(0, 1), poison(0, 1)] },
      { do: 'feed', group: 'a', records: [poison(0), poison(0), poison(0)] },
      { do: 'feed', group: 'a', records: [poison(0)] },
      { do: 'feed', group: 'a', records: [poison(0), good(3), poison(0)] },
      { do: 'start', group: 'a', which: 0 },
      { do: 'expire', group: 'a' },
      { do: 'start', group: 'a', which: 0 },
      { do: 'fault', fault: { at: 'committedOffsets', reaction: 'retry', after: 0, times: 1 } },
    ]
    const { outputs, expected } = await run(given, { store: (clock) => memoryClaims({ clock }), shared: false })
    expect(outputs).toEqual(expected)
  })

  it('would notice a store that marks before the commit', async () => {
    expect((await check({ store: marksBefore, shared: true }, 60)).failed).toBe(true)
  }, 120_000)

  it('would notice a store that marks after the commit', async () => {
    expect((await check({ store: marksAfter, shared: true }, 60)).failed).toBe(true)
  }, 120_000)

  it('would notice a filter before ids that others claim too', async () => {
    expect((await check({ store: (clock) => memoryClaims({ clock }), shared: true, bloom: true }, 60)).failed).toBe(true)
  }, 120_000)
})

import fc from 'fast-check'
import { filter, ignoreElements, map, merge, type Observable } from 'rxjs'
import { describe, expect, it } from 'vitest'
import {
  embedded,
  joinStream,
  json,
  silentLogger,
  toTopic,
  type Cluster,
  type Commit,
  type RecordStream,
  type TransactionOptions,
} from '../../src/index.js'
import { VirtualClock, createEmbeddedBroker, type Fault } from '../../src/testing/index.js'
import { inVirtualTime } from '../support/fast-run.js'
import { contents, runUntil, sumOf } from '../support/pipelines.js'

type Side = 'left' | 'right'
type Kind = 'inner' | 'left' | 'outer'

interface Event {
  readonly side: Side
  readonly key: string
  readonly time: number
}

interface Case {
  readonly events: readonly Event[]
  readonly kind: Kind
  readonly before: number
  readonly after: number
  readonly grace: number
  /** How many events are written at a time. */
  readonly batch: number
  readonly maxRecords: number
  /** After how many events the pipeline is started anew. */
  readonly restarts: readonly number[]
  readonly faults: readonly Fault[]
}

const PARTITIONS = 2

const fault: fc.Arbitrary<Fault> = fc.oneof(
  fc.record({
    at: fc.constantFrom('produce', 'offsets'),
    reaction: fc.constantFrom('abort', 'reinit'),
    after: fc.nat(6),
    times: fc.integer({ min: 1, max: 2 }),
  }) as fc.Arbitrary<Fault>,
  fc.record({ at: fc.constant('offsets'), reaction: fc.constant('lost'), after: fc.nat(6) }) as fc.Arbitrary<Fault>,
  fc.record({
    at: fc.constant('end'),
    reaction: fc.constant('indeterminate'),
    tookEffect: fc.boolean(),
    after: fc.nat(6),
  }) as fc.Arbitrary<Fault>,
)

const cases: fc.Arbitrary<Case> = fc.record({
  // Few keys and times, so that ties, edges and late records are common. Time goes on with the position, give or take.
  events: fc
    .array(
      fc.record({
        side: fc.constantFrom<Side>('left', 'right'),
        key: fc.constantFrom('a', 'b', 'c'),
        jitter: fc.integer({ min: -8, max: 8 }),
      }),
      { minLength: 1, maxLength: 60, size: 'max' },
    )
    .map((drawn) => drawn.map(({ side, key, jitter }, i) => ({ side, key, time: Math.max(0, i + jitter) }))),
  kind: fc.constantFrom<Kind>('inner', 'left', 'outer'),
  before: fc.nat(9),
  after: fc.nat(9),
  grace: fc.oneof(fc.nat(5), fc.nat(50)),
  batch: fc.integer({ min: 1, max: 12 }),
  maxRecords: fc.integer({ min: 1, max: 12 }),
  restarts: fc.array(fc.nat(60), { maxLength: 2 }),
  faults: fc.array(fault, { maxLength: 3 }),
})

interface Outcome {
  /** By key, in order. */
  readonly results: Readonly<Record<string, readonly string[]>>
  readonly late: readonly string[]
}

/** One event as it was read: what a task took it for, in the order in which it did. */
interface Taken extends Event {
  readonly id: string
  readonly partition: number
}

const nameOf = (left: string | undefined, right: string | undefined, timestamp: number): string =>
  `${left ?? '-'}+${right ?? '-'}@${timestamp}`

/** The rules of the join, in the plainest form: all records are kept for ever and looked through one by one. */
function oracle(taken: readonly Taken[], { kind, before, after, grace }: Case): Outcome {
  const results: Record<string, string[]> = {}
  const late: string[] = []
  for (let partition = 0; partition < PARTITIONS; partition++) {
    let streamTime = Number.NEGATIVE_INFINITY
    const seen: (Taken & { matched: boolean; closed: boolean })[] = []
    const closes = ({ side, time }: Event): number => time + (side === 'left' ? after : before) + grace
    const emit = (key: string, text: string): void => void (results[key] ??= []).push(text)
    for (const event of taken.filter((one) => one.partition === partition)) {
      streamTime = Math.max(streamTime, event.time)
      const closing = seen.filter((one) => !one.closed && closes(one) < streamTime)
      // By the end of their windows; of one end, left before right, and in the order they came.
      const rank = (one: Event): number => 2 * closes(one) + (one.side === 'left' ? 0 : 1)
      for (const one of closing.sort((a, b) => rank(a) - rank(b))) {
        one.closed = true
        if (!one.matched && one.side === 'left' && kind !== 'inner') emit(one.key, nameOf(one.id, undefined, one.time))
        if (!one.matched && one.side === 'right' && kind === 'outer') emit(one.key, nameOf(undefined, one.id, one.time))
      }
      if (closes(event) < streamTime) {
        late.push(event.id)
        continue
      }
      const mine = { ...event, matched: false, closed: false }
      const partners = seen.filter((one) => {
        if (one.closed || one.side === event.side || one.key !== event.key) return false
        const [left, right] = event.side === 'left' ? [event, one] : [one, event]
        return right.time >= left.time - before && right.time <= left.time + after
      })
      for (const one of partners.sort((a, b) => a.time - b.time)) {
        one.matched = mine.matched = true
        const [left, right] = event.side === 'left' ? [event, one] : [one, event]
        emit(event.key, nameOf(left.id, right.id, Math.max(left.time, right.time)))
      }
      seen.push(mine)
    }
  }
  return { results, late: late.sort() }
}

interface Variant {
  readonly options?: TransactionOptions
  /** What the pipeline is told instead of the case's numbers. */
  readonly told?: (given: Case) => Partial<Case>
}

/** The pipeline itself, on the embedded broker in virtual time. */
async function run(
  given: Case,
  { options = {}, told = () => ({}) }: Variant,
): Promise<{ readonly outcome: Outcome; readonly taken: readonly Taken[]; readonly commits: readonly Commit[] }> {
  const clock = new VirtualClock(1_000_000)
  const broker = createEmbeddedBroker({ clock })
  const cluster = embedded({ broker, clock, logger: silentLogger })
  const { kind: any, before, after, grace } = { ...given, ...told(given) }
  // The function takes what any kind may give.
  const kind = any as 'outer'
  const project = (records: RecordStream): Observable<unknown> => {
    const of = (topic: Side) =>
      records.pipe(
        filter((record) => record.origin.topic === topic),
        map((record) => record.with({ value: JSON.parse(String(record.value)) as { readonly id: string } })),
      )
    const joined = of('left').pipe(
      joinStream(of('right'), {
        within: { before, after },
        grace,
        kind,
        join: (left, right) => nameOf(left?.value.id, right?.value.id, Math.max(left?.timestamp ?? 0, right?.timestamp ?? 0)),
        late: (late) =>
          late.pipe(
            map(({ record }) => record),
            toTopic({ topic: 'late', value: json() }),
          ),
      }),
      toTopic({ topic: 'out', value: json() }),
    )
    // What the task took, in the order it took it: part of the same transaction, so what was rolled back is not in it.
    return merge(records.pipe(toTopic({ topic: 'taken', partition: (record) => record.origin.partition }), ignoreElements()), joined)
  }
  try {
    await inVirtualTime(
      clock,
      cluster.createTopics(['left', 'right', 'out', 'late', 'taken'].map((topic) => ({ topic, partitions: PARTITIONS }))),
    )
    await inVirtualTime(clock, feed(cluster, given))
    for (const one of given.faults) broker.faults.inject(one)
    const commits: Commit[] = []
    for (const until of [...given.restarts, given.events.length].sort((a, b) => a - b)) {
      const records = Math.min(until, given.events.length) - sumOf(commits, 'records')
      if (records <= 0) continue
      commits.push(
        ...(await inVirtualTime(
          clock,
          runUntil(
            cluster,
            { group: 'g', topics: ['left', 'right'], records, options: { maxRecords: given.maxRecords, provision: true, ...options } },
            project,
          ),
        )),
      )
    }
    broker.faults.clear()
    const results: Record<string, string[]> = {}
    for (const { key, value } of await inVirtualTime(clock, contents(cluster, 'out')))
      (results[key as string] ??= []).push(JSON.parse(value as string) as string)
    const late = (await inVirtualTime(clock, contents(cluster, 'late')))
      .map(({ value }) => (JSON.parse(value as string) as { id: string }).id)
      .sort()
    const taken = (await inVirtualTime(clock, contents(cluster, 'taken'))).map(({ value, partition }) => ({
      ...(JSON.parse(value as string) as Event & { id: string }),
      partition,
    }))
    return { outcome: { results, late }, taken, commits }
  } finally {
    await inVirtualTime(clock, cluster.close())
  }
}

/** In batches of some records, so that the two topics are read in turns. */
async function feed(cluster: Cluster, { events, batch }: Case): Promise<void> {
  const named = events.map((event, i) => ({ ...event, id: `${event.side[0]}${i}` }))
  for (let from = 0; from < named.length; from += batch) {
    for (const topic of ['left', 'right'] as const) {
      const records = named.slice(from, from + batch).filter(({ side }) => side === topic)
      if (records.length > 0)
        await cluster.produce({
          topic,
          records: records.map((event) => ({ key: event.key, value: JSON.stringify(event), timestamp: event.time })),
        })
    }
  }
}

async function check(given: Case, variant: Variant = {}): Promise<void> {
  const { outcome, taken, commits } = await run(given, variant)
  expect(taken.map(({ id }) => id).sort()).toEqual(given.events.map(({ side }, i) => `${side[0]}${i}`).sort())
  for (const side of ['l', 'r']) {
    for (let partition = 0; partition < PARTITIONS; partition++) {
      const offsets = taken.filter((one) => one.partition === partition && one.id.startsWith(side)).map(({ id }) => Number(id.slice(1)))
      expect(offsets).toEqual([...offsets].sort((a, b) => a - b))
    }
  }
  expect(outcome).toEqual(oracle(taken, given))
  expect(sumOf(commits, 'records')).toBe(given.events.length)
}

/** Whether the check fails on a variant, and not for another reason. */
async function noticed(variant: Variant): Promise<boolean> {
  const { failed, errorInstance } = await fc.check(
    fc.asyncProperty(cases, (given) => check(given, variant)),
    { numRuns: 200, endOnFailure: true },
  )
  return failed && (errorInstance as Error | undefined)?.name === 'AssertionError'
}

describe('joinStream against a naive join', () => {
  it('gives every pair and every record alone once, through disorder, faults and restarts', { timeout: 120_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(cases, (given) => check(given)),
      { numRuns: 300 },
    )
  })

  it('notices outputs that do not commit with the offsets', { timeout: 60_000 }, async () => {
    expect(await noticed({ options: { guarantee: 'at-least-once' } })).toBe(true)
  })

  it('notices bounds that are not inclusive', { timeout: 60_000 }, async () => {
    expect(await noticed({ told: ({ after }) => ({ after: Math.max(0, after - 1) }) })).toBe(true)
  })

  it('notices a grace that is not waited for', { timeout: 60_000 }, async () => {
    expect(await noticed({ told: () => ({ grace: 0 }) })).toBe(true)
  })

  it('notices records alone that are not handed out', { timeout: 60_000 }, async () => {
    expect(await noticed({ told: () => ({ kind: 'inner' as const }) })).toBe(true)
  })
})

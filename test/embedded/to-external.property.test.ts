import fc from 'fast-check'
import { filter, mergeMap, throwError, of } from 'rxjs'
import { describe, expect, it, vi } from 'vitest'
import {
  attempt,
  deadLetter,
  deliveryAttempt,
  retryTopic,
  silentLogger,
  toTopic,
  withTransaction,
  type RawRecord,
  type RecordStream,
} from '../../src/index.js'
import { ExternalSession } from '../../src/sinks/external/session.js'
import { toExternal } from '../../src/sinks/external/to-external.js'
import { TopicMarks } from '../../src/sinks/external/topic-marks.js'
import { createTestKit } from '../../src/testing/index.js'
import { courseSteps, takeStep, type CourseStep, type Member } from '../support/course.js'
import { Again, Away, MemoryStore, type MemoryTx } from '../support/memory-store.js'

type StoreFault =
  'away before the commit' | 'away after the commit' | 'away at a write' | 'again' | 'away at a take' | 'held up at the commit'
type Step =
  | {
      readonly do: 'feed'
      readonly records: readonly { readonly partition: number; readonly kind: 'plain' | 'dropped' | 'poison' | 'flaky' | 'second' }[]
    }
  | { readonly do: 'store'; readonly fault: StoreFault }
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
            kind: fc.constantFrom('plain', 'plain', 'plain', 'dropped', 'poison', 'flaky', 'flaky', 'second'),
          }),
          { minLength: 1, maxLength: 12 },
        ),
      }),
    },
    ...courseSteps(2),
    {
      weight: 3,
      arbitrary: fc.record({
        do: fc.constant('store' as const),
        fault: fc.constantFrom<StoreFault>(
          'away before the commit',
          'away after the commit',
          'away at a write',
          'again',
          'away at a take',
          'held up at the commit',
        ),
      }),
    },
  ),
  { minLength: 4, maxLength: 30, size: 'max' },
) as fc.Arbitrary<readonly Step[]>

interface Outcome {
  readonly lines: readonly string[]
  readonly outputs: readonly string[]
  readonly expected: readonly string[]
}

async function run(given: readonly Step[], store = new MemoryStore()): Promise<Outcome> {
  const kit = await createTestKit({
    topics: { in: { partitions: PARTITIONS }, out: { partitions: PARTITIONS }, dead: { partitions: PARTITIONS } },
    start: 1_000_000,
    logger: silentLogger,
  })
  let writeFails = 0
  // As unlike as can be from one run of a record to the next, and the same for the same course.
  let coin = 0
  const settings = { batch: 3, repeatable: false, within: 2_000, onBehind: 'stop' } as const
  const write = (tx: MemoryTx, records: readonly RawRecord[]): void => {
    if (writeFails-- > 0) throw new Away('a write')
    writeFails = 0
    tx.lines.push(...records.map(({ value }) => String(value)))
  }
  const project = (records: RecordStream) => {
    const steps = records.pipe(
      filter(({ value }) => !String(value).startsWith('dropped')),
      mergeMap((record) => (String(record.value).startsWith('poison') ? throwError(() => new Error('poison')) : of(record)), 1),
      attempt((record) => {
        if (String(record.value).startsWith('flaky') && deliveryAttempt(record) < 3 && coin++ % 2 === 0) throw new Error('flaky')
        return undefined
      }),
      retryTopic({ delays: ['50ms', '100ms', '100ms'] }),
      deadLetter({ topic: 'dead' }),
    )
    return steps.pipe(
      toExternal('toDatabase', store, write, { ...settings, name: 'first' }),
      toTopic({ topic: 'out', partition: (record) => record.origin.partition }),
      filter(({ value }) => String(value).startsWith('second')),
      toExternal('toDatabase', store, (tx, records) => void tx.lines.push(...records.map(({ value }) => `2 ${String(value)}`)), {
        ...settings,
        name: 'second',
      }),
    )
  }
  const members: Member[] = []
  const start = (): Member => {
    const source = kit.cluster.source({ group: 'g', topics: ['in'], sessionTimeout: '10s', rebalanceTimeout: '20s' })
    const options = { onError: 'skip', retries: 1, retryDelay: 10, maxRecords: 4, every: 30, provision: true, streamBytes: 200 } as const
    return kit.run(source.pipe(withTransaction(project, options)))
  }
  const arm = (what: StoreFault): void => {
    const { faults } = store
    const once = (name: keyof typeof faults, act: () => Promise<void> | void): void => {
      faults[name] = () => {
        faults[name] = undefined as never
        return act()
      }
    }
    const away = (): never => {
      throw new Away(what)
    }
    if (what === 'away before the commit') once('onCommit', away)
    else if (what === 'away after the commit') once('afterCommit', away)
    else if (what === 'away at a take') once('onTake', away)
    else if (what === 'away at a write') writeFails = 2
    else if (what === 'held up at the commit') once('onCommit', () => new Promise((resolve) => kit.clock.after(3_000, resolve)))
    else
      once('onCommit', () => {
        throw new Again(what)
      })
  }
  members.push(start())
  await kit.advance(0)
  const expected: string[] = []
  let fed = 0
  for (const step of given) {
    if (step.do === 'store') arm(step.fault)
    else if (step.do !== 'feed') await takeStep(kit, step, 'g', members, start)
    else {
      await kit.feed(
        'in',
        step.records.map(({ partition, kind }) => {
          const value = `${kind} ${String(fed++).padStart(5, '0')}`
          if (kind !== 'dropped' && kind !== 'poison') expected.push(value)
          return { key: String(partition), value, partition }
        }),
      )
    }
  }
  kit.broker.faults.clear()
  start()
  // Long after all is there: what is written too often may come late.
  for (let i = 0, after = 0; i < 100 && after < 3; i++) {
    await kit.advance('5s')
    const out = (await kit.read('out', { from: 'earliest' })).length
    if (store.lines.length >= withSecond(expected).length && out >= expected.length) after++
  }
  const outputs = (await kit.read('out', { from: 'earliest' })).map(({ value }) => String(value))
  await kit.stop()
  return { lines: [...store.lines].sort(), outputs: outputs.sort(), expected: expected.sort() }
}

const withSecond = (values: readonly string[]): readonly string[] =>
  [...values, ...values.filter((value) => value.startsWith('second')).map((value) => `2 ${value}`)].sort()

const check = (numRuns: number, store?: () => MemoryStore) =>
  fc.check(
    fc.asyncProperty(steps, async (given) => {
      const { lines, outputs, expected } = await run(given, store?.())
      expect(outputs).toEqual(expected)
      expect(lines).toEqual(withSecond(expected))
    }),
    { numRuns, endOnFailure: true },
  )

describe('sinks outside the log', () => {
  it('through faults of either side, crashes and rebalances every record is written once, with its outputs', async () => {
    const details = await check(Number(process.env['RUNS'] ?? 100))
    expect(details.failed ? `seed ${details.seed}\n${JSON.stringify(details.counterexample)}\n${String(details.errorInstance)}` : '').toBe(
      '',
    )
  }, 240_000)

  /** What is wrong is found in so many runs. */
  const isTold = async (store?: () => MemoryStore): Promise<boolean> => (await check(600, store)).failed

  it('would notice a store that does not compare epochs', async () => {
    expect(await isTold(() => new MemoryStore({ noEpoch: true }))).toBe(true)
  }, 240_000)

  it('would notice positions that are written outside the transaction', async () => {
    expect(await isTold(() => new MemoryStore({ positionsApart: true }))).toBe(true)
  }, 240_000)

  const without = async (name: 'isDone' | 'pays', broken: (this: TopicMarks, offset: number) => boolean): Promise<boolean> => {
    const own = TopicMarks.prototype[name]
    TopicMarks.prototype[name] = broken as never
    try {
      return await isTold()
    } finally {
      TopicMarks.prototype[name] = own as never
    }
  }

  it('would notice that what was read and not written is taken for written', async () => {
    function isDone(this: TopicMarks, offset: number): boolean {
      return offset < this.position
    }
    expect(await without('isDone', isDone)).toBe(true)
  }, 240_000)

  it('would notice that what was written is written again out of a retry topic', async () => {
    expect(await without('pays', () => false)).toBe(true)
  }, 240_000)

  /** A member is dropped while the store is away. It takes the rows after the next owner has, and knows of nothing. */
  const lateTaker = [
    { do: 'store', fault: 'away before the commit' },
    {
      do: 'feed',
      records: [
        { partition: 0, kind: 'flaky' },
        { partition: 0, kind: 'plain' },
      ],
    },
    { do: 'expire' },
    { do: 'start', which: 0 },
    {
      do: 'feed',
      records: [
        { partition: 0, kind: 'plain' },
        { partition: 1, kind: 'flaky' },
        { partition: 1, kind: 'poison' },
      ],
    },
    { do: 'fault', fault: { at: 'end', reaction: 'indeterminate', tookEffect: false, after: 1 } },
    { do: 'advance', ms: 1 },
    { do: 'advance', ms: 1 },
    { do: 'advance', ms: 3000 },
    { do: 'start', which: 0 },
  ] as unknown as readonly Step[]

  it('a member that is out of the group, and takes the rows last, writes nothing', async () => {
    const { lines, expected } = await run(lateTaker)
    expect(lines).toEqual(withSecond(expected))
  })

  it('would notice one that does not ask whether it still is a member', async () => {
    const { prototype } = ExternalSession as unknown as { prototype: { confirm: () => Promise<void> } }
    const asked = vi.spyOn(prototype, 'confirm').mockResolvedValue()
    const { lines, expected } = await run(lateTaker)
    asked.mockRestore()
    expect(lines).not.toEqual(withSecond(expected))
  })
})

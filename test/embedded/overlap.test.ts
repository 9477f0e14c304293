import fc from 'fast-check'
import { filter, mergeMap, of, tap, throwError, timer, map, type Observable } from 'rxjs'
import { describe, expect, it } from 'vitest'
import {
  count,
  recordKey,
  dedupe,
  aggregate,
  memoryClaims,
  header,
  silentLogger,
  toTopic,
  withTransaction,
  json,
  type RawRecord,
  type RecordStream,
} from '../../src/index.js'
import { Round } from '../../src/runtime/round.js'
import { createTestKit, type TestKit } from '../../src/testing/index.js'
import { courseSteps, takeStep, type CourseStep, type Member } from '../support/course.js'

const out = toTopic<RawRecord>({ topic: 'out' })
const numbered = (from: number, to: number) =>
  Array.from({ length: to - from }, (_, i) => ({ key: 'k', value: String(from + i), headers: { id: String(from + i) } }))

describe('while a commit is under way', () => {
  const kitOf = (): Promise<TestKit> =>
    createTestKit({ topics: { in: { partitions: 1 }, out: { partitions: 1 } }, start: 1_000_000, logger: silentLogger })
  /** Ten records, five a transaction, the first commit answered after a second: how many were processed before that. */
  const processedMeanwhile = async (kit: TestKit, project: (records: Observable<RawRecord>) => Observable<unknown>): Promise<number> => {
    let processed = 0
    kit.broker.faults.inject({ at: 'end', delayMs: 1_000 })
    kit.run(
      kit.cluster
        .source({ group: 'g', topics: ['in'] })
        .pipe(withTransaction((records) => project(records.pipe(tap(() => processed++))), { provision: true, maxRecords: 5, every: 50 })),
    )
    await kit.feed('in', numbered(0, 10))
    await kit.advance(500)
    return processed
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

  const keeping: Record<string, (records: Observable<RawRecord>) => Observable<unknown>> = {
    'state is kept': (records) => records.pipe(aggregate({ ...count(), name: 'counts' }), toTopic({ topic: 'out', value: json() })),
    'ids are claimed outside the log': (records) => records.pipe(dedupe({ by: header('id'), within: '1h', store: memoryClaims() }), out),
    'ids are claimed in the task': (records) => records.pipe(dedupe({ by: recordKey(), within: '1h' }), out),
  }
  for (const [what, project] of Object.entries(keeping)) {
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

/** What a record is to become, once: its number, in the order of its partition. */
const project = (records: RecordStream) =>
  records.pipe(
    filter(({ value }) => !String(value).startsWith('dropped')),
    mergeMap((record) => {
      const kind = String(record.value).split(' ')[0]
      if (kind === 'poison') return throwError(() => new Error('poison'))
      return kind === 'slow' ? timer(20).pipe(map(() => record)) : of(record)
    }, 1),
    toTopic({ topic: 'out', partition: (record) => record.origin.partition }),
  )

async function run(
  given: readonly Step[],
): Promise<{ readonly outputs: readonly (readonly string[])[]; readonly expected: readonly (readonly string[])[] }> {
  // Batches of one or two records, so that outputs are sent before the end of their transaction.
  const kit = await createTestKit({
    topics: { in: { partitions: PARTITIONS }, out: { partitions: PARTITIONS, config: { 'max.message.bytes': '145' } } },
    start: 1_000_000,
    logger: silentLogger,
  })
  const members: Member[] = []
  const expected: string[][] = Array.from({ length: PARTITIONS }, () => [])
  let fed = 0
  const start = (): Member => {
    const source = kit.cluster.source({ group: 'g', topics: ['in'], sessionTimeout: '10s', rebalanceTimeout: '20s' })
    return kit.run(
      source.pipe(withTransaction(project, { onError: 'skip', retries: 1, retryDelay: 10, maxRecords: 4, every: 30, streamBytes: 1 })),
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
      if (kind === 'plain' || kind === 'slow') (expected[partition] as string[]).push(value)
      return { key: String(partition), value, partition }
    })
    await kit.feed('in', records)
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
    fc.asyncProperty(steps, async (given) => {
      const { outputs, expected } = await run(given)
      expect(outputs).toEqual(expected)
    }),
    { numRuns, endOnFailure: false },
  )

describe('overlapping transactions', () => {
  it('through faults, crashes and rebalances every record passes once, in the order of its partition', async () => {
    const details = await check(200)
    expect(details.failed ? `seed ${details.seed}\n${JSON.stringify(details.counterexample)}\n${String(details.errorInstance)}` : '').toBe(
      '',
    )
  }, 240_000)

  /** The second transaction is made while the first commits, and fails at its offsets. */
  const course: readonly Step[] = [
    { do: 'fault', fault: { at: 'end', delayMs: 1_000 } },
    { do: 'fault', fault: { at: 'offsets', reaction: 'abort', after: 1 } },
    {
      do: 'feed',
      records: (['plain', 'plain', 'plain', 'plain', 'plain', 'plain', 'plain', 'slow'] as const).map((kind) => ({ partition: 0, kind })),
    },
    { do: 'advance', ms: 400 },
    { do: 'advance', ms: 3_000 },
  ]

  it('one that is undone leaves nothing in the one before', async () => {
    const { outputs, expected } = await run(course)
    expect(outputs).toEqual(expected)
  })

  it('would notice outputs that are sent before the commit before them is done', async () => {
    const own = Object.getOwnPropertyDescriptor(Round.prototype, 'isHeld') as PropertyDescriptor
    Object.defineProperty(Round.prototype, 'isHeld', { configurable: true, get: () => false })
    try {
      const { outputs, expected } = await run(course)
      expect(outputs).not.toEqual(expected)
    } finally {
      Object.defineProperty(Round.prototype, 'isHeld', own)
    }
  })
})

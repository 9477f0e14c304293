import fc from 'fast-check'
import { map, type Observable } from 'rxjs'
import { afterEach, describe, expect, it, vi } from 'vitest'
import {
  aggregator,
  hopping,
  json,
  session,
  sliding,
  toTopic,
  tumbling,
  window,
  withTransaction,
  type Cluster,
  type Commit,
  type LateRecord,
  type RecordStream,
  type WindowResult,
  type Windows,
} from '../../src/index.js'
import { createTestKit, type Fault, type InjectedFault, type RunningPipeline } from '../../src/testing/index.js'
import { MemoryStore } from '../../src/state/memory-store.js'
import { EntryStore } from '../../src/state/entry-store.js'
import { TimelineStore } from '../../src/state/timeline-store.js'
import { expectedWindows, type Expected, type ExpectedWindow, type TimedRecord } from '../support/window-oracle.js'

/** One course of a pipeline: what comes, in which portions, what goes wrong meanwhile. */
interface Course {
  readonly windows: Windows
  readonly graceMs: number
  readonly partitions: number
  readonly maxRecords: number
  readonly portions: readonly Portion[]
}

interface Portion {
  readonly records: readonly { readonly key: string; readonly step: number }[]
  readonly faults: readonly Fault[]
  /** How long it goes on, and what happens then. */
  readonly forMs: number
  readonly then: 'go on' | 'restart' | 'crash'
}

type Seen = Pick<WindowResult<number[]>, 'start' | 'end' | 'result'>
type Emit = 'final' | 'updates'

/** The ids of the records of a window: nothing may be missing or there twice. Changed in place, which the undo has to cope with. */
const ids = aggregator({
  name: 'ids',
  init: (): number[] => [],
  add(state: number[], { value }: { readonly value: unknown }) {
    state.push(Number(value))
    return state
  },
  merge(earlier, later) {
    earlier.push(...later)
    return earlier
  },
  result: (state) => [...state].sort((a, b) => a - b),
})

type WindowUnderTest = (course: Course, emit: Emit) => (records: RecordStream) => Observable<unknown>

const asGiven: WindowUnderTest =
  ({ windows, graceMs }, emit) =>
  (records) =>
    records.pipe(
      window(windows, {
        aggregate: ids,
        grace: graceMs,
        emit,
        late: (late: Observable<LateRecord<RecordStream extends Observable<infer R> ? R : never>>) =>
          late.pipe(map(lateOf), toTopic({ topic: 'late', value: json() })),
      }),
      toTopic({ topic: 'out', value: json() }),
    )

function lateOf({ record, windows, streamTime }: LateRecord<RecordStream extends Observable<infer R> ? R : never>) {
  return record.with({ value: { id: Number(record.value), streamTime, windows } })
}

const pipelineOf = (
  cluster: Cluster,
  { maxRecords }: Course,
  project: (records: RecordStream) => Observable<unknown>,
): Observable<Commit> =>
  cluster.source({ group: 'g', topics: ['in'] }).pipe(withTransaction(project, { every: 10, maxRecords, provision: true }))

interface Outcome {
  /** In the order of the partition. */
  readonly out: readonly (Seen & { readonly key: string; readonly partition: number })[]
  readonly late: readonly string[]
  readonly lost: number
  readonly expected: readonly Expected[]
  /** How many hit something. */
  readonly faults: number
  /** While a commit may have been under way. */
  readonly crashed: boolean
}

async function run(course: Course, emit: Emit, underTest: WindowUnderTest): Promise<Outcome> {
  const { partitions, portions, windows, graceMs } = course
  const kit = await createTestKit({
    topics: { in: { partitions }, out: { partitions, value: json<Seen>() }, late: { partitions } },
  })
  try {
    const runs: RunningPipeline[] = []
    const start = (): RunningPipeline => {
      const running = kit.run(pipelineOf(kit.cluster, course, underTest(course, emit)))
      runs.push(running)
      return running
    }
    let running = start()
    const injected: InjectedFault[] = []
    let time = 50
    let id = 0
    for (const { records, faults, forMs, then } of portions) {
      for (const fault of faults) injected.push(kit.broker.faults.inject(fault))
      await kit.feed(
        'in',
        records.map(({ key, step }) => ({ key, value: String(id++), timestamp: (time = Math.max(0, time + step)) })),
      )
      await kit.advance(forMs)
      if (then === 'go on') continue
      await (then === 'restart' ? running.stop() : running.crash())
      running = start()
    }
    kit.broker.faults.clear()
    // Longer than any session or transaction of a crashed member.
    await kit.advance('5m')
    await running.stop()

    const fed: TimedRecord[][] = Array.from({ length: partitions }, () => [])
    for (const { key, value, timestamp, partition } of await kit.read('in'))
      fed[partition]?.push({ key: key as string, time: timestamp, id: Number(value) })
    return {
      out: (await kit.read('out')).map(({ key, partition, value }) => ({ ...(value as Seen), key: key as string, partition })),
      late: (await kit.read('late')).map(({ value }) => value as string).sort(),
      crashed: portions.some(({ then }) => then === 'crash') && portions.some(({ faults }) => faults.some(({ at }) => at === 'end')),
      faults: injected.reduce((sum, { hits }) => sum + hits, 0),
      lost: runs.flatMap(({ commits }) => commits).reduce((sum, { late }) => sum + late, 0),
      expected: fed.map((records) => expectedWindows(windows, graceMs, records)),
    }
  } finally {
    await kit.stop()
  }
}

const line = ({ key, start, end, ids }: ExpectedWindow): string => `${key} ${start}-${end}: ${ids.join(',')}`
const seenLine = ({ key, start, end, result }: Outcome['out'][number]): string => `${key} ${start}-${end}: ${result.join(',')}`

function checkLate({ late, lost, expected, crashed }: Outcome): void {
  const wanted = expected.flatMap(({ late }) => late)
  const normal = (text: string): string => {
    const { id, streamTime, windows } = JSON.parse(text) as Expected['late'][number]
    return JSON.stringify({ id, streamTime, windows: [...windows].sort((a, b) => a.start - b.start) })
  }
  expect(late.map(normal).sort()).toEqual(wanted.map((record) => normal(JSON.stringify(record))).sort())
  const wantedLost = expected.reduce((sum, { lost }) => sum + lost, 0)
  // What a member committed last it cannot tell any more when it crashes.
  if (crashed) expect(lost).toBeLessThanOrEqual(wantedLost)
  else expect(lost).toBe(wantedLost)
}

/** Each final is there once, and in each partition they come by their end. */
function checkFinals(outcome: Outcome): void {
  const { out, expected } = outcome
  expect(out.map(seenLine).sort()).toEqual(expected.flatMap(({ closed }) => closed.map(line)).sort())
  for (const partition of expected.keys()) {
    const ends = out.filter((seen) => seen.partition === partition).map(({ end }) => end)
    expect(ends).toEqual([...ends].sort((a, b) => a - b))
  }
  checkLate(outcome)
}

/** The last update of each window is what it came to. */
function checkUpdates(outcome: Outcome, windows: Windows): void {
  const { out, expected } = outcome
  const wanted = expected.flatMap(({ closed, open }) => [...closed, ...open])
  const last = new Map(out.map((seen) => [`${seen.key} ${seen.start}-${seen.end}`, seenLine(seen)]))
  if (windows.kind === 'session') {
    // What a session was before it grew or was merged has bounds of its own, inside those it has now.
    for (const [bounds, { key, start, end }] of new Map(out.map((seen) => [`${seen.key} ${seen.start}-${seen.end}`, seen]))) {
      if (!wanted.some((session) => session.key === key && session.start === start && session.end === end)) {
        expect(wanted.some((session) => session.key === key && session.start <= start && session.end >= end)).toBe(true)
        last.delete(bounds)
      }
    }
  }
  expect([...last.values()].sort()).toEqual(wanted.map(line).sort())
  checkLate(outcome)
}

const faults: fc.Arbitrary<Fault> = fc
  .record({
    what: fc.constantFrom<Fault>(
      // Not what feeds the pipeline.
      { at: 'produce', reaction: 'abort', of: 'g-window-changelog' },
      { at: 'produce', reaction: 'reinit', of: 'g-window-changelog' },
      { at: 'offsets', reaction: 'abort' },
      { at: 'offsets', reaction: 'lost' },
      { at: 'end', reaction: 'abort' },
      { at: 'end', reaction: 'indeterminate', tookEffect: true },
      { at: 'end', reaction: 'indeterminate', tookEffect: false },
      // So that a crash finds a transaction open.
      { at: 'produce', delayMs: 20, of: 'g-window-changelog' },
      { at: 'offsets', delayMs: 20 },
      { at: 'end', delayMs: 20 },
    ),
    after: fc.integer({ min: 0, max: 3 }),
    times: fc.integer({ min: 1, max: 2 }),
  })
  .map(({ what, after, times }) => ({ ...what, after, times }))

/** Times walk on and back; sizes and graces are of the same order, so that records meet the edges exactly. */
const portion: fc.Arbitrary<Portion> = fc.record({
  records: fc.array(fc.record({ key: fc.constantFrom('a', 'b', 'c', 'd'), step: fc.integer({ min: -9, max: 12 }) }), {
    minLength: 1,
    maxLength: 14,
  }),
  faults: fc.array(faults, { maxLength: 2 }),
  forMs: fc.constantFrom(0, 5, 15, 30),
  then: fc.constantFrom('go on', 'go on', 'restart', 'crash'),
})

const course = (windows: fc.Arbitrary<Windows>): fc.Arbitrary<Course> =>
  fc.record({
    windows,
    graceMs: fc.integer({ min: 0, max: 8 }),
    partitions: fc.integer({ min: 1, max: 3 }),
    maxRecords: fc.oneof(fc.integer({ min: 1, max: 5 }), fc.constant(100)),
    portions: fc.array(portion, { minLength: 1, maxLength: 5 }),
  })

const size = fc.integer({ min: 1, max: 12 })
const kinds: Record<string, fc.Arbitrary<Windows>> = {
  tumbling: fc.tuple(size, fc.integer({ min: 0, max: 5 })).map(([ms, offset]) => tumbling(ms, { offset })),
  hopping: fc.tuple(size, size).map(([a, b]) => hopping({ size: Math.max(a, b), advance: Math.min(a, b) })),
  session: size.map((gap) => session(gap)),
  sliding: size.map((ms) => sliding(ms)),
}

const seed = Number(process.env['SEED'] ?? Date.now() % 1_000_000)
/** Runs of each property; a time limit keeps a busy machine from taking minutes. */
const RUNS = Number(process.env['RUNS'] ?? 150)
const LIMIT_MS = RUNS * 70

const property = (
  kind: string,
  emit: Emit,
  underTest: WindowUnderTest = asGiven,
  onOutcome = (_outcome: Outcome): void => {},
): fc.IAsyncProperty<[Course]> =>
  fc.asyncProperty(course(kinds[kind] as fc.Arbitrary<Windows>), async (given) => {
    const outcome = await run(given, emit, underTest)
    onOutcome(outcome)
    if (emit === 'final') checkFinals(outcome)
    else checkUpdates(outcome, given.windows)
  })

/** Runs the property, and sees to it that what it is about has happened. */
async function holds(kind: string, emit: Emit): Promise<void> {
  const met = { runs: 0, closed: 0, late: 0, lost: 0, faults: 0 }
  const note = ({ expected, lost, faults }: Outcome): void => {
    met.runs++
    met.closed += expected.reduce((sum, { closed }) => sum + closed.length, 0)
    met.late += expected.reduce((sum, { late }) => sum + late.length, 0)
    met.lost += lost
    met.faults += faults
  }
  await fc.assert(property(kind, emit, asGiven, note), { seed, numRuns: RUNS, interruptAfterTimeLimit: LIMIT_MS })
  if (process.env['VERBOSE'] !== undefined) console.info(kind, emit, met)
  for (const count of Object.values(met)) expect(count).toBeGreaterThan(met.runs / 10)
}

describe(`windows against the oracle, through faults, crashes and restarts (SEED=${seed})`, () => {
  for (const kind of Object.keys(kinds)) {
    it(`${kind}: each final once, late ones counted and handed out`, () => holds(kind, 'final'), LIMIT_MS + 30_000)
    it(`${kind}: the last update of each window is what it came to`, () => holds(kind, 'updates'), LIMIT_MS + 30_000)
  }
})

describe(`the same property on broken windows (SEED=${seed})`, () => {
  afterEach(() => vi.restoreAllMocks())

  const isCaught = async (kind: string, emit: Emit = 'final', underTest?: WindowUnderTest): Promise<void> => {
    const { failed, errorInstance } = await fc.check(property(kind, emit, underTest), { seed, numRuns: 300, endOnFailure: true })
    expect(failed).toBe(true)
    // By what comes out, not by a pipeline that fails.
    expect(errorInstance).toMatchObject({ name: 'AssertionError' })
  }

  for (const kind of Object.keys(kinds)) {
    it(
      `${kind}: a grace that is one too long is noticed`,
      () => isCaught(kind, 'final', (given, emit) => asGiven({ ...given, graceMs: given.graceMs + 1 }, emit)),
      60_000,
    )

    it(`${kind}: a stream time that is not restored is noticed`, async () => {
      const load = EntryStore.prototype.load
      vi.spyOn(EntryStore.prototype, 'load').mockImplementation(function (this: EntryStore<never, never>, key, value, version) {
        if (key.length > 0) load.call(this, key, value, version)
      })
      await isCaught(kind)
    }, 60_000)

    it(`${kind}: an undo that keeps what was aborted is noticed`, async () => {
      for (const store of [MemoryStore, TimelineStore]) {
        vi.spyOn(store.prototype, 'rollback').mockImplementation(function (this: EntryStore<never, never>) {
          this.commit()
        })
      }
      await isCaught(kind)
    }, 60_000)
  }

  it('a window that is not looked at again after an abort is noticed', async () => {
    vi.spyOn(TimelineStore.prototype, 'rollback').mockImplementation(function (this: TimelineStore<never>) {
      EntryStore.prototype.rollback.call(this)
    })
    await isCaught('sliding')
  }, 60_000)
})

import { map } from 'rxjs'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { statusOf, toTopic, withTransaction, type TimeStatus } from '../../src/index.js'
import { StepProfile } from '../../src/runtime/status/step-profile.js'
import { createTestKit, type TestKit } from '../../src/testing/index.js'

/** Looks at the clock, which is what measuring costs. */
describe('what timing the steps of slices costs', () => {
  let kit: TestKit

  beforeEach(async () => {
    kit = await createTestKit({ topics: { in: {}, out: {} } })
  })
  afterEach(() => kit.stop())

  const ran = async (records: number, maxRecords: number, sampleSteps?: number): Promise<{ looks: number; time: TimeStatus }> => {
    const looks = vi.spyOn(kit.clock, 'monotonic')
    await kit.feed(
      'in',
      Array.from({ length: records }, (_, i) => ({ value: String(i) })),
    )
    const pipeline = kit.cluster
      .source({ group: `g-${records}-${maxRecords}-${sampleSteps}`, topics: ['in'], startFrom: { timestamp: kit.clock.now() } })
      .pipe(
        withTransaction(
          (stream) =>
            stream.pipe(
              map((record) => record),
              toTopic({ topic: 'out' }),
            ),
          {
            every: '100ms',
            maxRecords,
            ...(sampleSteps === undefined ? {} : { sampleSteps }),
          },
        ),
      )
    const before = looks.mock.calls.length
    const running = kit.run(pipeline)
    await kit.advance('1s')
    const counted = looks.mock.calls.length - before
    expect(statusOf(pipeline).snapshot().totals.records).toBe(records)
    const { time } = statusOf(pipeline).snapshot()
    await running.stop()
    await kit.advance('1s')
    return { looks: counted, time }
  }

  it('nothing where it is off: the looks at the clock are those of the loop, however many records a slice has', async () => {
    const few = await ran(100, 100)
    const many = await ran(10_000, 10_000)
    // One a chunk of 256 records, which tells when others have their turn.
    expect(many.looks - few.looks).toBeLessThan(10_000 / 50)
    expect(many.time.sampled).toMatchObject({ oneIn: undefined, slices: 0, records: 0 })
  })

  it('one slice in so many where it is on: only its records are looked at', async () => {
    const off = await ran(4_000, 100)
    const on = await ran(4_000, 100, 10)
    expect(on.time.sampled).toMatchObject({ oneIn: 10, slices: 4, records: 400 })
    const extra = on.looks - off.looks
    // In and out of two steps and of what comes before them, for each of the records that were timed, and for the ends of slices.
    expect(extra).toBeGreaterThan(400 * 2)
    expect(extra).toBeLessThan(400 * 10)
    const all = await ran(4_000, 100, 1)
    expect(all.time.sampled.slices).toBe(40)
    expect(all.looks - off.looks).toBeGreaterThan(8 * extra)
  })

  it('asking whether a slice is the one costs no look, and of each row of so many one is', () => {
    const monotonic = vi.fn(() => 0)
    const clock = { now: () => 0, monotonic, after: () => () => {} }
    const of = (oneIn: number | undefined): boolean[] => {
      const profile = new StepProfile(clock, oneIn)
      return Array.from({ length: 1_000 }, () => profile.next() !== undefined)
    }
    expect(of(undefined).includes(true)).toBe(false)
    const chosen = of(100)
    for (let row = 0; row < 10; row++) expect(chosen.slice(row * 100, row * 100 + 100).filter(Boolean)).toHaveLength(1)
    expect(monotonic).not.toHaveBeenCalled()
  })
})

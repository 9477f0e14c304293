import { mergeMap, type OperatorFunction } from 'rxjs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { attempt, dropFailed, toTopic, withTransaction, type RawRecord } from '../../src/index.js'
import { createTestKit, type TestKit } from '../../src/testing/index.js'

const PARTITIONS = 4
const CONCURRENCY = 64
/** So many turns of all calls; more where joining the group would weigh. */
const turns = (ms: number): number => Math.max(80, 400 / ms)

/** Steps that wait for a service: what they reach is told by the records committed in virtual time. */
describe('a step that waits', () => {
  let kit: TestKit
  let wake: Promise<void> | undefined
  let wakeAt = 0

  beforeEach(async () => {
    kit = await createTestKit({ topics: { in: { partitions: PARTITIONS }, out: { partitions: PARTITIONS } } })
  })

  afterEach(() => kit.stop())

  /** Calls made at one time share a timer. */
  function sleep(ms: number): Promise<void> {
    const at = kit.clock.monotonic() + ms
    if (wake === undefined || wakeAt !== at) {
      wakeAt = at
      wake = new Promise((resolve) => kit.clock.after(ms, resolve))
    }
    return wake
  }

  async function reached(ms: number, step: OperatorFunction<RawRecord, RawRecord>): Promise<number> {
    const total = PARTITIONS * CONCURRENCY * turns(ms)
    await kit.feed(
      'in',
      Array.from({ length: total }, (_, i) => ({ key: String(i), value: 'v', partition: i % PARTITIONS })),
    )
    const began = kit.clock.monotonic()
    const { commits } = kit.run(
      kit.cluster.source({ group: 'g', topics: ['in'] }).pipe(withTransaction((records) => records.pipe(step, toTopic({ topic: 'out' })))),
    )
    let done = 0
    for (let steps = 0; done < total && steps < 10_000; steps++) {
      await kit.advance(Math.ceil(ms / 4))
      done = commits.reduce((sum, { records }) => sum + records, 0)
    }
    expect(done).toBe(total)
    return total / (kit.clock.monotonic() - began) / ((PARTITIONS * CONCURRENCY) / ms)
  }

  for (const ms of [10, 300, 2_000]) {
    it(`attempt makes use of its calls of ${ms} ms`, async () => {
      const step = attempt(() => sleep(ms), { concurrency: CONCURRENCY })
      expect(await reached(ms, (records) => records.pipe(step, dropFailed()) as never)).toBeGreaterThan(0.8)
    })
  }

  it('so does a mergeMap of promises', async () => {
    const step = mergeMap((record: RawRecord) => sleep(300).then(() => record), CONCURRENCY)
    expect(await reached(300, step)).toBeGreaterThan(0.8)
  })
})

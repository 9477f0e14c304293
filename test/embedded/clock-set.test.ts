import { tap, type Observable } from 'rxjs'
import { describe, expect, it } from 'vitest'
import { count, json, toTopic, tumbling, window, withTransaction, type RecordStream, type TransactionOptions } from '../../src/index.js'
import { VirtualClock, type TestKit } from '../../src/testing/index.js'
import { inOutDeadKit } from '../support/in-out-dead-kit.js'

const HOUR = 3_600_000

const run = (kit: TestKit, project: (records: RecordStream) => Observable<unknown>, options: TransactionOptions = {}) =>
  kit.run(kit.cluster.source({ group: 'g', topics: ['in'] }).pipe(withTransaction(project, { provision: true, every: 5_000, ...options })))
const written = async (kit: TestKit): Promise<number> => (await kit.read('out', { from: 'earliest' })).length

/**
 * What takes some time, and is not to take more or less of it because the system's date is set meanwhile. Each tells what it did before and
 * after that time.
 */
const DURATIONS: Record<string, (byMs: number) => Promise<readonly [before: number, after: number]>> = {
  'the interval of commits': async (byMs) => {
    const kit = await inOutDeadKit()
    run(kit, (records) => records.pipe(toTopic({ topic: 'out' })))
    await kit.feed('in', { value: 'x' })
    await kit.advance('1s')
    kit.clock.shiftDate(byMs)
    await kit.advance('3s')
    const before = await written(kit)
    await kit.advance('2s')
    return [before, await written(kit)]
  },
  'the pause before a slice is run again': async (byMs) => {
    const kit = await inOutDeadKit()
    let fails = true
    const refusing = (records: RecordStream): Observable<unknown> =>
      records.pipe(
        tap(() => {
          if (fails) throw new Error('not yet')
        }),
        toTopic({ topic: 'out' }),
      )
    run(kit, refusing, { every: 10, retries: 3, retryDelay: '10s' })
    await kit.advance('1s')
    await kit.feed('in', { value: 'x' })
    await kit.advance('1s')
    fails = false
    kit.clock.shiftDate(byMs)
    await kit.advance('8s')
    const before = await written(kit)
    await kit.advance('3s')
    return [before, await written(kit)]
  },
  'the silence after which windows close': async (byMs) => {
    const kit = await inOutDeadKit()
    run(kit, (records) =>
      records.pipe(
        window(tumbling('10s'), { aggregate: count(), emit: 'final', closeWhenIdle: '1m' }),
        toTopic({ topic: 'out', value: json() }),
      ),
    )
    await kit.feed('in', { key: 'k', value: 'x' })
    await kit.advance('10s')
    kit.clock.shiftDate(byMs)
    await kit.advance('45s')
    const before = await written(kit)
    await kit.advance('20s')
    return [before, await written(kit)]
  },
}

describe('a date that is set while the time passes', () => {
  for (const [name, course] of Object.entries(DURATIONS)) {
    for (const [direction, byMs] of Object.entries({ back: -HOUR, forth: HOUR })) {
      it(`does not change ${name}: ${direction}`, async () => {
        expect(await course(byMs)).toEqual([0, 1])
      })
    }
  }

  it('would be noticed to', async () => {
    const own = Object.getOwnPropertyDescriptor(VirtualClock.prototype, 'monotonic') as PropertyDescriptor
    Object.defineProperty(VirtualClock.prototype, 'monotonic', {
      configurable: true,
      value(this: VirtualClock) {
        return this.now()
      },
    })
    try {
      for (const course of Object.values(DURATIONS)) expect(await course(-HOUR)).toEqual([0, 0])
    } finally {
      Object.defineProperty(VirtualClock.prototype, 'monotonic', own)
    }
  })
})

import { setTimeout as pause } from 'node:timers/promises'
import { mergeMap, timer } from 'rxjs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { attempt, dropFailed, toTopic, withTransaction, type RawRecord } from '../../src/index.js'
import { createTestKit, type RunningPipeline, type TestKit } from '../../src/testing/index.js'

/** An answer so late that no test waits for it. */
const LATE_MS = 3_600_000

describe('a real setTimeout in the code of a pipeline under the test kit', () => {
  let kit: TestKit
  let giveUp: AbortController

  beforeEach(async () => {
    giveUp = new AbortController()
    kit = await createTestKit({ topics: { in: {}, out: {} } })
  })

  afterEach(async () => {
    giveUp.abort()
    await kit.stop()
  })

  const run = (step: (record: RawRecord) => void | Promise<void>): RunningPipeline =>
    kit.run(
      kit.cluster
        .source({ group: 'g', topics: ['in'] })
        .pipe(withTransaction((records) => records.pipe(attempt(step), dropFailed(), toTopic({ topic: 'out' })))),
    )
  const sleep = (ms: number): Promise<void> =>
    new Promise((resolve) => {
      const real = setTimeout(resolve, ms)
      giveUp.signal.addEventListener('abort', () => (clearTimeout(real), resolve()))
    })

  it('is told where nothing was written, with its line', async () => {
    run(async () => sleep(LATE_MS))
    await kit.feed('in', { value: 'v' })
    await kit.advance('1s')
    await expect(kit.read('out')).rejects.toMatchObject({
      code: 'TIMEOUT',
      message: expect.stringMatching(/nothing new in 'out'.*setTimeout.*real-timers\.test\.ts:\d+/) as string,
    })
  })

  it('so is one of node:timers/promises', async () => {
    run(async () => {
      await pause(LATE_MS, undefined, { signal: giveUp.signal }).catch(() => {})
    })
    await kit.feed('in', { value: 'v' })
    await expect(kit.read('out')).rejects.toMatchObject({ code: 'TIMEOUT', message: expect.stringContaining('setTimeout') as string })
  })

  it('is no matter where it was cleared, where the slice went on without it, or where it keeps no process', async () => {
    run(() => {
      clearTimeout(setTimeout(() => {}, LATE_MS))
      setTimeout(() => {}, LATE_MS).unref()
      void sleep(LATE_MS)
    })
    await kit.feed('in', { value: 'v' })
    await kit.advance('1s')
    expect(await kit.read('out')).toHaveLength(1)
    expect(await kit.read('out')).toEqual([])
  })

  it('is no matter where something else set it, and RxJS waits by virtual time', async () => {
    void sleep(LATE_MS)
    kit.run(
      kit.cluster.source({ group: 'g', topics: ['in'] }).pipe(
        withTransaction((records) =>
          records.pipe(
            mergeMap((record) => timer(1_000).pipe(mergeMap(() => [record]))),
            toTopic({ topic: 'out' }),
          ),
        ),
      ),
    )
    await kit.feed('in', { value: 'v' })
    expect(await kit.read('out')).toEqual([])
    await kit.advance('2s')
    expect(await kit.read('out')).toHaveLength(1)
  })
})

import { describe, expect, it } from 'vitest'
import { Outputs } from '../../src/runtime/outputs.js'
import { Round, type RoundEnvironment } from '../../src/runtime/round.js'
import { TaskState } from '../../src/runtime/task-state.js'
import type { Task } from '../../src/runtime/task.js'
import { Wakeup } from '../../src/runtime/wakeup.js'
import { silentLogger } from '../../src/record/logger.js'
import { VirtualClock } from '../../src/testing/index.js'
import type { Slice } from '../../src/runtime/slice.js'

describe('a round over many tasks', () => {
  /** How often the bytes of a task are looked at while each of `count` tasks feeds one record. */
  const looksAtBytes = async (count: number): Promise<number> => {
    let looks = 0
    const clock = new VirtualClock()
    const tasks = Array.from({ length: count }, (_, partition) => {
      let fed = 0
      const task = {
        partition,
        alarms: { untilNext: () => Number.POSITIVE_INFINITY },
        state: new TaskState(partition, []),
        ready: true,
        behind: false,
        untilDue: () => Number.POSITIVE_INFINITY,
        get bytes() {
          looks++
          return fed * 100
        },
        get dirty() {
          return fed > 0
        },
        records: 0,
        updateViews: () => {},
        advance: () => fed === 0,
        feed: (_slice: Slice) => {
          fed++
          return 1
        },
      }
      return task as unknown as Task
    })
    const environment = {
      group: 'g',
      taskCount: count,
      inputs: ['in'],
      project: (records) => records,
      outputs: new Outputs([], true),
      producer: { pendingBytes: 0 } as unknown as RoundEnvironment['producer'],
      clock,
      logger: silentLogger,
      shared: new Map(),
      standing: undefined as never,
      effects: undefined as never,
      wakeup: new Wakeup(clock),
      streamBytes: 1_000_000,
      stallAfterMs: 60_000,
      drainMs: 0,
      demand: () => 'none',
      before: undefined,
    } satisfies RoundEnvironment
    const round = new Round(tasks, { everyMs: 100, maxRecords: count, maxBytes: 1e9, live: true }, environment)
    const ended = round.run()
    await clock.advance('1s')
    expect(await ended).toEqual({ kind: 'done' })
    expect(round.records).toBe(count)
    return looks
  }

  it('looks at what is kept of each task as often, however many there are', async () => {
    const [few, many] = [await looksAtBytes(10), await looksAtBytes(1_000)]
    expect(many / few).toBeLessThanOrEqual(100)
  })
})

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { Subscription } from 'rxjs'
import { toTopic, watchLag, withTransaction, type GroupLag, type LagAlert, type WatchLagOptions } from '../../src/index.js'
import { LagAlarm } from '../../src/cluster/lag-alarm.js'
import { createTestKit, type TestKit } from '../../src/testing/index.js'

describe('watchLag', () => {
  let kit: TestKit
  let seen: GroupLag[]
  let alerts: LagAlert[]
  let lines: string[]
  let watching: Subscription | undefined

  beforeEach(async () => {
    seen = []
    alerts = []
    lines = []
    const keep = (_fields: object, message: string): void => void lines.push(message)
    kit = await createTestKit({
      topics: { in: { partitions: 2 }, out: {} },
      logger: { debug: () => {}, info: keep, warn: keep, error: keep },
    })
  })
  afterEach(async () => {
    vi.restoreAllMocks()
    watching?.unsubscribe()
    await kit.stop()
  })

  const watch = (options: Partial<WatchLagOptions> = {}): void => {
    watching = watchLag(kit.cluster, {
      groups: [{ group: 'g', topics: ['in'] }],
      thresholds: { records: 100, clear: 20, for: '30s' },
      onAlert: (alert) => alerts.push(alert),
      ...options,
    }).subscribe((lag) => seen.push(lag))
  }
  const feed = (count: number): Promise<number> =>
    kit.feed(
      'in',
      Array.from({ length: count }, () => ({ key: 'k', value: 'v', partition: 0 })),
    )
  /** Reads what is there, commits it, and goes. */
  const catchUp = async (): Promise<void> => {
    const member = kit.run(
      kit.cluster.source({ group: 'g', topics: ['in'] }).pipe(withTransaction((records) => records.pipe(toTopic({ topic: 'out' })))),
    )
    await kit.advance('1s')
    await member.stop()
  }

  it('tells the lag of a group that does not run, how it grows, and when it has caught up', async () => {
    await feed(10)
    await catchUp()
    watch()
    await kit.advance('0s')
    expect(seen).toMatchObject([{ group: 'g', lag: 0, growth: undefined, timeToZeroMs: 0, alerting: false }])
    expect(seen[0]?.partitions).toMatchObject([
      { topic: 'in', partition: 0, committed: 10, end: 10, lag: 0 },
      { topic: 'in', partition: 1, committed: 0, end: 0, lag: 0 },
    ])
    await feed(50)
    await kit.advance('10s')
    expect(seen.at(-1)).toMatchObject({ lag: 50, growth: 5, timeToZeroMs: undefined })
    expect(seen).toHaveLength(2)
  })

  it('a partition without a committed offset has no lag, and is listed', async () => {
    await feed(5)
    watch()
    await kit.advance('0s')
    expect(seen[0]).toMatchObject({ lag: 0, partitions: [{ committed: undefined, end: 5, lag: undefined }, { end: 0 }] })
  })

  /** What fires where the lag goes up, stays near the threshold, and comes down. */
  const course = async (): Promise<string[]> => {
    await feed(1)
    await catchUp()
    watch()
    await feed(150)
    await kit.advance('20s')
    await catchUp()
    await kit.advance('60s')
    await feed(150)
    await kit.advance('60s')
    // About the threshold, for longer than it takes to fire.
    await catchUp()
    await feed(50)
    await kit.advance('5m')
    await feed(60)
    await kit.advance('5m')
    await catchUp()
    await kit.advance('60s')
    return alerts.map(({ state }) => state)
  }

  it('fires once when it lasts, stays while it is about there, and is over once, in log and callback', async () => {
    expect(await course()).toEqual(['fired', 'cleared'])
    expect(lines.filter((line) => line.includes('behind'))).toEqual(['a group is behind', 'a group is no longer behind'])
    expect(seen.at(-1)?.alerting).toBe(false)
  })

  it('would notice an alarm without hysteresis', async () => {
    const { look } = LagAlarm.prototype
    vi.spyOn(LagAlarm.prototype, 'look').mockImplementation(function (this: LagAlarm, ...args) {
      Object.assign(this, { thresholds: { records: 100, clear: 99, for: 0 } })
      return look.apply(this, args)
    })
    expect((await course()).length).toBeGreaterThan(2)
  })

  it('an onAlert that throws is told, and the watch goes on; wrong options are refused by name', async () => {
    await feed(1)
    await catchUp()
    watch({
      onAlert: () => {
        throw new Error('pager is down')
      },
    })
    await feed(150)
    await kit.advance('60s')
    const looks = seen.length
    await kit.advance('60s')
    expect(seen.length).toBeGreaterThan(looks)
    expect(lines).toContain('onAlert of watchLag failed')
    expect(() => watchLag(kit.cluster, { groups: [] })).toThrow(/groups: name at least one group/)
    expect(() => watchLag(kit.cluster, { groups: [{ group: 'g', topics: ['in'] }], thresholds: { records: 5, clear: 5 } })).toThrow(
      /thresholds\.clear: clear must be less than records/,
    )
  })

  it('ends with the cluster', async () => {
    let complete = false
    watchLag(kit.cluster, { groups: [{ group: 'g', topics: ['in'] }] }).subscribe({ complete: () => (complete = true) })
    await kit.advance('1s')
    await kit.cluster.close()
    expect(complete).toBe(true)
  })
})

import { describe, expect, it } from 'vitest'
import {
  count,
  decode,
  embedded,
  hopping,
  kafka,
  retryTopic,
  session,
  toTopic,
  tumbling,
  window,
  withTransaction,
} from '../../src/index.js'
import { parseDuration } from '../../src/record/duration.js'

const refusal = (fn: () => unknown): string => {
  try {
    fn()
  } catch (error) {
    return `${(error as { code: string }).code} ${(error as Error).message}`
  }
  return 'accepted'
}

describe('options at the door', () => {
  it('refuses unknown options by name', () => {
    expect(refusal(() => withTransaction((r) => r, { evry: '1s' } as object))).toMatch(
      /INVALID_OPTIONS withTransaction.*unknown option 'evry'/s,
    )
    expect(refusal(() => embedded().source({ group: 'g', topics: ['t'], from: 'earliest' } as never))).toMatch(
      /INVALID_OPTIONS source.*'from'/s,
    )
    expect(refusal(() => toTopic({ topic: 't', serde: 1 } as never))).toMatch(/INVALID_OPTIONS toTopic.*'serde'/s)
    expect(refusal(() => kafka({ broker: 'x' } as never))).toMatch(/INVALID_OPTIONS kafka.*brokers/s)
  })

  it('refuses wrong and contradictory values, saying which', () => {
    expect(refusal(() => kafka({ brokers: ['localhost'] }))).toMatch(/brokers\.0: expected host:port/)
    expect(refusal(() => kafka({ brokers: [] }))).toMatch(/at least one broker/)
    expect(refusal(() => withTransaction((r) => r, { every: '5 minutes' as never }))).toMatch(/every: expected whole milliseconds/)
    expect(refusal(() => toTopic({ topic: () => 'a' } as never))).toMatch(/topics: list the topics/)
    expect(refusal(() => toTopic({ topic: 'a', topics: ['a'] } as never))).toMatch(/topics: goes with a function/)
    expect(refusal(() => toTopic({ topic: 'no spaces' } as never))).toMatch(/topic names are made of/)
    expect(refusal(() => decode({} as never))).toMatch(/INVALID_OPTIONS decode: its first argument must be a Standard Schema/)
    expect(refusal(() => embedded().source({ group: 'g', topics: [] }))).toMatch(/at least one topic/)
    expect(refusal(() => embedded().source({ group: 'g', topics: ['a', 'a'] }))).toMatch(/twice/)
  })

  it('refuses time limits that no broker takes, and takes any other duration', () => {
    for (const option of ['sessionTimeout', 'rebalanceTimeout'])
      expect(refusal(() => embedded().source({ group: 'g', topics: ['t'], [option]: '25d' }))).toMatch(
        `${option}: must be less than 24.8 days`,
      )
    expect(refusal(() => withTransaction((r) => r, { transactionTimeout: '25d' }))).toMatch(/transactionTimeout: must be less/)
    expect(refusal(() => kafka({ brokers: ['b:1'], requestTimeout: '25d' }))).toMatch(/requestTimeout: must be less/)
    expect(refusal(() => kafka({ brokers: ['b:1'], connectionTimeout: '25d' }))).toMatch(/connectionTimeout: must be less/)
    expect(refusal(() => withTransaction((r) => r, { stallAfter: '25d', drainWithin: '25d' }))).toBe('accepted')
  })

  it('reads durations with their unit', () => {
    expect(['100ms', '1.5s', '10m', '2h', '7d', 42, '5', '1w', -1, '', null].map(parseDuration)).toEqual([
      100,
      1500,
      600_000,
      7_200_000,
      604_800_000,
      42,
      undefined,
      undefined,
      undefined,
      undefined,
      undefined,
    ])
  })

  it('a duration is whole milliseconds, exactly where the text says so, and refused where it is none', () => {
    expect(['4.1m', '0.1s', '1.005s', 4.1 * 60_000, '0.0001d'].map(parseDuration)).toEqual([246_000, 100, 1_005, 246_000, 8_640])
    for (const given of [1_000 / 3, 0.5, '0.5ms', '1.0001s', Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53, `${'9'.repeat(20)}d`])
      expect(parseDuration(given)).toBeUndefined()
    expect(refusal(() => tumbling(1_000 / 3))).toMatch(/INVALID_OPTIONS tumbling: size: expected whole milliseconds/)
    expect(refusal(() => hopping({ size: '1s', advance: 333.3 }))).toMatch(/INVALID_OPTIONS hopping: advance: expected whole milliseconds/)
    expect(refusal(() => session('0.3ms'))).toMatch(/INVALID_OPTIONS session: gap: expected whole milliseconds/)
    expect(refusal(() => window(tumbling('4.1m'), { aggregate: count(), grace: 0.1 }))).toMatch(/grace: expected whole milliseconds/)
    expect(refusal(() => retryTopic({ delays: [0.5] }))).toMatch(/delays\.0: expected whole milliseconds/)
    expect(refusal(() => withTransaction((r) => r, { every: 0.1 }))).toMatch(/every: expected whole milliseconds/)
  })
})

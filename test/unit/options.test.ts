import { describe, expect, it } from 'vitest'
import { decode, embedded, kafka, toTopic, withTransaction } from '../../src/index.js'
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
    expect(refusal(() => withTransaction((r) => r, { every: '5 minutes' as never }))).toMatch(/every: expected milliseconds/)
    expect(refusal(() => toTopic({ topic: () => 'a' } as never))).toMatch(/topics: list the topics/)
    expect(refusal(() => toTopic({ topic: 'a', topics: ['a'] } as never))).toMatch(/topics: goes with a function/)
    expect(refusal(() => toTopic({ topic: 'no spaces' } as never))).toMatch(/topic names are made of/)
    expect(refusal(() => decode({} as never))).toMatch(/INVALID_OPTIONS decode: its first argument must be a Standard Schema/)
    expect(refusal(() => embedded().source({ group: 'g', topics: [] }))).toMatch(/at least one topic/)
    expect(refusal(() => embedded().source({ group: 'g', topics: ['a', 'a'] }))).toMatch(/twice/)
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
})

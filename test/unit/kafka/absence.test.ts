import { describe, expect, it } from 'vitest'
import { ERROR, Refused, Unanswered } from '../../../src/kafka/errors.js'
import { PartitionFetch } from '../../../src/kafka/fetch-group.js'
import { postpone } from '../../../src/kafka/postpone.js'
import { Metadata } from '../../../src/kafka/protocol/metadata.js'
import { retrying } from '../../../src/kafka/retry.js'
import { systemClock } from '../../../src/record/clock.js'
import { silentLogger } from '../../../src/record/logger.js'

const missing = (): Refused => new Refused(Metadata, ERROR.unknownTopicOrPartition, "looking up topic 't'")
const away = (): Unanswered => new Unanswered('connection refused', false)

describe('a topic that brokers report missing', () => {
  it('is waited for while it is fetched, from when that is said, however long they were away before', () => {
    const fetch = new PartitionFetch(
      { topic: 't', partition: 0, offset: 5 },
      { codecs: () => undefined as never, inflateBytes: () => 0, changed: () => {} },
    )
    const givenUp = (failure: unknown, now: number): boolean => postpone([fetch], failure, 60_000, now)
    for (const now of [0, 30_000, 59_000]) expect(givenUp(away(), now)).toBe(false)
    expect(givenUp(missing(), 59_500)).toBe(false)
    expect(givenUp(missing(), 64_000)).toBe(false)
    // Away again: what was said before is not what is said from now on.
    expect(givenUp(new Refused(Metadata, ERROR.leaderNotAvailable, 'x'), 59_900)).toBe(false)
    expect(givenUp(missing(), 65_000)).toBe(false)
    expect(givenUp(missing(), 69_999)).toBe(false)
    expect(givenUp(missing(), 70_000)).toBe(true)
    expect(() => fetch.take()).toThrowError(expect.objectContaining({ code: 'MISSING_TOPIC' }) as Error)
  })

  it('is not what a request ends with whose time ran out while nobody could say', async () => {
    const end = (failures: () => Error): Promise<unknown> =>
      retrying(
        {
          what: 'looking up topics',
          until: systemClock.monotonic() + 50,
          signal: new AbortController().signal,
          logger: silentLogger,
          refresh: () => {},
        },
        () => Promise.reject(failures()),
      )
    await expect(end(missing)).rejects.toMatchObject({ code: 'MISSING_TOPIC' })
    await expect(end(away)).rejects.toMatchObject({ code: 'BROKER_UNREACHABLE', reaction: 'retry' })
    let tries = 0
    await expect(end(() => (tries++ === 0 ? away() : missing()))).rejects.toMatchObject({ code: 'BROKER_UNREACHABLE', reaction: 'retry' })
    expect(tries).toBeGreaterThan(1)
  })
})

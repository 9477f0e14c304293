import { describe, expect, it } from 'vitest'
import type { Observable } from 'rxjs'
import { aggregate, count, json, silentLogger, toTopic, withTransaction, type Commit, type Logger } from '../../src/index.js'
import type { LogGroup } from '../../src/log/port.js'
import { createTestKit, type TestKit } from '../../src/testing/index.js'
import { FORMATS, encodeSubscription } from '../../src/runtime/group/formats.js'
import { Replaced } from '../../src/runtime/group/replaced.js'
import { subscriptionOf } from '../support/subscription.js'

const SESSION_MS = 10_000
const REBALANCE_MS = 20_000

describe('a member whose place another process takes by its instance id', () => {
  let warnings: string[] = []

  const setUp = (): Promise<TestKit> => {
    warnings = []
    const logger: Logger = { ...silentLogger, warn: (_fields, message) => void warnings.push(message) }
    return createTestKit({ topics: { in: {}, out: {} }, logger }) as unknown as Promise<TestKit>
  }
  const member = (kit: TestKit): Observable<Commit> =>
    kit.cluster.source({ group: 'g', topics: ['in'], instanceId: 'one', sessionTimeout: SESSION_MS, rebalanceTimeout: REBALANCE_MS }).pipe(
      withTransaction((records) => records.pipe(aggregate(count(), { emit: 'each' }), toTopic({ topic: 'out', value: json() })), {
        provision: true,
        every: 50,
      }),
    )
  const feed = (kit: TestKit): Promise<unknown> => kit.feed('in', { key: 'k', value: 'x' })
  const counts = async (kit: TestKit): Promise<unknown[]> => (await kit.read('out', { from: 'earliest' })).map(({ value }) => value)

  /** The request of a process that is dead, which arrives only now: nobody takes its answer, and nobody beats for it. */
  const lateJoin = async (kit: TestKit): Promise<void> => {
    const group: LogGroup = kit.broker
      .client()
      .group({ group: 'g', instanceId: 'one', sessionTimeoutMs: SESSION_MS, rebalanceTimeoutMs: REBALANCE_MS })
    const metadata = (format: (typeof FORMATS)[number]): Buffer => encodeSubscription(format, subscriptionOf())
    void group.join(
      '',
      FORMATS.map((format) => ({ name: format.name, metadata: metadata(format) })),
    )
    await kit.advance(0)
  }

  it('goes on where that was the late request of a dead one, as soon as the session of that is over', async () => {
    const kit = await setUp()
    const running = kit.run(member(kit))
    await feed(kit)
    await kit.advance('1s')
    await lateJoin(kit)
    await feed(kit)
    await kit.advance('5s')
    // Whoever has the place is left alone, and nothing is written in its stead.
    expect([running.ended, await counts(kit)]).toEqual([false, ['1']])
    expect(warnings.filter((text) => text.startsWith('another process joined with the instance id'))).toHaveLength(1)
    await kit.advance(SESSION_MS + 5_000)
    await feed(kit)
    await kit.advance('1s')
    expect([running.ended, await counts(kit)]).toEqual([false, ['1', '2', '3']])
    // And again, much later: the one time does not count against the other.
    await kit.advance('10m')
    await lateJoin(kit)
    await feed(kit)
    await kit.advance(SESSION_MS + 10_000)
    expect([running.ended, await counts(kit)]).toEqual([false, ['1', '2', '3', '4']])
    await kit.stop()
  })

  it('ends with INSTANCE_FENCED where that one lives, which is not disturbed', async () => {
    const kit = await setUp()
    const first = kit.run(member(kit))
    await feed(kit)
    await kit.advance('1s')
    const second = kit.run(member(kit))
    const generation = (): number | undefined => kit.broker.groups()[0]?.generation
    await kit.advance('1s')
    const before = generation()
    const holder = kit.broker.groups()[0]?.members
    for (let seconds = 0; seconds < (SESSION_MS + REBALANCE_MS) / 1_000; seconds++) {
      expect(first.ended).toBe(false)
      await feed(kit)
      await kit.advance('1s')
    }
    await expect(kit.advance('10s')).rejects.toMatchObject({ code: 'INSTANCE_FENCED' })
    expect(first.ended).toBe(true)
    expect([second.ended, generation(), kit.broker.groups()[0]?.members]).toEqual([false, before, holder])
    expect(await counts(kit)).toEqual(Array.from({ length: 31 }, (_, i) => String(i + 1)))
    await kit.stop()
  })

  it('goes on as well where it reads without a transaction', async () => {
    const kit = await setUp()
    const seen: unknown[] = []
    const stop = new AbortController()
    let error: unknown
    const options = { group: 'g', topics: ['in'], instanceId: 'one', sessionTimeout: SESSION_MS, signal: stop.signal } as const
    kit.cluster.source(options).subscribe({
      next: (partition) => void partition.subscribe(({ value }) => void seen.push(String(value))),
      error: (failure: unknown) => (error = failure),
    })
    await feed(kit)
    await kit.advance('1s')
    await lateJoin(kit)
    await kit.advance(SESSION_MS + 10_000)
    await feed(kit)
    await kit.advance('1s')
    expect([seen, error]).toEqual([['x', 'x', 'x'], undefined])
    stop.abort()
    await kit.stop()
  })

  it('can be stopped meanwhile', async () => {
    const kit = await setUp()
    const first = kit.run(member(kit))
    await kit.advance('1s')
    kit.run(member(kit))
    await kit.advance('8s')
    await first.stop()
    expect(first.ended).toBe(true)
    await kit.stop()
  })

  it('would end by a late request, if that were taken for a living process', async () => {
    const { mayPass } = Replaced.prototype
    Replaced.prototype.mayPass = () => false
    try {
      const kit = await setUp()
      const running = kit.run(member(kit))
      await kit.advance('1s')
      await lateJoin(kit)
      await expect(kit.advance('5s')).rejects.toMatchObject({ code: 'INSTANCE_FENCED' })
      expect(running.ended).toBe(true)
    } finally {
      Replaced.prototype.mayPass = mayPass
    }
  })
})

import { ConsecutiveBreaker, circuitBreaker as cockatielBreaker, handleAll } from 'cockatiel'
import { lastValueFrom, tap, toArray, type Observable } from 'rxjs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  attempt,
  circuitBreaker,
  dropFailed,
  embedded,
  silentLogger,
  toTopic,
  withTransaction,
  type AttemptOptions,
  type Cluster,
  type Commit,
  type FailedRecord,
  type Logger,
  type RawRecord,
  type RecordStream,
  type TransactionOptions,
} from '../../src/index.js'
import { createEmbeddedBroker, type EmbeddedBroker } from '../../src/testing/index.js'
import { VirtualClock } from '../../src/testing/virtual-clock.js'
import { contents, values } from '../support/pipelines.js'
import { until } from '../support/until.js'

const text = (record: { readonly value: Buffer | null }): string => String(record.value)
const range = (count: number): string[] => Array.from({ length: count }, (_, i) => String(i))

/** A service that is up or down, and who called it when. */
class Service {
  down = false
  readonly calls: { readonly value: string; readonly at: number }[] = []

  constructor(private readonly clock: VirtualClock) {}

  readonly call = async (record: RawRecord): Promise<void> => {
    this.calls.push({ value: text(record), at: this.clock.now() })
    await Promise.resolve()
    if (this.down) throw new Error('service down')
  }
}

describe('attempt with a circuit breaker', () => {
  let clock: VirtualClock
  let broker: EmbeddedBroker
  let cluster: Cluster
  let service: Service
  let warnings: object[]
  let stop: AbortController
  let failed: FailedRecord[]
  let commits: Commit[]
  let running: Promise<unknown>

  beforeEach(async () => {
    clock = new VirtualClock(1_000_000)
    broker = createEmbeddedBroker({ clock })
    warnings = []
    const logger: Logger = { ...silentLogger, warn: (fields) => warnings.push(fields) }
    cluster = embedded({ broker, clock, logger })
    await cluster.createTopics([{ topic: 'in' }, { topic: 'out' }])
    service = new Service(clock)
    stop = new AbortController()
    failed = []
    commits = []
    running = Promise.resolve()
  })

  afterEach(async () => {
    stop.abort()
    await clock.advance(1_000)
    await running
    await cluster.close()
  })

  const feed = (records: readonly string[], key: string | null = null): Promise<number> =>
    cluster.produce({ topic: 'in', records: records.map((value) => ({ key, value })) })
  const written = async (): Promise<(string | null)[]> => (await contents(cluster, 'out')).map(({ value }) => value)

  const project =
    (options: () => AttemptOptions) =>
    (records: RecordStream): Observable<unknown> =>
      records.pipe(attempt(service.call, options()), dropFailed({ tap: (one) => failed.push(one) }), toTopic({ topic: 'out' }))

  const start = (of: (records: RecordStream) => Observable<unknown>, options: TransactionOptions = {}, on = cluster): Promise<unknown> => {
    const commitsOf = on.source({ group: 'g', topics: ['in'], signal: stop.signal }).pipe(withTransaction(of, { every: 10, ...options }))
    return (running = lastValueFrom(
      commitsOf.pipe(
        tap((commit) => commits.push(commit)),
        toArray(),
      ),
    ))
  }
  const meter = (name: string): number => commits.reduce((sum, commit) => sum + (commit.meters[name] ?? 0), 0)

  it('opens after so many failures in a row, then waits instead of failing records, and resumes by itself', async () => {
    const breaker = circuitBreaker({ failures: 3, resetAfter: '10s' })
    const states: string[] = []
    breaker.states.subscribe((state) => states.push(state))
    service.down = true
    await feed(range(50))
    void start(project(() => ({ breaker, concurrency: 1, step: 'charge' })))
    await clock.advance(5_000)
    // Two were failures while it was still closed; the third opened it and is held.
    expect(service.calls.map(({ value }) => value)).toEqual(['0', '1', '2'])
    expect([breaker.state, failed.length]).toEqual(['open', 2])
    await clock.advance(20_000)
    expect(service.calls.slice(3).map(({ value, at }) => [value, at - (service.calls[2]?.at ?? 0)])).toEqual([
      ['2', 10_000],
      ['2', 20_000],
    ])
    service.down = false
    await clock.advance(10_000)
    expect(breaker.state).toBe('closed')
    expect((await written()).map(Number)).toEqual(range(50).slice(2).map(Number))
    expect(failed.map((one) => text(one.raw))).toEqual(['0', '1'])
    expect(states).toEqual(['closed', 'open', 'half-open', 'open', 'half-open', 'open', 'half-open', 'closed'])
    expect([meter('charge.breaker.opened'), meter('charge.breaker.held')]).toEqual([3, 3])
    expect(warnings[0]).toMatchObject({ step: 'charge', error: 'service down' })
  })

  it('while it is half open one call tries, however many may be under way', async () => {
    service.down = true
    await feed(range(50))
    void start(project(() => ({ breaker: circuitBreaker({ failures: 1, resetAfter: '10s' }) })))
    await clock.advance(5_000)
    expect(service.calls).toHaveLength(16)
    await clock.advance(10_000)
    expect(service.calls).toHaveLength(17)
    service.down = false
    await clock.advance(10_000)
    expect(failed).toEqual([])
    expect(await values(cluster, 'out')).toEqual(range(50).sort())
  })

  it('is neither a stall nor the end of the membership, however long it takes', async () => {
    service.down = true
    await feed(range(5))
    void start(
      project(() => ({ breaker: circuitBreaker({ failures: 1, maxHolds: 1_000 }) })),
      { stallAfter: '30s' },
    )
    await clock.advance(15 * 60_000)
    expect([commits, failed]).toEqual([[], []])
    service.down = false
    await clock.advance(15_000)
    expect(await values(cluster, 'out')).toEqual(range(5))
    expect(commits.map(({ generation }) => generation)).toEqual([1])
  })

  it('reads nothing more meanwhile', async () => {
    service.down = true
    await feed(range(10))
    void start(project(() => ({ breaker: circuitBreaker({ failures: 1, maxHolds: 1_000 }) })))
    await clock.advance(1_000)
    await feed(['later'])
    await clock.advance(5 * 60_000)
    expect(service.calls.map(({ value }) => value)).not.toContain('later')
    service.down = false
    await clock.advance(20_000)
    expect(await values(cluster, 'out')).toEqual([...range(10), 'later'].sort())
  })

  it('a stop does not wait for it; the records come again', async () => {
    service.down = true
    await feed(range(5))
    void start(
      project(() => ({ breaker: circuitBreaker({ failures: 1, resetAfter: '1h' }) })),
      { drainWithin: '30m' },
    )
    await clock.advance(5_000)
    stop.abort()
    await clock.advance(100)
    await running
    expect([commits, failed]).toEqual([[], []])
    stop = new AbortController()
    service.down = false
    void start(project(() => ({ breaker: circuitBreaker() })))
    await clock.advance(5_000)
    expect(await values(cluster, 'out')).toEqual(range(5))
  })

  it('a trial that is given up half way does not leave it half open', async () => {
    const breaker = circuitBreaker({ failures: 1, resetAfter: '10s' })
    let hangs = false
    const call = (record: RawRecord): Promise<void> => (hangs ? new Promise(() => {}) : service.call(record))
    const through = (records: RecordStream): Observable<unknown> =>
      records.pipe(attempt(call, { breaker }), dropFailed(), toTopic({ topic: 'out' }))
    service.down = true
    await feed(range(5))
    void start(through, { drainWithin: '1s' })
    await clock.advance(5_000)
    hangs = true
    await clock.advance(6_000)
    expect(breaker.state).toBe('half-open')
    stop.abort()
    await clock.advance(2_000)
    await running
    stop = new AbortController()
    hangs = service.down = false
    void start(through)
    await clock.advance(15_000)
    expect([breaker.state, await values(cluster, 'out')]).toEqual(['closed', range(5)])
  })

  it('a rebalance does not wait for it either', async () => {
    await cluster.createTopics([{ topic: 'two', partitions: 2 }])
    await cluster.produce({ topic: 'two', records: range(10).map((value, i) => ({ value, partition: i % 2 })) })
    service.down = true
    const source = (of: Cluster) => of.source({ group: 'g2', topics: ['two'], signal: stop.signal })
    const through = withTransaction(
      project(() => ({ breaker: circuitBreaker({ failures: 1, resetAfter: '1h' }) })),
      { every: 10, drainWithin: '30m' },
    )
    const first = lastValueFrom(source(cluster).pipe(through), { defaultValue: undefined })
    await clock.advance(5_000)
    const other = embedded({ broker, clock, logger: silentLogger })
    const generations = new Set<number>()
    service.down = false
    const healthy = (records: RecordStream): Observable<unknown> =>
      records.pipe(attempt(service.call), dropFailed(), toTopic({ topic: 'out' }))
    const second = lastValueFrom(
      source(other).pipe(
        withTransaction(healthy, { every: 10 }),
        tap((commit) => generations.add(commit.generation)),
      ),
      { defaultValue: undefined },
    )
    await clock.advance(30_000)
    expect([...generations]).toEqual([2])
    stop.abort()
    await clock.advance(1_000)
    await Promise.all([first, second])
    await other.close()
  })

  it('made inside the project function it remembers over slices, which call that anew each time', async () => {
    service.down = true
    void start(
      project(() => ({ breaker: circuitBreaker({ failures: 3, resetAfter: '10s' }) })),
      { every: 10 },
    )
    for (const value of range(6)) {
      await feed([value])
      await clock.advance(1_000)
    }
    expect(service.calls.map(({ value }) => value)).toEqual(['0', '1', '2'])
    expect(failed).toHaveLength(2)
    service.down = false
    await clock.advance(15_000)
    expect(await values(cluster, 'out')).toEqual(['2', '3', '4', '5'])
  })

  it('a poison that is alone in its slice does not keep it open for ever', async () => {
    const poisonous = async (record: RawRecord): Promise<void> => {
      service.calls.push({ value: text(record), at: clock.now() })
      await Promise.resolve()
      if (text(record) === 'poison') throw new Error('poison')
    }
    await feed(['poison'])
    void start((records) =>
      records.pipe(
        attempt(poisonous, { breaker: circuitBreaker({ failures: 1, resetAfter: '10s', maxHolds: 3 }) }),
        dropFailed({ tap: (one) => failed.push(one) }),
        toTopic({ topic: 'out' }),
      ),
    )
    await clock.advance(35_000)
    await feed(['good'])
    expect(service.calls).toHaveLength(4)
    expect(failed.map((one) => [text(one.raw), one.attempts])).toEqual([['poison', 1]])
    await clock.advance(15_000)
    expect(await values(cluster, 'out')).toEqual(['good'])
  })

  it('each time another record tries, so that good ones get through beside a poison', async () => {
    await feed(['poison', ...range(5)])
    const answered: string[] = []
    const poisonous = async (record: RawRecord): Promise<void> => {
      await Promise.resolve()
      if (text(record) === 'poison') throw new Error('poison')
      answered.push(text(record))
    }
    void start((records) =>
      records.pipe(
        attempt(poisonous, { breaker: circuitBreaker({ failures: 1, resetAfter: '10s', maxHolds: 10 }), concurrency: 2 }),
        dropFailed({ tap: (one) => failed.push(one) }),
        toTopic({ topic: 'out' }),
      ),
    )
    await clock.advance(50_000)
    expect([answered.sort(), failed]).toEqual([range(5), []])
    await clock.advance(100_000)
    expect(await values(cluster, 'out')).toEqual(range(5))
    expect(failed).toHaveLength(1)
  })

  it('records of one key stay in order through an outage', async () => {
    const order: string[] = []
    const call = async (record: RawRecord): Promise<void> => {
      await service.call(record)
      order.push(text(record))
    }
    await feed(range(20), 'a')
    service.down = true
    void start((records) =>
      records.pipe(attempt(call, { breaker: circuitBreaker({ failures: 1, maxHolds: 1_000 }) }), dropFailed(), toTopic({ topic: 'out' })),
    )
    await clock.advance(120_000)
    service.down = false
    await clock.advance(20_000)
    expect(order).toEqual(range(20))
    expect(await written()).toEqual(range(20))
  })

  it('in-place tries begin once it is closed; a time limit counts as a failure', async () => {
    let hangs = true
    const hanging = (record: RawRecord): Promise<void> => {
      service.calls.push({ value: text(record), at: clock.now() })
      return hangs ? new Promise(() => {}) : Promise.resolve()
    }
    const breaker = circuitBreaker({ failures: 2, resetAfter: '10s' })
    await feed(['x'])
    void start((records) =>
      records.pipe(
        attempt(hanging, { breaker, timeout: '1s', retry: { times: 1, delay: 0 } }),
        dropFailed({ tap: (one) => failed.push(one) }),
        toTopic({ topic: 'out' }),
      ),
    )
    await clock.advance(5_000)
    expect([breaker.state, service.calls.length, failed.length]).toEqual(['open', 2, 0])
    hangs = false
    await clock.advance(10_000)
    expect(await values(cluster, 'out')).toEqual(['x'])
  })

  it('errors that do not speak of the service fail their records and leave it closed', async () => {
    const breaker = circuitBreaker({ failures: 1, when: (error) => (error as Error).message !== 'declined' })
    await feed(range(10))
    void start((records) =>
      records.pipe(
        attempt(() => Promise.reject(new Error('declined')), { breaker }),
        dropFailed({ tap: (one) => failed.push(one) }),
        toTopic({ topic: 'out' }),
      ),
    )
    await clock.advance(5_000)
    expect([breaker.state, failed.length]).toEqual(['closed', 10])
  })

  it('a callback that throws is logged and changes nothing', async () => {
    const seen: string[] = []
    service.down = true
    await feed(['x'])
    const onState = (state: string, error: unknown): void => {
      seen.push(`${state} ${(error as Error).message}`)
      throw new Error('gauge not found')
    }
    void start(project(() => ({ breaker: circuitBreaker({ failures: 1, onState }) })))
    await clock.advance(5_000)
    service.down = false
    await clock.advance(10_000)
    expect(seen).toEqual(['open service down', 'half-open service down', 'closed service down'])
    expect(await values(cluster, 'out')).toEqual(['x'])
  })

  it('takes a breaker of cockatiel: held open by hand it pauses, closed again it resumes', async () => {
    const policy = cockatielBreaker(handleAll, { halfOpenAfter: 1, breaker: new ConsecutiveBreaker(2) })
    const handle = policy.isolate()
    await feed(range(10))
    void start(project(() => ({ breaker: policy })))
    await clock.advance(5 * 60_000)
    expect([service.calls, failed, commits]).toEqual([[], [], []])
    handle.dispose()
    await clock.advance(1_000)
    expect(await values(cluster, 'out')).toEqual(range(10))
  })

  it('takes a breaker of cockatiel: opened by failures it is asked again until it lets calls through', async () => {
    const policy = cockatielBreaker(handleAll, { halfOpenAfter: 20, breaker: new ConsecutiveBreaker(2) })
    service.down = true
    await feed(range(10))
    void start(project(() => ({ breaker: policy, concurrency: 1 })))
    await clock.advance(400)
    expect([service.calls.length, failed.length]).toEqual([2, 1])
    service.down = false
    // cockatiel goes by the wall clock.
    await until(async () => {
      await clock.advance(1_000)
      return (await values(cluster, 'out')).length === 9
    })
    expect(failed).toHaveLength(1)
  })

  it('two steps of one name with a breaker each are refused before anything is read', async () => {
    const twice = (records: RecordStream): Observable<unknown> =>
      records.pipe(
        attempt(service.call, { breaker: circuitBreaker() }),
        attempt(service.call, { breaker: circuitBreaker() }),
        dropFailed(),
        toTopic({ topic: 'out' }),
      )
    await expect(start(twice)).rejects.toThrow(/two steps with circuit breakers are called 'attempt'/)
    running = Promise.resolve()
  })

  it('refuses wrong options by name', () => {
    expect(() => circuitBreaker({ failures: 0, resetAfter: 'soon' as '1s', reset: 1 } as never)).toThrow(
      /failures:[^]*resetAfter:[^]*unknown option 'reset'/,
    )
  })
})

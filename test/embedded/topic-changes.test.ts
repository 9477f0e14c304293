import { afterEach, describe, expect, it } from 'vitest'
import type { Observable } from 'rxjs'
import {
  aggregate,
  attempt,
  count,
  dropFailed,
  json,
  retryTopic,
  silentLogger,
  string,
  table,
  joinTable,
  toTopic,
  withTransaction,
  type Commit,
  type Logger,
} from '../../src/index.js'
import { createTestKit, type RunningPipeline, type TestKit } from '../../src/testing/index.js'

describe('partitions added while a pipeline runs', () => {
  let kit: TestKit
  let warnings: string[] = []

  afterEach(() => kit.stop())

  const setUp = async (topics: Record<string, number>): Promise<void> => {
    warnings = []
    const logger: Logger = { ...silentLogger, warn: (_fields, message) => void warnings.push(message) }
    kit = await createTestKit({
      topics: Object.fromEntries(Object.entries(topics).map(([topic, partitions]) => [topic, { partitions }])),
      logger,
    })
  }
  const copy = (topics = ['in']): Observable<Commit> =>
    kit.cluster.source({ group: 'g', topics }).pipe(withTransaction((records) => records.pipe(toTopic({ topic: 'out' }))))
  const counted = (): Observable<Commit> =>
    kit.cluster
      .source({ group: 'g', topics: ['in'] })
      .pipe(withTransaction((records) => records.pipe(aggregate(count()), toTopic({ topic: 'out', value: json() })), { provision: true }))
  const values = async (): Promise<(string | null)[]> => (await kit.read('out', { from: 'earliest' })).map(({ value }) => value)
  /** Time passes with a record each second, so that the pipeline is never idle for long. */
  const busyFor = async (seconds: number): Promise<void> => {
    for (let i = 0; i < seconds * 10; i++) {
      await kit.feed('in', { value: 'load', partition: 0 })
      await kit.advance('100ms')
    }
  }

  it('are read within a minute, by an idle pipeline', async () => {
    await setUp({ in: 1, out: 1 })
    kit.run(copy())
    await kit.advance('1m')
    kit.broker.addPartitions('in', 3)
    await kit.feed('in', { value: 'a', partition: 1 })
    await kit.feed('in', { value: 'b', partition: 2 })
    await kit.advance('61s')
    expect((await values()).sort()).toEqual(['a', 'b'])
  })

  it('are read within a minute, by a busy pipeline, and by all members', async () => {
    await setUp({ in: 1, out: 1 })
    const members = [kit.run(copy()), kit.run(copy())]
    await busyFor(2)
    kit.broker.addPartitions('in', 4)
    for (const partition of [1, 2, 3]) await kit.feed('in', { value: `new ${partition}`, partition })
    await busyFor(61)
    expect((await values()).filter((value) => value !== 'load').sort()).toEqual(['new 1', 'new 2', 'new 3'])
    for (const partition of [0, 1, 2, 3]) await kit.feed('in', { value: `later ${partition}`, partition })
    await kit.advance('10s')
    for (const { commits } of members) expect(commits.at(-1)?.tasks.length).toBeGreaterThan(0)
    expect(kit.broker.offsets('g')).toHaveLength(4)
  })

  it('are read though they were added while the only member, which has an instance id, was down', async () => {
    await setUp({ in: 1, out: 1 })
    const named = (): Observable<Commit> =>
      kit.cluster
        .source({ group: 'g', topics: ['in'], instanceId: 'one', sessionTimeout: '10m' })
        .pipe(withTransaction((records) => records.pipe(toTopic({ topic: 'out' }))))
    const before = kit.run(named())
    await kit.advance('1m')
    await before.stop()
    kit.broker.addPartitions('in', 2)
    await kit.feed('in', { value: 'a', partition: 1 })
    kit.run(named())
    await kit.advance('61s')
    expect(await values()).toEqual(['a'])
  })

  it('of an output are written to', async () => {
    await setUp({ in: 1, out: 1 })
    kit.run(copy())
    await kit.advance('1s')
    kit.broker.addPartitions('out', 4)
    await kit.advance('61s')
    await kit.feed(
      'in',
      Array.from({ length: 50 }, (_, i) => ({ key: `k${i}`, value: 'v' })),
    )
    await kit.advance('1s')
    expect(new Set((await kit.read('out')).map(({ partition }) => partition)).size).toBe(4)
  })

  it('of one input after the other: the pipeline waits for the rest, and goes on', async () => {
    await setUp({ in: 1, other: 1, out: 1 })
    const member = kit.run(copy(['in', 'other']))
    await kit.advance('1s')
    kit.broker.addPartitions('in', 2)
    await kit.advance('61s')
    expect(warnings).toEqual([expect.stringMatching(/looking at the topics again failed/)])
    kit.broker.addPartitions('other', 2)
    for (const topic of ['in', 'other']) await kit.feed(topic, { value: topic, partition: 1 })
    await kit.advance('61s')
    expect((await values()).sort()).toEqual(['in', 'other'])
    expect(member.ended).toBe(false)
  })

  it('of one input alone: an error after a while, which names both', async () => {
    await setUp({ in: 1, other: 1, out: 1 })
    kit.run(copy(['in', 'other']))
    await kit.advance('1s')
    kit.broker.addPartitions('in', 2)
    await expect(kit.advance('3m')).rejects.toMatchObject({
      code: 'PARTITION_MISMATCH',
      message: expect.stringMatching(/in has 2, other has 1/),
    })
  })

  const stateful: Record<string, () => Observable<Commit>> = {
    state: counted,
    'a retry topic': () =>
      kit.cluster.source({ group: 'g', topics: ['in'] }).pipe(
        withTransaction(
          (records) =>
            records.pipe(
              attempt(() => {}),
              retryTopic({ delays: ['1s'] }),
              dropFailed(),
              toTopic({ topic: 'out' }),
            ),
          { provision: true },
        ),
      ),
    'a table': () =>
      kit.cluster
        .source({ group: 'g', topics: ['in'] })
        .pipe(
          withTransaction((records) =>
            records.pipe(
              joinTable(table({ topic: 'rows', value: string() }), { join: (_order, row) => row ?? '' }),
              toTopic({ topic: 'out', value: string() }),
            ),
          ),
        ),
  }
  for (const [name, pipeline] of Object.entries(stateful)) {
    it(`with ${name}: PARTITION_MISMATCH, noticed by a look, and again at a start`, async () => {
      await setUp({ in: 2, out: 1, rows: 2 })
      kit.run(pipeline())
      await kit.advance('1s')
      kit.broker.addPartitions('in', 3)
      await expect(kit.advance('61s')).rejects.toMatchObject({ code: 'PARTITION_MISMATCH' })
      kit.run(pipeline())
      await expect(kit.advance('1s')).rejects.toMatchObject({ code: 'PARTITION_MISMATCH' })
    })
  }

  it('with state: no count begins again where a rebalance notices it', async () => {
    await setUp({ in: 2, out: 1 })
    kit.run(counted())
    const keys = Array.from({ length: 30 }, (_, i) => ({ key: `k${i}`, value: '' }))
    await kit.feed('in', keys)
    await kit.advance('1s')
    kit.broker.addPartitions('in', 3)
    await kit.feed('in', { key: 'new', value: '', partition: 2 })
    kit.broker.rebalance('g')
    await expect(kit.advance('10s')).rejects.toMatchObject({ code: 'PARTITION_MISMATCH' })
    expect((await kit.read('out', { from: 'earliest' })).map(({ value }) => value)).toEqual(keys.map(() => '1'))
  })

  it('a source without a transaction goes on with all of them too', async () => {
    await setUp({ in: 1, out: 1 })
    const seen: string[] = []
    const stop = new AbortController()
    let ended = false
    const subscription = kit.cluster.source({ group: 'g', topics: ['in'], signal: stop.signal }).subscribe({
      next: (partition) => void partition.subscribe(({ value }) => void seen.push(String(value))),
      complete: () => (ended = true),
    })
    await kit.advance('1s')
    kit.broker.addPartitions('in', 2)
    await kit.feed('in', { value: 'a', partition: 1 })
    await kit.advance('61s')
    expect(seen).toEqual(['a'])
    stop.abort()
    await kit.advance('1s')
    expect(ended).toBe(true)
    subscription.unsubscribe()
  })
})

describe('topics of its own that are deleted', () => {
  it('a changelog: the pipeline ends, and the next start says that its state begins anew', async () => {
    const warnings: string[] = []
    const logger: Logger = { ...silentLogger, warn: (_fields, message) => void warnings.push(message) }
    const kit = await createTestKit({ topics: { in: {}, out: {} }, logger })
    const run = (): RunningPipeline =>
      kit.run(
        kit.cluster.source({ group: 'g', topics: ['in'] }).pipe(
          withTransaction((records) => records.pipe(aggregate(count(), { emit: 'each' }), toTopic({ topic: 'out', value: json() })), {
            provision: true,
          }),
        ),
      )
    const first = run()
    await kit.feed('in', { key: 'k', value: '' })
    await kit.advance('1s')
    expect(warnings).toEqual([])
    await kit.cluster.deleteTopics(['g-aggregate-changelog'])
    await kit.feed('in', { key: 'k', value: '' })
    await expect(kit.advance('2m')).rejects.toMatchObject({
      code: 'MISSING_TOPIC',
      message: expect.stringMatching(/g-aggregate-changelog/),
    })
    expect(first.ended).toBe(true)
    warnings.length = 0
    run()
    await kit.advance('1s')
    expect(warnings).toEqual([expect.stringMatching(/these changelogs were missing and have been made/)])
    await kit.stop()
  })
})

describe('members that start together', () => {
  it('and are to make their topics, all take what one of them has made', async () => {
    const kit = await createTestKit({ topics: { in: { partitions: 4 } } })
    const members = Array.from({ length: 4 }, () =>
      kit.run(
        kit.cluster
          .source({ group: 'g', topics: ['in'] })
          .pipe(
            withTransaction((records) => records.pipe(aggregate(count()), toTopic({ topic: 'out', value: json() })), { provision: true }),
          ),
      ),
    )
    await kit.advance('10s')
    expect(members.map(({ ended }) => ended)).toEqual([false, false, false, false])
    expect(kit.broker.members('g')).toHaveLength(4)
    await kit.stop()
  })
})

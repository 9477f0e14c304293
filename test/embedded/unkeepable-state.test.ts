import { filter, type Observable } from 'rxjs'
import { describe, expect, it } from 'vitest'
import {
  aggregate,
  aggregator,
  joinStream,
  json,
  mapValue,
  session,
  toTopic,
  tumbling,
  window,
  withTransaction,
  type Commit,
  type RawRecord,
  type RecordStream,
  type TransactionOptions,
} from '../../src/index.js'
import type { TestKit } from '../../src/testing/index.js'
import { inOutDeadKit } from '../support/in-out-dead-kit.js'

const cycle = (): object => {
  const one: Record<string, unknown> = {}
  one.self = one
  return one
}
const UNKEEPABLE: Readonly<Record<string, readonly [make: () => unknown, code: string]>> = {
  'a BigInt': [() => ({ n: 10n }), 'ENCODE_FAILED'],
  'a cycle': [cycle, 'ENCODE_FAILED'],
  null: [() => null, 'INVALID_VALUE'],
  'a function, which JSON has no text for': [() => () => 1, 'ENCODE_FAILED'],
  '1.1 MB': [() => 'x'.repeat(1_100_000), 'RECORD_TOO_LARGE'],
}

/** A state that record 'bad' makes into something else. */
const spoiledBy = (make: () => unknown) =>
  aggregator({
    name: 'spoiled',
    init: () => 0 as unknown,
    add: (state, record: RawRecord) => (String(record.value) === 'bad' ? make() : state === 0 ? 1 : state),
    merge: (earlier) => earlier,
    result: () => 'kept',
  })

const withAggregate = (make: () => unknown) => (records: RecordStream) =>
  records.pipe(aggregate(spoiledBy(make), { name: 'mine' }), toTopic({ topic: 'out', value: json() }))
const withWindow = (windows: Parameters<typeof window>[0]) => (make: () => unknown) => (records: RecordStream) =>
  records.pipe(
    window(windows, { aggregate: spoiledBy(make), name: 'mine', emit: 'updates' }),
    mapValue(({ result }) => result),
    toTopic({ topic: 'out', value: json() }),
  )

const of = (records: RecordStream, topic: string): Observable<RawRecord> => records.pipe(filter(({ origin }) => origin.topic === topic))
const pipeline = (kit: TestKit, project: (records: RecordStream) => Observable<unknown>, options: TransactionOptions): Observable<Commit> =>
  kit.cluster
    .source({ group: 'g', topics: ['in'] })
    .pipe(withTransaction(project, { provision: true, retryDelay: 1, retries: 1, ...options }))
const feed = (kit: TestKit, ...names: string[]): Promise<number> =>
  kit.feed(
    'in',
    names.map((name) => ({ key: name, value: name })),
  )
const keysOf = async (kit: TestKit, topic: string): Promise<(string | null)[]> =>
  [...new Set((await kit.read(topic, { from: 'earliest' })).map(({ key }) => key))].sort()

describe('a state that cannot be kept is a failure of the record that made it', () => {
  for (const [what, [make, code]] of Object.entries(UNKEEPABLE)) {
    it(`${what}: skipped, and the others go on, over a restart too`, async () => {
      const kit = await inOutDeadKit()
      const start = () => kit.run(pipeline(kit, withAggregate(make), { onError: 'skip' }))
      const first = start()
      await feed(kit, 'a', 'b', 'bad', 'c', 'd')
      await kit.advance('60s')
      expect(await keysOf(kit, 'out')).toEqual(['a', 'b', 'c', 'd'])
      expect(first.commits.reduce((sum, { failed }) => sum + failed, 0)).toBe(1)
      await first.stop()
      start()
      await feed(kit, 'e')
      await kit.advance('10s')
      expect(await keysOf(kit, 'out')).toEqual(['a', 'b', 'c', 'd', 'e'])
    })

    it(`${what}: with 'stop' it ends the pipeline, and says which record and which state`, async () => {
      const kit = await inOutDeadKit()
      kit.run(pipeline(kit, withAggregate(make), { onError: 'stop' }))
      await feed(kit, 'a', 'bad', 'c')
      await expect(kit.advance('60s')).rejects.toMatchObject({
        code: 'RECORD_FAILED',
        origin: { topic: 'in', partition: 0, offset: 1 },
        cause: { code, message: expect.stringMatching(/bad|mine|null/) as string },
      })
      expect(await keysOf(kit, 'out')).toEqual(['a'])
    })
  }

  for (const [name, project] of Object.entries({ tumbling: withWindow(tumbling('1h')), session: withWindow(session('1h')) })) {
    it(`also that of a window, ${name}: to the dead letters`, async () => {
      const kit = await inOutDeadKit()
      kit.run(
        pipeline(
          kit,
          project(() => ({ n: 10n })),
          { onError: { deadLetter: 'dead' } },
        ),
      )
      await feed(kit, 'a', 'bad', 'c')
      await kit.advance('60s')
      expect(await keysOf(kit, 'dead')).toEqual(['bad'])
      expect(await keysOf(kit, 'out')).toEqual(['a', 'c'])
    })
  }
})

describe('records of one key and time in a join', () => {
  it('are kept one by one: no list of them outgrows the changelog, or is written over and over', async () => {
    const kit = await inOutDeadKit()
    kit.run(
      kit.cluster.source({ group: 'g', topics: ['in', 'dead'] }).pipe(
        withTransaction(
          (records) =>
            of(records, 'in').pipe(
              joinStream(of(records, 'dead'), {
                within: '1h',
                kind: 'left',
                join: (left, right) => [String(left.value).length, String(right?.value)],
              }),
              toTopic({ topic: 'out', value: json() }),
            ),
          { provision: true, maxRecords: 100 },
        ),
      ),
    )
    const value = 'x'.repeat(1_000)
    await kit.feed(
      'in',
      Array.from({ length: 1_100 }, () => ({ key: 'k', value, timestamp: 1_000 })),
    )
    await kit.advance('10s')
    const changelog = await kit.broker.records('g-join-left-changelog')
    const bytes = changelog.reduce((sum, record) => sum + (record.value as Buffer).length, 0)
    expect(bytes).toBeLessThan(1.2 * 1_100 * 1_000)
    await kit.feed('dead', [{ key: 'k', value: 'one', timestamp: 1_000 }])
    await kit.advance('10s')
    expect(await kit.read('out', { from: 'earliest' })).toHaveLength(1_100)
  })
})

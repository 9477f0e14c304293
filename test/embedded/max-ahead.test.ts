import { filter, type Observable } from 'rxjs'
import { describe, expect, it } from 'vitest'
import {
  count,
  joinStream,
  json,
  silentLogger,
  toTopic,
  tumbling,
  window,
  withTransaction,
  type Duration,
  type RecordStream,
} from '../../src/index.js'
import { createTestKit } from '../../src/testing/index.js'

const HOUR = 3_600_000
const START = 1_000 * HOUR

/** Feeds records, one of them far ahead, and gives what came out, and the numbers of the transactions. */
async function run(project: (records: RecordStream) => Observable<unknown>, ahead: number) {
  const kit = await createTestKit({
    topics: { left: { partitions: 1 }, right: { partitions: 1 }, out: { partitions: 1 } },
    start: START,
    logger: silentLogger,
  })
  const pipeline = kit.run(
    kit.cluster
      .source({ group: 'g', topics: ['left', 'right'] })
      .pipe(withTransaction(project, { provision: true, onError: 'skip', every: 50 })),
  )
  const feed = async (topic: 'left' | 'right', timestamp: number): Promise<void> => {
    await kit.feed(topic, { key: 'k', value: '1', timestamp })
    await kit.advance('2s')
  }
  await feed('left', START)
  await feed('left', START + ahead)
  await feed('right', START + 1_000)
  await feed('left', START + 2_000)
  await kit.advance('2h')
  await feed('left', START + 2 * HOUR)
  const sum = (field: 'late' | 'failed'): number => pipeline.commits.reduce((all, commit) => all + commit[field], 0)
  const out = (await kit.read('out')).map(({ value }) => JSON.parse(String(value)) as unknown)
  const result = { out, late: sum('late'), failed: sum('failed') }
  await kit.stop()
  return result
}

const windows = (maxAhead?: Duration) => (records: RecordStream) =>
  records.pipe(
    window(tumbling('1m'), { aggregate: count(), ...(maxAhead === undefined ? {} : { maxAhead }) }),
    toTopic({ topic: 'out', value: json() }),
  )

const joins = (maxAhead?: Duration) => (records: RecordStream) =>
  records.pipe(
    filter((record) => record.origin.topic === 'left'),
    joinStream(records.pipe(filter((record) => record.origin.topic === 'right')), {
      within: '10s',
      join: (one, other) => [one.timestamp - START, other.timestamp - START],
      ...(maxAhead === undefined ? {} : { maxAhead }),
    }),
    toTopic({ topic: 'out', value: json() }),
  )

describe('a record far ahead of the clock', () => {
  const first = { start: START, end: START + 60_000 }

  it('closes all windows for good; with maxAhead it is refused, and the others are counted', async () => {
    expect(await run(windows(), 1_000 * HOUR)).toMatchObject({ out: [{ ...first, result: 1 }], late: 3, failed: 0 })
    expect(await run(windows('1h'), 1_000 * HOUR)).toMatchObject({ out: [{ ...first, result: 3 }], late: 0, failed: 1 })
  })

  it('closes the windows of a join; with maxAhead it is refused, and the others are joined', async () => {
    expect(await run(joins(), 1_000 * HOUR)).toEqual({ out: [], late: 3, failed: 0 })
    expect(await run(joins('1h'), 1_000 * HOUR)).toEqual({
      out: [
        [0, 1_000],
        [2_000, 1_000],
      ],
      late: 0,
      failed: 1,
    })
  })

  it('is taken up to maxAhead, as the clock is then', async () => {
    expect(await run(windows('1h'), HOUR)).toMatchObject({ failed: 0 })
    expect(await run(windows('1h'), HOUR + 600_000)).toMatchObject({ failed: 1 })
  })

  it('maxAhead is checked at the door', () => {
    expect(() => window(tumbling('1m'), { aggregate: count(), maxAhead: 'soon' as Duration })).toThrow(
      /maxAhead: expected whole milliseconds/,
    )
    expect(() => joinStream(undefined as never, { within: '1s', join: () => 1 })).toThrow(/joinStream/)
  })
})

import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  attempt,
  circuitBreaker,
  deadLetter,
  dropFailed,
  retryTopic,
  withTransaction,
  type Logger,
  type RawRecord,
  type RecordStream,
} from '../../src/index.js'
import { createTestKit, type TestKit } from '../../src/testing/index.js'
import type { Observable } from 'rxjs'

interface Line {
  readonly message: string
  readonly fields: Readonly<Record<string, unknown>>
}

describe('what the default log says of failures', () => {
  let kit: TestKit
  let lines: Line[]

  beforeEach(async () => {
    lines = []
    const keep = (fields: object, message: string): void => void lines.push({ message, fields: fields as Line['fields'] })
    const logger: Logger = { debug: () => {}, info: () => {}, warn: keep, error: keep }
    kit = await createTestKit({ topics: { in: { partitions: 2 }, dead: {} }, logger })
  })

  afterEach(() => kit.stop())

  const run = (project: (records: RecordStream) => Observable<unknown>): void => {
    kit.run(kit.cluster.source({ group: 'g', topics: ['in'] }).pipe(withTransaction(project, { provision: true })))
  }
  const fails = (): never => {
    throw new Error('no such customer')
  }
  const feed = (from: number, count: number): Promise<number> =>
    kit.feed(
      'in',
      Array.from({ length: count }, (_, i) => ({ key: `k${from + i}`, value: `${from + i}` })),
    )
  const said = (message: RegExp): (readonly [unknown, unknown])[] =>
    lines.filter((line) => message.test(line.message)).map(({ fields }) => [fields.records, fields.error])

  it.each([
    [
      'dead-lettered',
      /records were dead-lettered to 'dead'/,
      (records: RecordStream) => records.pipe(attempt(fails), deadLetter({ topic: 'dead' })),
    ],
    ['dropped', /failed records were dropped/, (records: RecordStream) => records.pipe(attempt(fails), dropFailed())],
    [
      'retried later',
      /records failed and come again \(retryTopic\)/,
      (records: RecordStream) => records.pipe(attempt(fails), retryTopic({ delays: ['1h'] }), dropFailed()),
    ],
  ] as const)('%s: the first time, and how often since twice a minute, whatever comes', async (_, message, project) => {
    run(project)
    for (let second = 0; second < 70; second++) {
      await feed(second * 10, 10)
      await kit.advance('1s')
    }
    const seen = said(message)
    expect(seen.length).toBeGreaterThanOrEqual(3)
    expect(seen.length).toBeLessThanOrEqual(4)
    for (const [records, error] of seen) expect([Number(records) > 0, error]).toEqual([true, 'no such customer'])
    // What came since the last line is not told yet.
    expect(seen.reduce((sum, [records]) => sum + Number(records), 0)).toBeGreaterThanOrEqual(600)
  })

  it('retried in place, and a breaker that opens', async () => {
    let calls = 0
    run((records) =>
      records.pipe(
        attempt((_: RawRecord) => (calls++ < 3 ? Promise.reject(new Error('reset')) : Promise.resolve()), {
          retry: { times: 5, delay: '10ms' },
        }),
        dropFailed(),
      ),
    )
    await feed(0, 1)
    await kit.advance('5s')
    expect(said(/calls failed and are made again, in place/)).toEqual([[3, 'reset']])
    expect(lines).toHaveLength(1)
  })

  it('a breaker that opens every second says so twice a minute', async () => {
    run((records) =>
      records.pipe(
        attempt(() => Promise.reject(new Error('down')), { breaker: circuitBreaker({ failures: 1, resetAfter: '1s', maxHolds: 1_000 }) }),
        dropFailed(),
      ),
    )
    await feed(0, 1)
    await kit.advance('70s')
    const opened = lines.filter(({ message }) => message.startsWith('a circuit breaker opened'))
    expect(opened).toHaveLength(3)
    expect(opened.map(({ fields }) => Number(fields.times) > (opened[0]?.fields === fields ? 0 : 20))).toEqual([true, true, true])
  })

  it('nothing while all is well', async () => {
    run((records) =>
      records.pipe(
        attempt(() => {}),
        retryTopic({ delays: ['1h'] }),
        deadLetter({ topic: 'dead' }),
        dropFailed(),
      ),
    )
    await feed(0, 10)
    await kit.advance('70s')
    expect(lines).toEqual([])
  })
})

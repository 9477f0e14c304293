import { filter, map, mergeMap, of, take, type Observable } from 'rxjs'
import { describe as group, expect, it } from 'vitest'
import { z } from 'zod'
import {
  aggregate,
  attempt,
  compose,
  count,
  deadLetter,
  decode,
  describe,
  dropFailed,
  embedded,
  json,
  mapValue,
  toTopic,
  withTransaction,
  type RawRecord,
  type RecordStream,
  type StreamRecord,
} from '../../src/index.js'
import { createTestKit, sliceOf } from '../../src/testing/index.js'

const Order = z.object({ id: z.string(), amount: z.number() })
const orders = compose('orders', decode(Order), deadLetter({ topic: 'dead' }))
const large = compose(
  'large',
  filter((order: StreamRecord<Buffer | null, z.output<typeof Order>>) => order.value.amount > 10),
)

const planned = (project: (records: RecordStream) => Observable<unknown>) =>
  describe(
    embedded()
      .source({ group: 'g', topics: ['in'] })
      .pipe(withTransaction(project)),
  )

group('compose', () => {
  it('makes one operator of several', async () => {
    const kit = await createTestKit({ topics: { in: {}, out: {}, dead: {} } })
    kit.run(
      kit.cluster
        .source({ group: 'g', topics: ['in'] })
        .pipe(withTransaction((records) => records.pipe(orders, large, toTopic({ topic: 'out', value: json() })))),
    )
    await kit.feed('in', [
      { key: 'a', value: '{"id":"a","amount":20}' },
      { key: 'b', value: '{"id":"b","amount":5}' },
      { key: 'c', value: 'no order' },
    ])
    await kit.advance('1s')
    expect(await kit.read('out')).toMatchObject([{ key: 'a' }])
    expect(await kit.read('dead')).toMatchObject([{ key: 'c' }])
    await kit.stop()
  })

  it('works outside of a slice as well', () => {
    const seen: number[] = []
    of(1, 2, 3)
      .pipe(
        compose(
          'doubled',
          map((n: number) => n * 2),
          filter((n) => n > 2),
        ),
      )
      .subscribe((n) => seen.push(n))
    expect(seen).toEqual([4, 6])
  })

  it('shows in describe: what it is made of, what is written and kept in it', () => {
    const counted = compose('counted', aggregate(count()), toTopic({ topic: 'counts', value: json() }))
    const outer = compose('outer', large, counted)
    const told = planned((records) => records.pipe(toTopic({ topic: 'copies' }), orders, outer, toTopic({ topic: 'all', value: json() })))
    expect(told.pieces).toEqual([
      { name: 'orders', operators: ['decode', 'deadLetter dead'] },
      { name: 'outer', operators: ['large', 'counted'] },
      { name: 'large', operators: ['rxjs'] },
      { name: 'counted', operators: ["aggregate 'aggregate'", 'toTopic counts'] },
    ])
    expect(Object.fromEntries(told.outputs.map(({ topic, writtenBy }) => [topic, writtenBy]))).toEqual({
      copies: ['toTopic'],
      dead: ['deadLetter in orders'],
      counts: ['toTopic in counted in outer'],
      all: ['toTopic'],
    })
    expect(told.stores).toMatchObject([{ operator: "aggregate 'aggregate' in counted in outer" }])
    expect(String(told)).toContain('\n  runs   orders  (decode, deadLetter dead)\n')
  })

  it('what is wrong in it is said with its name', () => {
    const cut = compose(
      'cut',
      take<RawRecord>(1),
      map((record: RawRecord) => record),
    )
    const run = () =>
      sliceOf(
        [
          { key: 'a', value: '1' },
          { key: 'b', value: '2' },
        ],
        (records: RecordStream) =>
          records.pipe(
            cut,
            map((record) => record),
          ),
      )
    expect(run).toThrow(
      expect.objectContaining({
        code: 'SLICE_COMPLETED_EARLY',
        message: expect.stringMatching(/left by operator 1 of 2 of 'cut' in the pipe at .*compose\.test\.ts:\d+/) as string,
      }),
    )
    const broken = compose('broken', (() => 5) as never, dropFailed())
    expect(() => planned((records) => records.pipe(broken))).toThrow(/operator 1 of 2.* of 'broken' .* returned number/)
  })

  it('state in a piece that is used twice is two under one name, which is refused by the piece', () => {
    const counted = compose('counted', aggregate(count()))
    const twice = (records: RecordStream) =>
      records.pipe(
        mergeMap((r) => [r]),
        counted,
        mapValue(String),
        counted,
      )
    expect(() => planned(twice)).toThrow(/'aggregate' \(aggregate 'aggregate' in counted and aggregate 'aggregate' in counted\)/)
  })

  it('refuses what is no name and what is no operator', () => {
    const loose = compose as unknown as (...given: unknown[]) => unknown
    expect(() => loose(attempt(() => {}))).toThrow(/compose: its first argument is the name of the piece, .* got a function/)
    expect(() => loose('')).toThrow(/its first argument is the name/)
    expect(() => loose('x')).toThrow(/compose 'x': name at least one operator/)
    expect(() =>
      loose(
        'x',
        attempt(() => {}),
        undefined,
      ),
    ).toThrow(/compose 'x': operator 2 is undefined, not an operator/)
  })
})

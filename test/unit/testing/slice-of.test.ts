import {
  EMPTY,
  NEVER,
  Subject,
  concatMap,
  delay,
  filter,
  map,
  merge,
  mergeMap,
  take,
  of as just,
  tap,
  toArray,
  type Observable,
} from 'rxjs'
import { TestScheduler } from 'rxjs/testing'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import {
  aggregate,
  bytes,
  count as counting,
  decode,
  dropFailed,
  json,
  mapValue,
  meter,
  toTopic,
  type RawRecord,
  type RecordStream,
  type StreamRecord,
} from '../../../src/index.js'
import { record, sliceOf, type TypedRecordStream } from '../../../src/testing/index.js'

const Count = z.object({ n: z.number() })
const out = toTopic<RawRecord>({ topic: 'out' })
const count = (n: number, key = 'k'): StreamRecord<string, { n: number }> => record({ key, value: { n } })

describe('sliceOf', () => {
  it('what comes out and what would be written are there in the same turn', () => {
    const run = sliceOf(
      [
        { key: 'a', value: '{"n":1}', headers: { trace: 't' }, timestamp: 5 },
        { key: 'b', value: 'not JSON' },
        { key: 'c', value: '{"n":0}' },
        { key: 'd', value: null },
      ],
      (records) =>
        records.pipe(
          decode(Count),
          dropFailed(),
          meter({ name: 'read' }),
          filter(({ value }) => value.n > 0),
          mapValue(({ n }) => ({ twice: n * 2 })),
          toTopic({ topic: 'out', value: json() }),
        ),
    )
    expect(run.completed).toBe(true)
    expect(run.emitted.map(({ id, value }) => [id, value])).toEqual([['in/0/0', { twice: 2 }]])
    expect(run.written('out')).toEqual([
      { partition: 0, offset: 0, timestamp: 5, key: 'a', value: '{"twice":2}', headers: { trace: Buffer.from('t') } },
    ])
    expect(run.counts).toEqual({ records: 4, processed: 1, filtered: 1, duplicate: 0, late: 0, failed: 2 })
    expect(run.meters).toEqual({ read: 2 })
  })

  it('records that are typed already go in as they are', () => {
    const run = sliceOf(
      [count(1), count(2), record({ key: 'x', value: { n: 3 }, origin: { topic: 'elsewhere', partition: 3, offset: 9 }, timestamp: 7 })],
      (records) =>
        records.pipe(
          map((r) => r.with({ value: String(r.value.n) })),
          toTopic({ topic: 'out' }),
        ),
    )
    expect(run.emitted.map(({ id }) => id)).toEqual(['in/0/0', 'in/0/1', 'elsewhere/3/9'])
    expect(run.written('out').map(({ key, value, timestamp }) => [key, value, timestamp])).toEqual([
      ['k', '1', -1],
      ['k', '2', -1],
      ['x', '3', 7],
    ])
    expect(run.counts).toMatchObject({ records: 3, processed: 3 })
  })

  it('records nobody changes are copied byte for byte, to the partition of their key', () => {
    const given = Array.from({ length: 20 }, (_, i) => ({
      key: `key ${i % 3}`,
      value: Buffer.from([0xff, i]),
      headers: { h: Buffer.from([i]) },
    }))
    const run = sliceOf(given, (records) => records.pipe(out), { topics: { out: { partitions: 4, value: bytes() } } })
    const written = run.written('out')
    const sorted = (list: readonly { value: Uint8Array | null }[]): unknown[] =>
      list.map(({ value }) => value?.[1]).sort((a, b) => Number(a) - Number(b))
    expect(sorted(written)).toEqual(sorted(given))
    const partitions = new Map(written.map(({ key, partition }) => [key, partition]))
    expect(written.every(({ key, partition }) => partitions.get(key) === partition)).toBe(true)
    expect(new Set(partitions.values()).size).toBeGreaterThan(1)
    for (const partition of partitions.values()) {
      const offsets = written.filter((one) => one.partition === partition).map(({ offset }) => offset)
      expect(offsets).toEqual(offsets.map((_, i) => i))
    }
  })

  it('asynchronous work: what has come so far, and all when done', async () => {
    const run = sliceOf([count(1), count(2)], (records) =>
      records.pipe(
        concatMap(async (r) => (await Promise.resolve(), r)),
        toTopic({ topic: 'out', value: json() }),
      ),
    )
    expect([run.completed, run.emitted.length, run.written('out').length]).toEqual([false, 0, 0])
    await run.done()
    expect([run.completed, run.emitted.length, run.written('out').length]).toEqual([true, 2, 2])
  })

  it('several topics, several branches, and topics of branches that planning does not take', () => {
    const project = (records: RecordStream): Observable<unknown> =>
      merge(records.pipe(toTopic({ topic: 'all' })), records.pipe(mergeMap((r) => just(r).pipe(toTopic({ topic: 'late' })))))
    expect(() => sliceOf([{ value: 'x' }], project)).toThrow(/which planning did not see.*declare: \{ topics: \['late'\] \}/)
    const run = sliceOf([{ value: 'x' }], project, { declare: { topics: ['late'] } })
    expect([run.written('all').length, run.written('late').length]).toEqual([1, 1])
    expect(() => run.written('lat')).toThrow(/does not write to 'lat'; it writes to 'late', 'all'/)
  })

  describe('with rxjs/testing', () => {
    const inMarbles = (body: (helpers: Parameters<Parameters<TestScheduler['run']>[0]>[0]) => void): void =>
      new TestScheduler((actual, expected) => expect(actual).toEqual(expected)).run(body)
    const records = { a: count(1), b: count(2), c: count(3) }

    it('records come and go on their frames; the input is unsubscribed when it ended', () => {
      inMarbles(({ cold, expectObservable, expectSubscriptions, flush }) => {
        const input = cold('-a-b--c|', records)
        const run = sliceOf(input, (stream) =>
          stream.pipe(
            filter(({ value }) => value.n !== 2),
            delay(2),
            mapValue(({ n }) => n * 10),
            toTopic({ topic: 'out', value: json() }),
            map(({ value }) => value),
          ),
        )
        expectObservable(run.output).toBe('---x----(y|)', { x: 10, y: 30 })
        expectSubscriptions(input.subscriptions).toBe('^------!')
        flush()
        expect(run.written('out').map(({ value }) => value)).toEqual(['10', '30'])
        expect(run.counts).toMatchObject({ records: 3, processed: 2, filtered: 1 })
      })
    })

    it('a slice from an array comes out on the first frame', () => {
      inMarbles(({ expectObservable }) => {
        const run = sliceOf(Object.values(records), (stream) => stream.pipe(map(({ value }) => value.n)))
        expectObservable(run.output).toBe('(abc|)', { a: 1, b: 2, c: 3 })
      })
    })

    it('a failure stands where it happened, and nothing is written', () => {
      const failure = new Error('at two')
      inMarbles(({ cold, expectObservable, expectSubscriptions, flush }) => {
        const input = cold('-a-b--c|', records)
        const run = sliceOf(input, (stream) =>
          stream.pipe(
            toTopic({ topic: 'out', value: json() }),
            map(({ value }) => {
              if (value.n === 2) throw failure
              return value.n
            }),
          ),
        )
        expectObservable(run.output).toBe('-x-#', { x: 1 }, failure)
        expectSubscriptions(input.subscriptions).toBe('^--!')
        flush()
        expect(() => run.written('out')).toThrow('at two')
        expect(run.completed).toBe(false)
      })
    })

    it('an expectation that is wrong is noticed', () => {
      expect(() =>
        inMarbles(({ cold, expectObservable }) => {
          const run = sliceOf(cold('a-b|', records), (stream) => stream.pipe(map(({ value }) => value.n)))
          expectObservable(run.output).toBe('a--b|', { a: 1, b: 2 })
        }),
      ).toThrow()
    })
  })

  describe('failures', () => {
    it('in the same turn are thrown', () => {
      const fail = (records: RecordStream): Observable<unknown> =>
        records.pipe(
          map(() => {
            throw new Error('no')
          }),
        )
      expect(() => sliceOf([{ value: 'x' }], fail)).toThrow('no')
      expect(() => sliceOf([], () => null as never)).toThrow('the project function returned null instead of an observable')
    })

    it('later ones come out of done, output and written', async () => {
      const run = sliceOf([{ value: 'x' }], (records) =>
        records.pipe(
          out,
          mergeMap(async () => Promise.reject(new Error('later'))),
        ),
      )
      expect(run.written('out')).toHaveLength(1)
      await expect(run.done()).rejects.toThrow('later')
      expect(() => run.written('out')).toThrow('later')
      const seen: unknown[] = []
      run.output.subscribe({ error: (error: Error) => seen.push(error.message) })
      expect(seen).toEqual(['later'])
    })

    it('misuse is caught as in a pipeline', () => {
      expect(() => sliceOf([{ value: 'a' }, { value: 'b' }], (records) => records.pipe(take(1)))).toThrow(
        /the first record not taken is in\/0\/1/,
      )
      expect(() => sliceOf([{ value: 'a' }], () => EMPTY)).toThrow(/before its first record/)
    })

    it('what never completes is not done', () => {
      const run = sliceOf([{ value: 'a' }], (records) => records.pipe(mergeMap(() => NEVER)))
      expect(run.completed).toBe(false)
    })

    it('what still comes when the slice is done is not written', () => {
      const side = new Subject<RawRecord>()
      const run = sliceOf([{ value: 'a' }], (records) => {
        side.pipe(out).subscribe()
        return records.pipe(tap((r) => side.next(r)))
      })
      expect(run.completed).toBe(true)
      side.next(record({ key: null, value: Buffer.from('late') }))
      expect(run.written('out').map(({ value }) => value)).toEqual(['a'])
    })

    it('wrong options and records are refused by name', () => {
      expect(() => sliceOf([], (records) => records, { partitions: 3 } as never)).toThrow(
        /sliceOf: wrong options\n.*unknown option 'partitions'/,
      )
      expect(() => sliceOf([{ val: 1 } as never], (records) => records)).toThrow(/unknown option 'val'/)
      expect(() => sliceOf([{ value: { n: 1 } as never }], (records) => records)).toThrow(
        /the value of a record for 'in' is of type object, not text or bytes/,
      )
    })
  })

  it('state begins empty and is kept within the slice', () => {
    const project = (records: TypedRecordStream<Buffer, number>): Observable<StreamRecord<Buffer, number>> =>
      records.pipe(aggregate(counting(), { name: 'counts', emit: 'each' }), toTopic({ topic: 'out', value: json() }))
    const given = ['a', 'b', 'a'].map((key) => record({ key: Buffer.from(key), value: 1, timestamp: 0 }))
    for (let slice = 0; slice < 2; slice++) {
      const run = sliceOf(given, project)
      expect(run.written('out').map(({ key, value }) => [key, value])).toEqual([
        ['a', '1'],
        ['b', '1'],
        ['a', '2'],
      ])
    }
  })

  it('native operators that remember end with the slice', () => {
    const run = sliceOf([count(1), count(2)], (records) => records.pipe(toArray()))
    expect(run.emitted.map((list) => list.length)).toEqual([2])
    expect(run.emitted).toHaveLength(1)
  })
})

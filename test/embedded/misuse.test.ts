import { inspect } from 'node:util'
import {
  EMPTY,
  NEVER,
  catchError,
  first,
  ignoreElements,
  last,
  lastValueFrom,
  map,
  mergeMap,
  of,
  race,
  retry,
  take,
  throwError,
  timer,
} from 'rxjs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  attempt,
  count,
  deadLetter,
  decode,
  dropFailed,
  embedded,
  json,
  meter,
  route,
  silentLogger,
  store,
  string,
  toTopic,
  tumbling,
  window,
  withStore,
  withTransaction,
  type Cluster,
  type RawRecord,
  type RecordStream,
  type TransactionOptions,
} from '../../src/index.js'
import { numbers, runUntil, values } from '../support/pipelines.js'
import type { Observable } from 'rxjs'

const out = toTopic<RawRecord>({ topic: 'out' })

describe('misuse is caught', () => {
  let cluster: Cluster

  beforeEach(async () => {
    cluster = embedded({ logger: silentLogger })
    await cluster.createTopics([{ topic: 'in' }, { topic: 'out' }, { topic: 'other', partitions: 3 }])
    await cluster.produce({ topic: 'in', records: numbers(20).map(({ key, value }) => ({ key, value })) })
  })

  afterEach(() => cluster.close())

  const failure = async (
    project: (records: RecordStream) => Observable<unknown>,
    options: TransactionOptions = {},
    topics = ['in'],
  ): Promise<string> => {
    const commits = cluster.source({ group: 'g', topics }).pipe(withTransaction(project, { every: 20, ...options }))
    try {
      await lastValueFrom(commits, { defaultValue: undefined })
    } catch (error) {
      return `${(error as { code: string }).code} ${(error as Error).message}`
    }
    return 'it went on'
  }

  it('take: names the first record not taken, and nothing is committed', async () => {
    expect(await failure((records) => records.pipe(take(5), out))).toMatch(
      /SLICE_COMPLETED_EARLY.*at record in\/0\/4: the first record not taken is in\/0\/5/,
    )
    expect(await values(cluster, 'out')).toEqual([])
  })

  it('first', async () => {
    expect(await failure((records) => records.pipe(first(undefined, null)))).toMatch(/SLICE_COMPLETED_EARLY/)
  })

  it('catchError(() => EMPTY) after an error half way', async () => {
    const project = (records: RecordStream): Observable<unknown> =>
      records.pipe(
        map((r) => {
          if (String(r.value) === '3') throw new Error('bad')
          return r
        }),
        out,
        catchError(() => EMPTY),
      )
    expect(await failure(project)).toMatch(/SLICE_COMPLETED_EARLY.*in\/0\/4/)
    expect(await values(cluster, 'out')).toEqual([])
  })

  describe('behind a step that takes longer than the input: nothing is committed', () => {
    const slow = mergeMap((r: RawRecord) => timer(60).pipe(map(() => r)))
    const cases: Record<string, (records: RecordStream) => Observable<unknown>> = {
      'take(3)': (records) => records.pipe(slow, take(3), out),
      'catchError(() => EMPTY)': (records) =>
        records.pipe(
          slow,
          map((r) => {
            if (String(r.value) === '3') throw new Error('bad')
            return r
          }),
          catchError(() => EMPTY),
          out,
        ),
      'race with what ends sooner': (records) => race(records.pipe(slow, out), records.pipe(last(undefined, null))),
      'an observable that does not contain what was subscribed': (records) => {
        records.pipe(slow, out).subscribe({ error: () => {} })
        return records.pipe(ignoreElements())
      },
    }
    it.each(Object.entries(cases))('%s', async (_, project) => {
      // With so many the input ends in the turn in which it is fed.
      expect(await failure(project, { maxRecords: 20 })).toMatch(/SLICE_COMPLETED_EARLY.*before all of it had/)
      expect(await values(cluster, 'out')).toEqual([])
      await runUntil(cluster, { group: 'g', topics: ['in'], records: 20 }, (records) => records.pipe(out))
      expect(await values(cluster, 'out')).toHaveLength(20)
    })
  })

  it('retry, which subscribes again after records have passed', async () => {
    const project = (records: RecordStream): Observable<unknown> =>
      records.pipe(
        mergeMap((r) => (String(r.value) === '3' ? throwError(() => new Error('bad')) : of(r))),
        retry(2),
        out,
      )
    expect(await failure(project)).toMatch(/SLICE_SUBSCRIBED_LATE.*in\/0\/0/)
  })

  it('a defer that waits', async () => {
    expect(await failure((records) => timer(50).pipe(mergeMap(() => records)), { every: 200 })).toMatch(/SLICE_SUBSCRIBED_LATE/)
  })

  it('a project function that never completes: the watchdog names the operator', async () => {
    const message = await failure(
      (records) =>
        records.pipe(
          map((r) => r),
          mergeMap(() => NEVER),
          out,
        ),
      { stallAfter: 100 },
    )
    expect(message).toMatch(/SLICE_STALLED.*operator 2 of 3 of the pipe at .*misuse\.test\.ts:\d+/)
  })

  it('an operator subscribed outside a slice', () => {
    const seen: unknown[] = []
    of(1)
      .pipe(meter({ name: 'm' }))
      .subscribe({ error: (error: unknown) => seen.push((error as { code: string }).code) })
    expect(seen).toEqual(['OUTSIDE_SLICE'])
  })

  it('withTransaction outside a source', () => {
    expect(() => of().pipe(withTransaction((records) => records) as never)).toThrow(/withTransaction stands outside a source/)
  })

  it('a sink that planning did not see, with how to declare it', async () => {
    const project = (records: RecordStream): Observable<unknown> => records.pipe(mergeMap((r) => of(r).pipe(out)))
    expect(await failure(project)).toMatch(/NOT_PLANNED.*declare: \{ topics: \['out'\] \}/)
  })

  it('a topic function that names a topic not in its list', async () => {
    expect(await failure((records) => records.pipe(toTopic({ topic: () => 'other', topics: ['out'] })))).toMatch(/NOT_PLANNED.*'other'/)
  })

  it('missing topics, input and output, and different partition counts', async () => {
    expect(await failure((records) => records, {}, ['nowhere'])).toMatch(/MISSING_TOPIC.*'nowhere'.*createTopics/)
    expect(await failure((records) => records.pipe(toTopic({ topic: 'nowhere' })))).toMatch(/MISSING_TOPIC.*'nowhere'.*provision: true/)
    expect(await failure((records) => records, {}, ['in', 'other'])).toMatch(/PARTITION_MISMATCH.*in has 1, other has 3/)
  })

  it('a project function that returns no observable is told what is likely missing', async () => {
    expect(await failure(((records: RecordStream) => void records.pipe(out)) as never)).toMatch(
      /PLAN_FAILED the project function returned nothing: is a return missing/,
    )
    expect(await failure((async (records: RecordStream) => Promise.resolve(records.pipe(out))) as never)).toMatch(
      /PLAN_FAILED the project function returned a promise: it may not be async/,
    )
    expect(await failure((() => 5) as never)).toMatch(/PLAN_FAILED the project function returned a number instead/)
    expect(await failure((records) => records.pipe((() => undefined) as never, out))).toMatch(
      /PLAN_FAILED operator 1 of 2.* of the pipe at .*misuse\.test\.ts:\d+:\d+ returned undefined/,
    )
    const late = (() => undefined) as never
    expect(await failure((records) => records.pipe(window(tumbling('1m'), { aggregate: count(), late })), { provision: true })).toMatch(
      /PLAN_FAILED the side output of window 'window' returned nothing: is a return missing/,
    )
  })

  it('a schema that throws fails the slice: its records are not dead-lettered for it', async () => {
    const thrown = { '~standard': { version: 1 as const, vendor: 'test', validate: () => JSON.parse('{') as never } }
    const rejected = { '~standard': { ...thrown['~standard'], validate: () => Promise.reject(new Error('later')) } }
    for (const schema of [thrown, rejected]) {
      const message = await failure((records) => records.pipe(decode(schema, { from: string() }), deadLetter({ topic: 'other' })))
      expect(message).toMatch(/RECORD_FAILED.*the schema threw on in\/0\/0 instead of saying what does not fit/)
    }
    expect(await values(cluster, 'other')).toEqual([])
  })

  describe('a function that returns nonsense is told so, and by what', () => {
    const fails = attempt((): never => {
      throw new Error('x')
    })
    const cases: Record<
      string,
      readonly [(records: RecordStream, nonsense: never) => Observable<unknown>, nonsense: readonly unknown[], RegExp]
    > = {
      'headers of toTopic': [
        (r, it) => r.pipe(toTopic({ topic: 'out', headers: () => it })),
        [5, [], new Map(), Promise.resolve({})],
        /ENCODE_FAILED|headers are an object/,
      ],
      'headers of deadLetter': [
        (r, it) => r.pipe(fails, deadLetter({ topic: 'out', headers: () => it })),
        [undefined, null, Promise.resolve({})],
        /headers are an object/,
      ],
      'partition of toTopic': [
        (r, it) => r.pipe(toTopic({ topic: 'out', partition: () => it })),
        [undefined, Number.NaN, -1, 1.5, 'x', Symbol('s'), 9],
        /partition .* does not exist/,
      ],
      'topic of toTopic': [
        (r, it) => r.pipe(toTopic({ topic: () => it, topics: ['out'] })),
        [undefined, null, 5, {}, Symbol('s')],
        /is not in its list/,
      ],
      'to of route': [
        (r, it) => r.pipe(route({ to: () => it, topics: ['out'], fallback: 'out' })),
        [Promise.resolve('out')],
        /`to` returned a promise/,
      ],
      'time of window': [
        (r, it) => r.pipe(window(tumbling('1m'), { aggregate: count(), time: () => it })),
        [undefined, Number.NaN, -1, 0.5, 'x', 5n, Symbol('s')],
        /the event time of .* is /,
      ],
      'key of a store': [
        (r, it) => r.pipe(withStore(store({ name: 's', ttl: '1h', value: json() }), (mine) => mine.put(it, 1))),
        [undefined, null, 5, {}, [], Symbol('s'), 5n],
        /a key of a store is text or bytes/,
      ],
      'validate of a schema': [
        (r, it) => r.pipe(decode({ '~standard': { version: 1, vendor: 'test', validate: () => it } }, { from: string() }), dropFailed()),
        [undefined, null, 5, {}, [], Promise.resolve()],
        /no result of a Standard Schema/,
      ],
    }
    for (const [name, [project, all, message]] of Object.entries(cases)) {
      it.each(all.map((one) => [inspect(one), one]))(`${name}: %s`, async (_, one) => {
        expect(await failure((records) => project(records, one as never), { provision: true, retries: 0 })).toMatch(message)
      })
    }
  })

  it('produce says which of its records is none', async () => {
    const produce = (...records: unknown[]): Promise<number> => cluster.produce({ topic: 'in', records: records as never })
    await expect(produce({ value: 'a' }, { value: { n: 1 } })).rejects.toThrow(
      /produce: record 1: its value is a value of class Object.*JSON\.stringify/,
    )
    await expect(produce({ value: 5 })).rejects.toThrow(/record 0: its value is a number/)
    await expect(produce({ key: ['a'], value: 'a' })).rejects.toThrow(/record 0: its key is a value of class Array/)
    await expect(produce({ key: 'a' })).rejects.toThrow(/its value is undefined/)
    await expect(produce('text')).rejects.toThrow(/record 0 is a string: expected \{ key/)
    await expect(produce({ value: 'x'.repeat(2_000_000) })).rejects.toThrow(/^produce: record 0 takes \d+ bytes, more than 'in' takes/)
    // The one beside a record that is refused is written.
    expect(await values(cluster, 'in')).toHaveLength(21)
  })

  it('errors of the log are of the one public class', async () => {
    const error: unknown = await lastValueFrom(
      cluster.source({ group: 'g', topics: ['in'] }).pipe(withTransaction((r) => r.pipe(toTopic({ topic: 'no' })))),
    ).catch((e: unknown) => e)
    const refused: unknown = await cluster.createTopics([{ topic: 'in' }]).catch((e: unknown) => e)
    for (const one of [error, refused])
      expect([(one as object).constructor.name, Object.keys(one as object)]).toEqual([
        'MillraceError',
        expect.not.arrayContaining(['reaction']),
      ])
  })

  it('a project function that fails on an empty slice', async () => {
    expect(await failure((records) => records.pipe(first()))).toMatch(/PLAN_FAILED/)
  })

  it('a value that is no record, and a type without a serde', async () => {
    expect(
      await failure((records) =>
        records.pipe(
          map(() => 5 as never),
          out,
        ),
      ),
    ).toMatch(/RECORD_FAILED.*is not a record/)
    expect(
      await failure((records) =>
        records.pipe(
          map((r) => r.with({ value: 5 as never })),
          out,
        ),
      ),
    ).toMatch(/RECORD_FAILED.*give toTopic a serde/)
  })

  it('a FailedRecord that reaches a topic in spite of the types', async () => {
    const schema = { '~standard': { version: 1 as const, vendor: 'test', validate: () => ({ issues: [{ message: 'never fits' }] }) } }
    expect(await failure((records) => records.pipe(decode(schema) as never, out))).toMatch(/RECORD_FAILED.*FailedRecord.*handle failures/)
  })
})

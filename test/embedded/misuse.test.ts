import { EMPTY, NEVER, catchError, first, lastValueFrom, map, mergeMap, of, race, retry, take, throwError, timer } from 'rxjs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  decode,
  embedded,
  meter,
  silentLogger,
  toTopic,
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
      'race with a timer': (records) => race(records.pipe(slow, out), timer(40)),
      'an observable that does not contain what was subscribed': (records) => {
        records.pipe(slow, out).subscribe({ error: () => {} })
        return timer(40)
      },
    }
    it.each(Object.entries(cases))('%s', async (_, project) => {
      expect(await failure(project)).toMatch(/SLICE_COMPLETED_EARLY.*before all of it had/)
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

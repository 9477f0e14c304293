import { readFileSync } from 'node:fs'
import * as rx from 'rxjs'
import * as all from 'rxjs/operators'
import type { Observable } from 'rxjs'
import { TestScheduler } from 'rxjs/testing'
import { describe, expect, it } from 'vitest'
import { count, dedupe, header, joinStream, meter, tumbling, window, type RawRecord, type RecordStream } from '../../src/index.js'
import { sliceOf } from '../../src/testing/index.js'

type Op = (source: Observable<unknown>) => Observable<unknown>
type Placement = (records: RecordStream, part: Op) => Observable<unknown>

const { EMPTY, map, merge, mergeMap, of, timer } = rx
const RECORDS = 6

/** Takes its time, so that what goes in is under way when the input ends. */
const slow: Op = mergeMap((item, i) => timer(5 + 2 * i).pipe(map(() => item)))
const failing: Op = mergeMap((item, i) =>
  timer(5 + 2 * i).pipe(
    map(() => {
      if (i === 2) throw new Error('the third')
      return item
    }),
  ),
)
const behind =
  (...operators: Op[]): Op =>
  (source) =>
    operators.reduce((before, operator) => operator(before), source)
const op = (operator: unknown): Op => operator as Op
/** Operators that `rxjs` exports as something else. */
const old = (name: string): ((...given: unknown[]) => Op) => (all as unknown as Record<string, (...given: unknown[]) => Op>)[name] as never
const inner = (item: unknown): Observable<unknown> => timer(3).pipe(map(() => item))

/** What ends, or is left, before all that went in is through. */
const early: Record<string, Op> = {
  take: behind(slow, op(rx.take(3))),
  first: behind(slow, op(rx.first(undefined, null))),
  takeWhile: behind(slow, op(rx.takeWhile((_, i) => i < 2))),
  takeUntil: behind(slow, op(rx.takeUntil(timer(8)))),
  find: behind(slow, op(rx.find(() => true))),
  findIndex: behind(slow, op(rx.findIndex(() => true))),
  elementAt: behind(slow, op(rx.elementAt(1, null))),
  every: behind(slow, op(rx.every(() => false))),
  isEmpty: behind(slow, op(rx.isEmpty())),
  sequenceEqual: behind(slow, op(rx.sequenceEqual(of(0)))),
  race: behind(slow, op(old('race')(timer(1)))),
  raceWith: behind(slow, op(rx.raceWith(timer(1)))),
  zip: behind(slow, op(old('zip')(of(1)))),
  zipWith: behind(slow, op(rx.zipWith(of(1)))),
  timeout: behind(slow, op(rx.timeout({ first: 2, with: () => EMPTY }))),
  timeoutWith: behind(slow, op(rx.timeoutWith(2, EMPTY))),
  catchError: behind(failing, op(rx.catchError(() => EMPTY))),
  onErrorResumeNext: behind(failing, op(old('onErrorResumeNext')())),
  onErrorResumeNextWith: behind(failing, op(rx.onErrorResumeNextWith())),
  materialize: behind(failing, op(rx.materialize())),
  // Loses nothing, but ends by the last item of what stands before it, which then has not ended.
  dematerialize: behind(slow, op(rx.materialize()), op(rx.dematerialize())),
  retry: behind(failing, op(rx.retry(1))),
  retryWhen: behind(failing, op(rx.retryWhen((errors) => errors.pipe(rx.take(1))))),
  repeat: behind(slow, op(rx.repeat(2))),
  repeatWhen: behind(slow, op(rx.repeatWhen((ends) => ends))),
}

/** What leaves items out because that is what it is for; the readme names those that go by time. */
const drops: Record<string, Op> = {
  audit: op(rx.audit(() => timer(3))),
  auditTime: op(rx.auditTime(3)),
  debounce: op(rx.debounce(() => timer(3))),
  debounceTime: op(rx.debounceTime(3)),
  throttle: op(rx.throttle(() => timer(3))),
  throttleTime: op(rx.throttleTime(3)),
  sample: op(rx.sample(timer(3, 3).pipe(rx.take(2)))),
  sampleTime: op(rx.sampleTime(3)),
  switchMap: op(rx.switchMap(inner)),
  switchMapTo: op(rx.switchMapTo(timer(3))),
  switchScan: op(rx.switchScan((_, item) => inner(item), null as unknown)),
  switchAll: behind(op(map(inner)), op(rx.switchAll())),
  exhaustMap: op(rx.exhaustMap(inner)),
  exhaustAll: behind(op(map(inner)), op(rx.exhaustAll())),
  exhaust: behind(op(map(inner)), op(rx.exhaust())),
  withLatestFrom: op(rx.withLatestFrom(timer(3))),
  combineLatest: op(old('combineLatest')(of(1))),
  combineLatestWith: op(rx.combineLatestWith(of(1))),
  combineLatestAll: behind(op(map(inner)), op(rx.combineLatestAll())),
  combineAll: behind(op(map(inner)), op(rx.combineAll())),
  zipAll: behind(op(map(inner)), op(rx.zipAll())),
  skipUntil: op(rx.skipUntil(timer(8))),
  filter: op(rx.filter((_, i) => i > 2)),
  skip: op(rx.skip(2)),
  skipLast: op(rx.skipLast(2)),
  skipWhile: op(rx.skipWhile((_, i) => i < 2)),
  takeLast: op(rx.takeLast(2)),
  last: op(rx.last(undefined, null)),
  distinct: op(rx.distinct(() => 1)),
  distinctUntilChanged: op(rx.distinctUntilChanged(() => true)),
  distinctUntilKeyChanged: op(rx.distinctUntilKeyChanged('constructor' as never)),
  ignoreElements: op(rx.ignoreElements()),
}

/** What goes on to its end. */
const whole: Record<string, Op> = {
  buffer: op(rx.buffer(timer(3, 3).pipe(rx.take(2)))),
  bufferCount: op(rx.bufferCount(2)),
  bufferTime: op(rx.bufferTime(3)),
  bufferToggle: op(rx.bufferToggle(of(1), () => timer(3))),
  bufferWhen: op(rx.bufferWhen(() => timer(3))),
  concat: op(old('concat')(of(1))),
  concatAll: behind(op(map(inner)), op(rx.concatAll())),
  concatMap: op(rx.concatMap(inner)),
  concatMapTo: op(rx.concatMapTo(timer(3))),
  concatWith: op(rx.concatWith(of(1))),
  connect: op(rx.connect((shared) => merge(shared, shared))),
  count: op(rx.count()),
  defaultIfEmpty: op(rx.defaultIfEmpty(null)),
  delay: op(rx.delay(3)),
  delayWhen: op(rx.delayWhen(() => timer(3))),
  endWith: op(rx.endWith(1)),
  expand: op(rx.expand((item) => (item === 0 ? EMPTY : of(0)))),
  finalize: op(rx.finalize(() => {})),
  flatMap: op(rx.flatMap(inner)),
  groupBy: behind(op(rx.groupBy((item) => String((item as RawRecord).key))), op(mergeMap((group) => group as Observable<unknown>))),
  map: op(map((item) => item)),
  mapTo: op(rx.mapTo(1)),
  max: op(rx.max(() => 0)),
  merge: op(old('merge')(timer(3))),
  mergeAll: behind(op(map(inner)), op(rx.mergeAll())),
  mergeMap: op(mergeMap(inner)),
  mergeMapTo: op(rx.mergeMapTo(timer(3))),
  mergeScan: op(rx.mergeScan((_, item) => inner(item), null as unknown)),
  mergeWith: op(rx.mergeWith(timer(3))),
  min: op(rx.min(() => 0)),
  multicast: (source) => (rx.multicast(() => new rx.Subject())(source as never) as unknown as rx.ConnectableObservable<unknown>).refCount(),
  observeOn: op(rx.observeOn(rx.asyncScheduler)),
  pairwise: op(rx.pairwise()),
  partition: (source) => merge(...(old('partition')(() => true)(source) as unknown as Observable<unknown>[])),
  pluck: op(rx.pluck('id' as never)),
  publish: op(rx.publish((shared) => shared)),
  publishBehavior: (source) =>
    rx
      .publishBehavior(null as unknown)(source)
      .refCount(),
  publishLast: (source) => rx.publishLast()(source).refCount(),
  publishReplay: (source) => (rx.publishReplay()(source as never) as rx.ConnectableObservable<unknown>).refCount(),
  reduce: op(rx.reduce((_, item) => item)),
  refCount: (source) => rx.refCount()((rx.publish() as (of: unknown) => Observable<unknown>)(source)),
  scan: op(rx.scan((_, item) => item)),
  share: (source) => {
    const shared = rx.share()(source)
    return merge(shared, shared)
  },
  shareReplay: op(rx.shareReplay({ refCount: true })),
  single: behind(op(rx.startWith(1)), op(rx.single((item) => item === 1))),
  startWith: op(rx.startWith(1)),
  subscribeOn: op(rx.subscribeOn(rx.queueScheduler)),
  tap: op(rx.tap(() => {})),
  throwIfEmpty: behind(op(rx.startWith(1)), op(rx.throwIfEmpty())),
  timeInterval: op(rx.timeInterval()),
  timestamp: op(rx.timestamp()),
  toArray: op(rx.toArray()),
  window: behind(op(rx.window(timer(3, 3).pipe(rx.take(2)))), op(rx.mergeAll())),
  windowCount: behind(op(rx.windowCount(2)), op(rx.mergeAll())),
  windowTime: behind(op(rx.windowTime(3)), op(rx.mergeAll())),
  windowToggle: behind(op(rx.windowToggle(of(1), () => timer(3))), op(rx.mergeAll())),
  windowWhen: behind(op(rx.windowWhen(() => timer(3))), op(rx.mergeAll())),
}

/** Where it stands. Behind the first record, all others are late, or duplicates, and so go to the side outputs. */
const places: Record<string, Placement> = {
  'in the pipe': (records, part) => records.pipe(part),
  'applied without pipe': (records, part) => part(records),
  'behind an operator of ours, without pipe': (records, part) => part(meter<RawRecord>({ name: 'm' })(records)),
  'behind a merge': (records, part) => merge(records.pipe(rx.filter(() => true))).pipe(part),
  'in a branch': (records, part) => merge(records, records.pipe(part)),
  'inside an operator that is made of others': (records, part) =>
    records.pipe((source) =>
      source.pipe(
        part,
        map((x) => x),
      ),
    ),
  'subscribed by itself': (records, part) => {
    records.pipe(part).subscribe({ error: () => {} })
    return timer(1_000)
  },
  'late of window': (records, late) => records.pipe(window(tumbling('1s'), { aggregate: count(), late })),
  'onDuplicate of dedupe': (records, onDuplicate) =>
    records.pipe(dedupe({ by: header('id'), within: '1h', partitioned: true, onDuplicate })),
  'late of joinStream': (records, late) =>
    records.pipe(joinStream(records.pipe(rx.filter(() => false)), { within: '1s', join: () => 1, late })),
}

function outcome(project: (records: RecordStream) => Observable<unknown>): string {
  let seen = 'it never ends'
  try {
    new TestScheduler(() => {}).run(({ flush }) => {
      const records = Array.from({ length: RECORDS }, (_, i) => ({
        key: 'k',
        value: `${i}`,
        headers: { id: 'one' },
        timestamp: i === 0 ? 100_000 : i,
      }))
      sliceOf(records, project).output.subscribe({
        complete: () => (seen = 'it runs to its end'),
        error: ({ code, message }: { code: string; message: string }) => (seen = `${code} ${message}`),
      })
      flush()
    })
  } catch (error) {
    return `${(error as { code: string }).code} ${(error as Error).message}`
  }
  return seen
}

describe('every step of a slice runs to its end, or the slice is refused', () => {
  it('each operator of RxJS is in one of the tables', () => {
    expect([...Object.keys(early), ...Object.keys(drops), ...Object.keys(whole)].sort()).toEqual(
      [...Object.keys(all), 'onErrorResumeNextWith'].sort(),
    )
  })

  for (const [where, place] of Object.entries(places)) {
    describe(where, () => {
      it.each(Object.entries(early))('%s behind a step that takes its time is refused', (_, part) => {
        expect(outcome((records) => place(records, part))).toMatch(/SLICE_COMPLETED_EARLY|SLICE_SUBSCRIBED_LATE|OUTSIDE_SLICE/)
      })

      it.each([...Object.entries(drops), ...Object.entries(whole)])('%s runs to its end', (_, part) => {
        expect(outcome((records) => place(records, behind(slow, part)))).toBe('it runs to its end')
      })
    })
  }

  it('the readme names those that leave records out by time', () => {
    const readme = readFileSync('README.md', 'utf8')
    const byTime = Object.keys(drops).slice(0, Object.keys(drops).indexOf('filter'))
    expect(byTime.filter((name) => !readme.includes(name.replace(/(To|Scan|All|With|Time)$/, '')))).toEqual([])
  })
})

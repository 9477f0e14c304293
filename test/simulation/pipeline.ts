import { filter, map, mergeMap, of, tap, throwError, timer, type Observable, type OperatorFunction } from 'rxjs'
import {
  aggregate,
  aggregator,
  attempt,
  count,
  deadLetter,
  dedupe,
  delayUntil,
  deliveryAttempt,
  header,
  joinStream,
  joinTable,
  json,
  memoryClaims,
  repartition,
  retryTopic,
  session,
  store,
  string,
  table,
  toTopic,
  tumbling,
  window,
  withStore,
  type ClaimStore,
  type FailedRecord,
  type RawRecord,
  type RecordStream,
} from '../../src/index.js'
import type { Clock } from '../../src/testing/index.js'
import type { Kind, Scenario } from './scenario.js'

export const WINDOW_MS = 20
export const GRACE_MS = 5
export const GAP_MS = 8
export const WITHIN_MS = 10
export const RETRIES = ['1s', '5s'] as const

/** What is in a record: '<kind>|<number>|<key>|<due>'. */
export interface Content {
  readonly kind: Kind
  readonly id: number
  readonly key: number
  /** When it is to pass, where it is delayed. */
  readonly due: number
}

export function textOf({ kind, id, key, due }: Content): string {
  return [kind, id, key, due].join('|')
}

export function contentOf({ value }: { readonly value: unknown }): Content {
  const [kind, id, key, due] = String(value).split('|')
  return { kind: kind as Kind, id: Number(id), key: Number(key), due: Number(due) }
}

/** How often a step fails on a record before it succeeds. */
export function failuresOf(kind: Kind): number {
  return kind.startsWith('fails') ? Number(kind.slice(5)) : 0
}

/** What the members of a run share, as they would a service. */
export interface Surroundings {
  readonly clock: Clock
  readonly claims: ClaimStore
  /** Notes what must never be. */
  readonly wrong: (what: string) => void
}

export function surroundings(clock: Clock, wrong: (what: string) => void): Surroundings {
  return { clock, claims: memoryClaims({ clock }), wrong }
}

const ids = aggregator({
  name: 'ids',
  init: (): number[] => [],
  add(state: number[], record: { readonly value: unknown }) {
    state.push(contentOf(record).id)
    return state
  },
  merge(earlier, later) {
    earlier.push(...later)
    return earlier
  },
  result: (state) => [...state].sort((a, b) => a - b),
})

const idOf = (record: RawRecord): RawRecord => record.with({ value: Buffer.from(String(contentOf(record).id)) })
const out = toTopic<RawRecord>({ topic: 'out' })
const lateOut = (late: Observable<{ readonly record: RawRecord }>): Observable<unknown> =>
  late.pipe(
    map(({ record }) => idOf(record)),
    toTopic({ topic: 'late' }),
  )

/** What takes a while, and what throws. */
const handled = mergeMap((record: RawRecord): Observable<RawRecord> => {
  const { kind } = contentOf(record)
  if (kind === 'poison') return throwError(() => new Error('poison'))
  return kind === 'slow' ? timer(20).pipe(map(() => record)) : of(record)
}, 1)

const passed = (records: Observable<RawRecord>): Observable<RawRecord> =>
  records.pipe(filter((record) => contentOf(record).kind !== 'dropped'))

function once({ dedupe: how }: Scenario, { claims }: Surroundings): OperatorFunction<RawRecord, RawRecord> {
  if (how === 'none') return (records) => records
  const by = header('id')
  return how === 'task' ? dedupe<RawRecord>({ by, within: '365d' }) : dedupe<RawRecord>({ by, within: '365d', store: claims })
}

function tried({ failures }: Scenario): OperatorFunction<RawRecord, RawRecord> {
  if (failures === 'none') return (records) => records
  const step = attempt((record: RawRecord) => {
    if (deliveryAttempt(record) <= failuresOf(contentOf(record).kind)) throw new Error('not yet')
  })
  const end = deadLetter<RawRecord | FailedRecord>({ topic: 'dead' }) as OperatorFunction<RawRecord | FailedRecord, RawRecord>
  if (failures === 'dead') return (records) => records.pipe(step, end)
  const again = retryTopic<RawRecord | FailedRecord>({ delays: RETRIES, ordered: failures === 'ordered' ? 'key' : false })
  return (records) => records.pipe(step, again, end)
}

function core(scenario: Scenario, { clock, wrong }: Surroundings): OperatorFunction<RawRecord, unknown> {
  switch (scenario.core) {
    case 'copy':
      return (records) => records.pipe(map(idOf), toTopic({ topic: 'out', partition: (record) => record.origin.partition }))
    case 'count':
      return (records) =>
        records.pipe(aggregate({ ...count(), name: 'counts' }, { emit: 'each' }), toTopic({ topic: 'out', value: json() }))
    case 'store': {
      const seen = store<number>({ name: 'seen' })
      return (records) =>
        records.pipe(
          withStore(seen, (counts, record) => record.with({ value: counts.update(record.key as Buffer, (n = 0) => n + 1) as number })),
          toTopic({ topic: 'out', value: json() }),
        )
    }
    case 'delay':
      return (records) =>
        records.pipe(
          delayUntil((record) => contentOf(record).due),
          tap((record) => {
            if (clock.now() < contentOf(record).due) wrong(`${String(record.value)} passes at ${clock.now()}, before its time`)
          }),
          map(idOf),
          out,
        )
    case 'repartition':
      return (records) =>
        records.pipe(
          repartition({ key: (record) => `r${contentOf(record).key}` }),
          aggregate({ ...count(), name: 'counts' }, { emit: 'each' }),
          toTopic({ topic: 'out', value: json() }),
        )
    case 'window':
      return (records) =>
        records.pipe(
          window(tumbling(WINDOW_MS), { aggregate: ids, grace: GRACE_MS, late: lateOut as never }),
          toTopic({ topic: 'out', value: json() }),
        )
    case 'session':
      return (records) =>
        records.pipe(
          window(session(GAP_MS), { aggregate: ids, grace: GRACE_MS, late: lateOut as never }),
          toTopic({ topic: 'out', value: json() }),
        )
    case 'idle':
      return (records) =>
        records.pipe(
          window(tumbling(WINDOW_MS), { aggregate: ids, grace: GRACE_MS, closeWhenIdle: '2s', late: lateOut as never }),
          toTopic({ topic: 'out', value: json() }),
        )
    case 'joinTable':
      return (records) =>
        records.pipe(
          joinTable(table({ topic: 'rows', value: string() }), { join: (record, row) => `${contentOf(record).id} ${row}` }),
          toTopic({ topic: 'out', value: string() }),
        )
    case 'joinStream':
      throw new Error('has two inputs: see projectOf')
  }
}

/** The pipeline that a scenario describes. */
export function projectOf(scenario: Scenario, around: Surroundings): (records: RecordStream) => Observable<unknown> {
  if (scenario.core === 'joinStream') {
    return (records) => {
      const side = (topic: string): Observable<RawRecord> =>
        passed(records).pipe(
          filter(({ origin }) => origin.topic === topic),
          handled,
        )
      return side('in').pipe(
        joinStream(side('right'), {
          within: WITHIN_MS,
          grace: '1d',
          join: (left, right) => `${contentOf(left).id}+${contentOf(right).id}`,
        }),
        toTopic({ topic: 'out', value: string() }),
      )
    }
  }
  const step = core(scenario, around)
  return (records) => passed(records).pipe(once(scenario, around), handled, tried(scenario), step)
}

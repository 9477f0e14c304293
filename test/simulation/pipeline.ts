import { filter, map, mergeMap, of, tap, throwError, timer, type Observable, type OperatorFunction } from 'rxjs'
import {
  aggregate,
  aggregator,
  attempt,
  count,
  deadLetter,
  decode,
  dedupe,
  delayUntil,
  deliveryAttempt,
  header,
  hopping,
  joinStream,
  joinTable,
  json,
  memoryClaims,
  repartition,
  retryTopic,
  route,
  schedule,
  session,
  sliding,
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
  type Windows,
} from '../../src/index.js'
import type { Clock } from '../../src/testing/index.js'
import { z } from 'zod'
import { joinsStreams, type Core, type Kind, type Scenario } from './scenario.js'

export const WINDOW_MS = 20
export const GRACE_MS = 5
export const GAP_MS = 8
export const WITHIN_MS = 10
export const ADVANCE_MS = 7
/** Of a stream join that hands out what found no partner: above the span of all records. */
export const LONG_GRACE_MS = 60_000
/** Largest record of the output. */
export const OUT_BYTES = 5_000
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
const idOrLarge = (record: RawRecord): RawRecord =>
  contentOf(record).kind === 'large' ? record.with({ value: Buffer.alloc(2 * OUT_BYTES) }) : idOf(record)
const out = toTopic<RawRecord>({ topic: 'out' })
const lateOut = (late: Observable<{ readonly record: RawRecord }>): Observable<unknown> =>
  late.pipe(
    map(({ record }) => idOf(record)),
    toTopic({ topic: 'late' }),
  )

/** What takes a while, and what throws. */
const handled = (core: Core): OperatorFunction<RawRecord, RawRecord> =>
  mergeMap((record: RawRecord): Observable<RawRecord> => {
    const { kind } = contentOf(record)
    const poison = throwError(() => new Error('poison'))
    if (kind === 'poison' || (kind === 'large' && core !== 'copy' && core !== 'route')) return poison
    if (kind === 'rejects') return timer(10).pipe(mergeMap(() => Promise.reject<RawRecord>(new Error('rejected'))))
    return kind === 'slow' ? timer(20).pipe(map(() => record)) : of(record)
  }, 1)

const decoded = decode(z.any(), {
  from: {
    name: 'marked',
    encode: (value: unknown) => value as Buffer,
    decode(bytes: Buffer): unknown {
      if (contentOf({ value: bytes }).kind === 'garbled') throw new Error('not to be read')
      return bytes
    },
  },
}) as unknown as OperatorFunction<RawRecord, RawRecord>

const passed = (records: Observable<RawRecord>): Observable<RawRecord> =>
  records.pipe(filter((record) => contentOf(record).kind !== 'dropped'))

function once({ dedupe: how }: Scenario, { claims }: Surroundings): OperatorFunction<RawRecord, RawRecord> {
  if (how === 'none') return (records) => records
  const by = header('id')
  if (how === 'task') return dedupe<RawRecord>({ by, within: '365d' })
  if (how === 'bloom') return dedupe<RawRecord>({ by, within: '365d', store: claims, bloom: { expected: 50, exclusive: true } })
  return dedupe<RawRecord>({ by, within: '365d', store: claims })
}

function tried({ failures }: Scenario): OperatorFunction<RawRecord, RawRecord> {
  if (failures === 'none') return (records) => records
  const step = attempt((record: RawRecord) => {
    if (deliveryAttempt(record) <= failuresOf(contentOf(record).kind)) throw new Error('not yet')
  })
  const end = deadLetter<RawRecord | FailedRecord>({ topic: 'dead' }) as OperatorFunction<RawRecord | FailedRecord, RawRecord>
  if (failures === 'dead') return (records) => records.pipe(decoded, step, end)
  const again = retryTopic<RawRecord | FailedRecord>({ delays: RETRIES, ordered: failures === 'ordered' ? 'key' : false })
  return (records) => records.pipe(decoded, step, again, end)
}

function core(scenario: Scenario, { clock, wrong }: Surroundings): OperatorFunction<RawRecord, unknown> {
  switch (scenario.core) {
    case 'copy':
      return (records) => records.pipe(map(idOrLarge), toTopic({ topic: 'out', partition: (record) => record.origin.partition }))
    case 'route':
      return (records) =>
        records.pipe(
          map(idOrLarge),
          route({ to: ({ value }) => (Number(String(value)) % 2 === 0 ? 'out' : 'late'), topics: ['out', 'late'], fallback: 'late' }),
        )
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
    case 'schedule':
      return (records) => records.pipe(schedule<RawRecord>({ at: (record) => contentOf(record).due }), map(idOf), out)
    case 'repartition':
      return (records) =>
        records.pipe(
          repartition({ key: (record) => `r${contentOf(record).key}` }),
          aggregate({ ...count(), name: 'counts' }, { emit: 'each' }),
          toTopic({ topic: 'out', value: json() }),
        )
    case 'window':
    case 'hopping':
    case 'sliding':
      return (records) =>
        records.pipe(
          window(windowsOf(scenario.core), { aggregate: ids, grace: GRACE_MS, late: lateOut as never }),
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
    case 'joinTableLeft':
      return (records) =>
        records.pipe(
          joinTable(table({ topic: 'rows', value: string() }), {
            kind: 'left',
            join: (record, row) => `${contentOf(record).id} ${row ?? 'no row'}`,
          }),
          toTopic({ topic: 'out', value: string() }),
        )
    case 'joinStream':
    case 'joinLeft':
    case 'joinOuter':
      throw new Error('has two inputs: see projectOf')
  }
}

/** The windows of a core that has some of a fixed size. */
export function windowsOf(core: Core): Exclude<Windows, { kind: 'session' }> {
  if (core === 'sliding') return sliding(WINDOW_MS)
  return core === 'hopping' ? hopping({ size: WINDOW_MS, advance: ADVANCE_MS }) : tumbling(WINDOW_MS)
}

type Side = Parameters<typeof contentOf>[0]

/** The pipeline that a scenario describes. */
export function projectOf(scenario: Scenario, around: Surroundings): (records: RecordStream) => Observable<unknown> {
  if (joinsStreams(scenario.core)) {
    const kind = scenario.core === 'joinStream' ? 'inner' : scenario.core === 'joinLeft' ? 'left' : 'outer'
    return (records) => {
      const side = (topic: string): Observable<RawRecord> =>
        passed(records).pipe(
          filter(({ origin }) => origin.topic === topic),
          handled(scenario.core),
        )
      return side('in').pipe(
        joinStream(side('right'), {
          within: WITHIN_MS,
          grace: kind === 'inner' ? '1d' : LONG_GRACE_MS,
          kind: kind as 'outer',
          join: (left: Side | undefined, right: Side | undefined) =>
            `${left === undefined ? '-' : contentOf(left).id}+${right === undefined ? '-' : contentOf(right).id}`,
        }),
        toTopic({ topic: 'out', value: string() }),
      )
    }
  }
  const step = core(scenario, around)
  return (records) => passed(records).pipe(once(scenario, around), handled(scenario.core), tried(scenario), step)
}

import fc from 'fast-check'

/**
 * Random courses of records for what millrace and Kafka Streams have in common, as both are given them: one record after the other, to one
 * task. What docs/state.md names as different is left out as it is drawn.
 */

export type WindowKind = 'tumbling' | 'hopping' | 'sliding' | 'session'
export type JoinKind = 'inner' | 'left' | 'outer'
export type TableKind = 'table-inner' | 'table-left'

export interface Input {
  readonly topic: 'in' | 'left' | 'right' | 'rows'
  readonly key: string
  /** Its number; null for a row that goes. */
  readonly value: string | null
  readonly time: number
}

interface Course {
  readonly records: readonly Input[]
  /** Of a transaction of millrace. */
  readonly maxRecords: number
}

export interface WindowScenario extends Course {
  readonly kind: WindowKind
  readonly size: number
  readonly advance: number
  readonly grace: number
}

export interface JoinScenario extends Course {
  readonly kind: JoinKind
  readonly before: number
  readonly after: number
  readonly grace: number
}

export interface TableScenario extends Course {
  readonly kind: TableKind
}

export interface AggregateScenario extends Course {
  readonly kind: 'aggregate'
}

export type Scenario = WindowScenario | JoinScenario | TableScenario | AggregateScenario

/** Later than any size: closer to the epoch than that, Streams has windows of its own. */
const FIRST = 10_000
/** Its time closes everything; its own results are those of no other. */
const LAST: Pick<Input, 'key' | 'time'> = { key: 'last', time: 10_000_000 }

/** Times go on by small steps, back and forth, with a jump now and then; so that ties, edges and late records are common. */
const step = fc.oneof(
  { weight: 12, arbitrary: fc.integer({ min: -12, max: 16 }) },
  { weight: 1, arbitrary: fc.integer({ min: 20, max: 200 }) },
)
const drawn = <T>(topic: fc.Arbitrary<T>) =>
  fc.array(fc.record({ topic, key: fc.constantFrom('a', 'b'), step }), { minLength: 2, maxLength: 30, size: 'max' })
const maxRecords = fc.constantFrom(1, 3, 1_000)

function timed<T extends Input['topic']>(course: readonly { readonly topic: T; readonly key: string; readonly step: number }[]): Input[] {
  let time = FIRST
  return course.map(({ topic, key, step }, i) => ({ topic, key, value: String(i), time: (time = Math.max(FIRST, time + step)) }))
}

const windowKinds = fc.constantFrom<WindowKind>('tumbling', 'hopping', 'sliding', 'session')

export const windowScenarios: fc.Arbitrary<WindowScenario> = fc
  .record({
    kind: windowKinds,
    size: fc.integer({ min: 1, max: 20 }),
    part: fc.integer({ min: 1, max: 4 }),
    grace: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 25 })),
    course: drawn(fc.constant('in' as const)),
    maxRecords,
  })
  .map(({ kind, size, part, grace, course, maxRecords }) => {
    const all = timed(course)
    const records = kind === 'session' ? withoutReopened(all, size, grace) : all
    const advance = kind === 'hopping' ? Math.ceil(size / part) : size
    return { kind, size, advance, grace, records: [...records, { ...LAST, topic: 'in', value: 'last' }], maxRecords }
  })

/**
 * Without records at the gap's distance of a session that is closed: Streams takes such a session up again for as long as its store has it.
 */
function withoutReopened(all: readonly Input[], gap: number, grace: number): Input[] {
  const kept: Input[] = []
  let now = 0
  let sessions: { readonly key: string; readonly start: number; readonly end: number }[] = []
  for (const record of all) {
    const { key, time } = record
    const then = Math.max(now, time)
    const isClosed = ({ end }: { readonly end: number }): boolean => end + gap + grace < then
    const near = sessions.filter((session) => session.key === key && session.start - gap <= time && time <= session.end + gap)
    if (near.some(isClosed)) continue
    kept.push(record)
    now = then
    // One that is late joins nothing, in either.
    if (near.length === 0 && isClosed({ end: time })) continue
    const joined = { key, start: Math.min(time, ...near.map(({ start }) => start)), end: Math.max(time, ...near.map(({ end }) => end)) }
    sessions = [...sessions.filter((session) => !near.includes(session)), joined]
  }
  return kept
}

export const joinScenarios: fc.Arbitrary<JoinScenario> = fc
  .record({
    kind: fc.constantFrom<JoinKind>('inner', 'left', 'outer'),
    before: fc.integer({ min: 0, max: 15 }),
    after: fc.integer({ min: 0, max: 15 }),
    grace: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 25 })),
    course: drawn(fc.constantFrom('left' as const, 'right' as const)),
    maxRecords,
  })
  .map(({ course, ...rest }) => ({
    ...rest,
    records: [...withoutClosedPartners(timed(course), rest), { ...LAST, topic: 'left', value: 'last' }],
  }))

/** When the window of a record of a join closes, apart from the grace. */
export function lastPartner({ topic, time }: Input, { before, after }: Pick<JoinScenario, 'before' | 'after'>): number {
  return time + (topic === 'left' ? after : before)
}

/** Whether two records of a join are partners. */
export function arePartners(one: Input, other: Input, { before, after }: Pick<JoinScenario, 'before' | 'after'>): boolean {
  if (one.topic === other.topic || one.key !== other.key) return false
  const [left, right] = one.topic === 'left' ? [one, other] : [other, one]
  return right.time >= left.time - before && right.time <= left.time + after
}

/**
 * Without records that are late, and without those that meet a partner whose window is closed: Streams joins them with what it still has.
 */
function withoutClosedPartners(all: readonly Input[], scenario: Pick<JoinScenario, 'before' | 'after' | 'grace'>): Input[] {
  const kept: Input[] = []
  let now = 0
  for (const record of all) {
    const then = Math.max(now, record.time)
    const isClosed = (one: Input): boolean => lastPartner(one, scenario) + scenario.grace < then
    if (isClosed(record) || kept.some((one) => arePartners(one, record, scenario) && isClosed(one))) continue
    kept.push(record)
    now = then
  }
  return kept
}

export const tableScenarios: fc.Arbitrary<TableScenario> = fc
  .record({
    kind: fc.constantFrom<TableKind>('table-inner', 'table-left'),
    course: fc.array(fc.record({ isRow: fc.boolean(), key: fc.constantFrom('a', 'b', 'c'), gone: fc.integer({ min: 0, max: 3 }) }), {
      minLength: 2,
      maxLength: 20,
      size: 'max',
    }),
    maxRecords,
  })
  .map(({ kind, course, maxRecords }) => ({
    kind,
    maxRecords,
    records: course.map(({ isRow, key, gone }, i) => ({
      topic: isRow ? ('rows' as const) : ('in' as const),
      key,
      value: isRow && gone === 0 ? null : String(i),
      // Streams takes the record with the smaller time first; time does not count here.
      time: FIRST + i,
    })),
  }))

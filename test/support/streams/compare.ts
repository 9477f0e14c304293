import { arePartners, lastPartner, type Input, type JoinScenario, type Scenario, type WindowScenario } from './scenarios.js'

/** Both results of a scenario in one form, without what is known to differ. */
export interface Compared {
  readonly ours: readonly string[]
  readonly theirs: readonly string[]
}

export function compared(scenario: Scenario, ours: readonly string[], theirs: readonly string[]): Compared {
  switch (scenario.kind) {
    case 'left':
    case 'outer': {
      const alone = handedOutAtOnce(scenario)
      return { ours: sorted(ours), theirs: sorted(theirs.filter((line) => !alone.has(line))) }
    }
    case 'sliding':
      return { ours: slidingLines(scenario, ours), theirs: slidingLines(scenario, theirs) }
    case 'tumbling':
    case 'hopping':
    case 'session':
      return { ours: sorted(ours.map((line) => lineOf(resultOf(line)))), theirs: sorted(theirs.map((line) => lineOf(resultOf(line)))) }
    default:
      return { ours: sorted(ours), theirs: sorted(theirs) }
  }
}

function sorted(lines: readonly string[]): string[] {
  return [...lines].sort()
}

interface Result {
  readonly key: string
  readonly start: number
  readonly end: number
  readonly ids: readonly string[]
}

function resultOf(line: string): Result {
  const [key, window, ids] = line.split(' ') as [string, string, string]
  const [start, end] = window.split('-').map(Number) as [number, number]
  return { key, start, end, ids: ids.split(',').sort((a, b) => Number(a) - Number(b)) }
}

function lineOf({ key, start, end, ids }: Result): string {
  return `${key} ${start}-${end} ${ids.join()}`
}

/** Each record with the stream time as of its arrival. */
function arrivals({ records }: Scenario): (Input & { readonly now: number })[] {
  let now = 0
  return records.map((record) => ({ ...record, now: (now = Math.max(now, record.time)) }))
}

/**
 * A record of a sliding window that is closed when it comes: windows that are open and hold it must have it. Streams has it in those that
 * it keeps already, and forgets it for those that other records make later.
 */
export function comesLate(scenario: WindowScenario): (Input & { readonly now: number })[] {
  return arrivals(scenario).filter(({ time, now }) => time + scenario.grace < now)
}

/**
 * Windows that records in time make, and of what is in them, those records. What comes late stays where it has no business: in a window
 * that was closed when it came; that Streams takes some along into windows that begin after them is left out.
 */
function slidingLines(scenario: WindowScenario, lines: readonly string[]): string[] {
  const late = new Map(comesLate(scenario).map((record) => [record.value as string, record]))
  const makers = arrivals(scenario).filter(({ value }) => !late.has(value as string))
  return sorted(
    lines
      .map(resultOf)
      .filter(({ key, start, end }) => makers.some((record) => record.key === key && (record.time === end || record.time === start - 1)))
      .map((result) => ({
        ...result,
        ids: result.ids.filter((id) => {
          const record = late.get(id)
          return record === undefined || (record.time >= result.start && result.end + scenario.grace < record.now)
        }),
      }))
      .filter(({ ids }) => ids.length > 0)
      .map(lineOf),
  )
}

/**
 * What Streams has in a sliding window, and millrace has not. Streams takes some that come late along into windows that begin after them:
 * not those.
 */
export function missing({ records }: WindowScenario, ours: readonly string[], theirs: readonly string[]): string[] {
  const times = new Map(records.map(({ value, time }) => [value as string, time]))
  const has = new Map(ours.map(resultOf).map(({ key, start, ids }) => [`${key} ${start}`, ids]))
  return theirs
    .map(resultOf)
    .flatMap(({ key, start, ids }) =>
      ids
        .filter((id) => (times.get(id) as number) >= start && !(has.get(`${key} ${start}`) ?? []).includes(id))
        .map((id) => `${key} ${start}: ${id}`),
    )
}

/**
 * Records, as results, that Streams hands out alone as soon as they come, since stream time is past their last partner, though their grace
 * still runs and a partner does come.
 */
export function handedOutAtOnce(scenario: JoinScenario): ReadonlySet<string> {
  const all = arrivals(scenario)
  const early = all.filter(
    (record, i) => lastPartner(record, scenario) < record.now && all.slice(i + 1).some((later) => arePartners(record, later, scenario)),
  )
  return new Set(early.map(({ topic, key, value }) => (topic === 'left' ? `${key} ${value}+-` : `${key} -+${value}`)))
}

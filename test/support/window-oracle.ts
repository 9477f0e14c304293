import type { Windows } from '../../src/index.js'

/**
 * What windows give, from their definitions alone: all records, all windows, nothing forgotten, no state carried along but the stream time.
 * Slow on purpose.
 */

export interface TimedRecord {
  readonly key: string
  readonly time: number
  readonly id: number
}

export interface ExpectedWindow {
  readonly key: string
  readonly start: number
  readonly end: number
  /** Of the records in it, rising. */
  readonly ids: readonly number[]
}

export interface ExpectedLate {
  readonly id: number
  readonly streamTime: number
  readonly windows: readonly { readonly start: number; readonly end: number }[]
}

export interface Expected {
  /** Windows that were closed by the last record. */
  readonly closed: readonly ExpectedWindow[]
  /** Windows still open then. */
  readonly open: readonly ExpectedWindow[]
  /** Records that missed a window. */
  readonly late: readonly ExpectedLate[]
  /** How many records went into nothing. */
  readonly lost: number
}

/** A record with the stream time as of its arrival, itself included. */
interface Arrived extends TimedRecord {
  readonly now: number
}

/** `records` are those of one partition, in its order. */
export function expectedWindows(windows: Windows, grace: number, records: readonly TimedRecord[]): Expected {
  const arrived = records.map((record, i): Arrived => ({ ...record, now: Math.max(...records.slice(0, i + 1).map(({ time }) => time)) }))
  switch (windows.kind) {
    case 'time':
      return fixed(arrived, grace, ({ time }) => startsAround(time, windows).map((start) => ({ start, end: start + windows.sizeMs })))
    case 'sliding':
      return slidingWindows(arrived, grace, windows.sizeMs)
    case 'session':
      return sessions(arrived, grace, windows.gapMs)
  }
}

/** Every start whose window [start, start + size) holds `time`. */
function startsAround(
  time: number,
  { sizeMs, advanceMs, offsetMs }: { readonly sizeMs: number; readonly advanceMs: number; readonly offsetMs: number },
): number[] {
  const starts: number[] = []
  for (let start = time - sizeMs + 1; start <= time; start++) if ((start - offsetMs) % advanceMs === 0) starts.push(start)
  return starts
}

function lastNow(records: readonly Arrived[]): number {
  return records.at(-1)?.now ?? Number.NEGATIVE_INFINITY
}

function split(all: readonly ExpectedWindow[], isClosed: (window: ExpectedWindow) => boolean): Pick<Expected, 'closed' | 'open'> {
  return { closed: all.filter(isClosed), open: all.filter((window) => !isClosed(window)) }
}

function fixed(records: readonly Arrived[], grace: number, windowsOf: (record: Arrived) => { start: number; end: number }[]): Expected {
  const all: (ExpectedWindow & { ids: number[] })[] = []
  const late: ExpectedLate[] = []
  let lost = 0
  for (const record of records) {
    const own = windowsOf(record)
    const missed = own.filter(({ end }) => end + grace <= record.now)
    if (missed.length > 0) late.push({ id: record.id, streamTime: record.now, windows: missed })
    if (missed.length === own.length) lost++
    for (const { start, end } of own) {
      if (end + grace <= record.now) continue
      const found = all.find((other) => other.key === record.key && other.start === start)
      if (found === undefined) all.push({ key: record.key, start, end, ids: [record.id] })
      else found.ids.push(record.id)
    }
  }
  const now = lastNow(records)
  return { ...split(all, ({ end }) => end + grace <= now), late, lost }
}

/**
 * KIP-450: [t - size, t] for each record time t, and [t + 1, t + 1 + size] where a record is in it. A record counts where the window was
 * open when it came, and makes those windows that were; one that could be in none makes none. Open until the end and the grace have passed.
 */
function slidingWindows(records: readonly Arrived[], grace: number, size: number): Expected {
  const isOpen = (end: number, { now }: Arrived): boolean => end + grace >= now
  const all: ExpectedWindow[] = []
  const isLost = (record: Arrived): boolean => !isOpen(record.time + size, record)
  for (const maker of records.filter((record) => !isLost(record))) {
    for (const end of [maker.time, maker.time + 1 + size]) {
      const start = end - size
      if (!isOpen(end, maker) || all.some((other) => other.key === maker.key && other.end === end)) continue
      const ids = records
        .filter((record) => record.key === maker.key && record.time >= start && record.time <= end && isOpen(end, record))
        .map(({ id }) => id)
      if (ids.length > 0) all.push({ key: maker.key, start, end, ids })
    }
  }
  const now = lastNow(records)
  return {
    ...split(all, ({ end }) => end + grace < now),
    late: records
      .filter((record) => !isOpen(record.time, record))
      .map(({ id, time, now }) => ({ id, streamTime: now, windows: [{ start: time - size, end: time }] })),
    lost: records.filter(isLost).length,
  }
}

/** The records of a key that are open, laid out by time and cut wherever two are further apart than the gap. */
function sessions(records: readonly Arrived[], grace: number, gap: number): Expected {
  const closed: ExpectedWindow[] = []
  const late: ExpectedLate[] = []
  let open: Arrived[] = []

  const cut = (of: readonly Arrived[]): Arrived[][] => {
    const runs: Arrived[][] = []
    const sorted = [...of].sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : a.time - b.time))
    for (const record of sorted) {
      const run = runs.at(-1)
      const last = run?.at(-1)
      if (run !== undefined && last !== undefined && last.key === record.key && record.time - last.time <= gap) run.push(record)
      else runs.push([record])
    }
    return runs
  }
  const endOf = (run: readonly Arrived[]): number => Math.max(...run.map(({ time }) => time))
  const windowOf = (run: readonly Arrived[]): ExpectedWindow => ({
    key: (run[0] as Arrived).key,
    start: Math.min(...run.map(({ time }) => time)),
    end: endOf(run),
    ids: run.map(({ id }) => id).sort((a, b) => a - b),
  })

  for (const record of records) {
    const isClosed = (run: readonly Arrived[]): boolean => endOf(run) + gap + grace < record.now
    for (const run of cut(open)) {
      if (!isClosed(run)) continue
      closed.push(windowOf(run))
      open = open.filter((other) => !run.includes(other))
    }
    const joined = cut([...open, record]).find((run) => run.includes(record)) as Arrived[]
    if (isClosed(joined)) late.push({ id: record.id, streamTime: record.now, windows: [{ start: record.time, end: record.time }] })
    else open.push(record)
  }
  return { closed, open: cut(open).map(windowOf), late, lost: late.length }
}

import type { Cluster } from '../cluster/cluster.js'
import { rangeOf, readRange, type Range } from '../cluster/read.js'
import { readNote, type FailureNote } from '../record/failure-headers.js'
import type { RawRecord } from '../record/record.js'
import { timesRedriven } from '../record/redriven.js'
import { matches, type LetterFilter } from './letters.js'

/** A dead letter, and what it tells of its failure. */
export interface FoundLetter {
  readonly record: RawRecord
  readonly failure: FailureNote | undefined
  /** How often it was sent back. */
  readonly redriven: number
}

export interface FoundLetters {
  /** Those that match, the newest first, no more than asked for. */
  readonly letters: readonly FoundLetter[]
  readonly matching: number
  readonly read: number
  /** Offsets before those that were looked at. */
  readonly skipped: number
}

export interface FindOptions {
  readonly from: string
  readonly filter: LetterFilter
  /** Most letters to keep. */
  readonly limit: number
  /** Most offsets to look at, over all partitions; the newest. */
  readonly scan: number
  readonly signal: AbortSignal
}

/**
 * Looks for dead letters: reads the end of the topic, committed records only, and changes nothing.
 * Memory: the letters that are kept, with the batches they lie in.
 *
 * @throws MillraceError MISSING_TOPIC
 */
export async function findLetters(cluster: Cluster, { from, filter, limit, scan, signal }: FindOptions): Promise<FoundLetters> {
  const log = await cluster.source({ group: `${from}.redrive`, topics: [from] }).host.openLog()
  try {
    await log.connect()
    const whole = await rangeOf(log, from, 'deadLetters')
    const range = filter.at === undefined ? endOf(whole, scan) : aroundOf(whole, filter.at)
    const kept: FoundLetter[] = []
    let [read, matching] = [0, 0]
    for await (const record of readRange(log, range, 'read_committed', signal)) {
      read++
      const failure = readNote(record.headers)
      if (!matches(record, failure, filter)) continue
      matching++
      kept.push({ record, failure, redriven: timesRedriven(record.headers) })
      if (kept.length >= 2 * limit) newest(kept, limit)
    }
    newest(kept, limit)
    const skipped = filter.at === undefined ? sum(range.starts) - sum(whole.starts) : 0
    return { letters: kept, matching, read, skipped }
  } finally {
    await log.close()
  }
}

/** By the time they were written: partitions are read in turns. */
function newest(letters: FoundLetter[], limit: number): void {
  letters.sort((a, b) => b.record.timestamp - a.record.timestamp || b.record.origin.offset - a.record.origin.offset)
  letters.splice(limit)
}

function endOf({ topic, starts, ends }: Range, scan: number): Range {
  const share = Math.ceil(scan / ends.length)
  return { topic, starts: starts.map((start, i) => Math.max(start, (ends[i] as number) - share)), ends }
}

function aroundOf({ topic, starts, ends }: Range, at: NonNullable<LetterFilter['at']>): Range {
  const of = (partition: number): number[] => at.filter((one) => one.partition === partition).map(({ offset }) => offset)
  const from = starts.map((start, i) => Math.max(start, Math.min(...of(i), ends[i] as number)))
  return { topic, starts: from, ends: ends.map((end, i) => Math.min(end, Math.max(...of(i), -1) + 1)) }
}

function sum(offsets: readonly number[]): number {
  return offsets.reduce((total, offset) => total + offset, 0)
}

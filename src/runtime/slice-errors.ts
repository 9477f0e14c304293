import { MillraceError } from '../record/error.js'
import type { RawRecord } from '../record/record.js'

const ADVICE =
  'Likely take, first, takeWhile, takeUntil, race, or catchError(() => EMPTY), which ends the stream after an error half way: handle failures per record instead, and return an observable that contains all others (merge)'

/** Where a slice was cut off, as far as can be seen. */
interface Cut {
  readonly text: string
  readonly cause: unknown
}

/** A slice that does not end: `blame` is the step that holds it, `serdes` whether those of its stores do. */
export function stalled(partition: number, silentMs: number, records: number, blame: string | undefined, serdes: boolean): MillraceError {
  if (serdes)
    return new MillraceError(
      'SLICE_STALLED',
      `the serdes of its stores were asked for what the slice of partition ${partition} changed, and have not answered for ${silentMs} ms. Likely a promise that never settles: give it a time limit`,
    )
  return new MillraceError(
    'SLICE_STALLED',
    `the project function did not complete: all ${records} records of the slice of partition ${partition} went in ${silentMs} ms ago and nothing has come out since. ` +
      (blame === undefined
        ? 'Its outer pipe ended, so an observable merged beside it did not'
        : `Held by ${blame}: its input ended, it did not`) +
      '. Likely an inner observable that never completes (interval, a Subject, a promise that never settles): give it a timeout, takeUntil or take(1)',
  )
}

/** It ended before its input did; `last` is the record that was pushed then. */
export function endedEarly(partition: number, last: RawRecord | undefined, cut: Cut | undefined): MillraceError {
  const where = last === undefined ? ', before its first record' : `, at record ${last.id}`
  const next =
    last === undefined ? `the next of partition ${partition}` : `${last.origin.topic}/${last.origin.partition}/${last.origin.offset + 1}`
  return new MillraceError(
    'SLICE_COMPLETED_EARLY',
    `the project function completed before its input ended${where}: the first record not taken is ${next}, and it and all after it would be lost. ` +
      (cut === undefined ? '' : `Seen: ${cut.text}. `) +
      ADVICE,
    { origin: last?.origin, cause: cut?.cause },
  )
}

export function unheard(partition: number): MillraceError {
  return new MillraceError(
    'SLICE_COMPLETED_EARLY',
    `the project function completed without ever listening to its records: all of the slice of partition ${partition} would be lost. Return an observable that is made of them`,
  )
}

export function cutOff(cut: Cut): MillraceError {
  return new MillraceError(
    'SLICE_COMPLETED_EARLY',
    `the project function completed before all of it had: ${cut.text}; records that were in it would be lost. ${ADVICE}`,
    { cause: cut.cause },
  )
}

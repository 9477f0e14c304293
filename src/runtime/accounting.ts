import { batchSource, type BatchView } from '../log/batch/read.js'
import type { RecordSource } from '../record/record-source.js'
import type { LogRecord } from '../record/record.js'

/**
 * What became of a record, as one byte beside its batch; one that stays unmarked counts as filtered. The first of processed, duplicate and
 * late stays: a record that reached a sink on one branch and was dropped on another is processed, and one that is late is late also if a
 * side output stores it.
 */
export const Mark = { unmarked: 0, processed: 1, duplicate: 2, late: 3, failed: 4 } as const
export type Mark = (typeof Mark)[keyof typeof Mark]

/** How the records of a transaction ended: the five numbers add up to `records`. */
export interface RecordCounts {
  /**
   * Records read: of the source's topics, and of those a pipeline writes to itself (repartition, retry), so such a record counts again each
   * time it is read.
   */
  readonly records: number
  /** Reached a sink or a state operator. */
  readonly processed: number
  /** Reached none: dropped by an operator of the pipeline. */
  readonly filtered: number
  readonly duplicate: number
  readonly late: number
  /** Handed to failure handling. */
  readonly failed: number
}

export function mark(record: LogRecord<unknown, unknown>, as: Mark): void {
  const marks = record.source.marks
  if (marks === undefined || record.seq < 0) return
  const before = marks[record.seq]
  if (before === Mark.unmarked || before === Mark.failed) marks[record.seq] = as
}

/** Adds up marks over the batches of a transaction. */
export class Tally {
  private readonly counts = [0, 0, 0, 0, 0]

  /** Counts `records` marked bytes; a batch read in part has marks only for what was read, in front. */
  add(marks: Uint8Array, from: number, to: number): void {
    for (let i = from; i < to; i++) {
      const kind = marks[i] as number
      this.counts[kind] = (this.counts[kind] as number) + 1
    }
  }

  merge(other: Tally): void {
    for (let kind = 0; kind < 5; kind++) this.counts[kind] = (this.counts[kind] as number) + (other.counts[kind] as number)
  }

  result(): RecordCounts {
    const [filtered, processed, duplicate, late, failed] = this.counts as [number, number, number, number, number]
    return { records: filtered + processed + duplicate + late + failed, processed, filtered, duplicate, late, failed }
  }
}

export function newMarks(count: number): Uint8Array {
  return new Uint8Array(count)
}

export function markedSource(topic: string, partition: number, batch: BatchView): RecordSource & { readonly marks: Uint8Array } {
  return batchSource(topic, partition, batch, newMarks(batch.count)) as RecordSource & { readonly marks: Uint8Array }
}

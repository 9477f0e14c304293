import { placeInPartition, type Lineage } from '../../../record/lineage.js'

/** What a table needs of a record: a LogRecord has it. */
export interface Claimant {
  readonly source: { readonly topic: string; readonly partition: number }
  /** Negative for a record that was not read from a log: such a one is never the same as another. */
  readonly offset: number
  readonly timestamp: number
  /** Of one that was sent back from a dead-letter topic: its claim is that of the record it was. */
  readonly lineage?: Lineage | undefined
}

/** Its offset, or where in its partition it stands that was sent back. */
export function placeOf({ source: { topic, partition }, offset }: Claimant, lineage: Lineage | undefined): number {
  return lineage === undefined ? offset : placeInPartition({ topic, partition, offset }, lineage)
}

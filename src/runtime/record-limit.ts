import type { Round } from './round.js'

const FIRST_LIMIT = 1_000
/** From one round to the next, the limit grows to what there was time for. */
const MIN_GROWTH = 4
const MAX_GROWTH = 32

/**
 * How many records a transaction may take. Slices should take about as long as the commit interval: a slow pipeline gets fewer records at a
 * time.
 */
export class RecordLimit {
  records: number

  constructor(
    private readonly everyMs: number,
    private readonly maxRecords: number,
  ) {
    this.records = Math.min(FIRST_LIMIT, maxRecords)
  }

  adapt(round: Round): void {
    const { everyMs, maxRecords } = this
    const took = round.endedAt - (round.startedAt ?? round.endedAt)
    if (round.records < this.records && took <= 2 * everyMs) return
    if (took <= everyMs) {
      const growth = Math.min(MAX_GROWTH, Math.max(MIN_GROWTH, Math.floor(everyMs / Math.max(1, took))))
      this.records = Math.min(maxRecords, this.records * growth)
    } else if (took > 2 * everyMs) {
      this.records = Math.max(1, Math.min(maxRecords, Math.ceil((round.records * Math.max(everyMs, 1)) / took)))
    }
  }
}

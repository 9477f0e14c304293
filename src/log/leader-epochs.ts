import type { BatchView } from './batch/read.js'
import type { Truncation } from './port.js'

export const UNKNOWN_EPOCH = -1

/** Where the log of a broker parts from what was fetched: the latest leader epoch up to the one named of which it has batches, and its end. */
export interface Divergence {
  readonly epoch: number
  readonly endOffset: number
}

/** Up to where what was taken was written in the time of one leader. */
interface Reign {
  readonly epoch: number
  readonly end: number
}

/** The leader epochs of what was taken of a partition, as far as it was read here. (KIP-320) */
export class LeaderEpochs {
  private readonly reigns: Reign[] = []

  constructor(
    /** Of the last that was taken. */
    public current: number,
  ) {}

  /** The first batch of another leader was taken. */
  enter(epoch: number, batch: BatchView | undefined, fromOffset: number): void {
    const { current } = this
    // Behind a batch there may be markers of another leader.
    const end = batch?.leaderEpoch === current ? batch.lastOffset + 1 : fromOffset
    if (current !== UNKNOWN_EPOCH) this.reigns.push({ epoch: current, end })
    this.current = epoch
  }

  /**
   * Up to where what was taken, which ends at `end`, is what the log has. Logs that agree on the leader epoch at an offset agree on all before
   * it; so of the latest epoch that both may have, the shorter one counts. Where its end in what was taken is not known, all of that may be
   * another. A log is cut short by an election alone: where there has been none since what was taken, the topic was deleted and made anew, in
   * which elections are counted from the beginning, and nothing of it was read.
   *
   * @param leaderEpoch of whoever leads the partition now; -1 where that is not known
   */
  sharedUpTo({ epoch, endOffset }: Divergence, end: number, leaderEpoch: number): Truncation['goesOnAt'] {
    const { current, reigns } = this
    if (leaderEpoch !== UNKNOWN_EPOCH && leaderEpoch <= current) return undefined
    const known: readonly Reign[] = current === UNKNOWN_EPOCH ? reigns : [...reigns, { epoch: current, end }]
    const last = known.findLast((reign) => reign.epoch <= epoch)
    return last && { offset: Math.min(last.end, endOffset), leaderEpoch: last.epoch }
  }
}

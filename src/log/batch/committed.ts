import { controlType, type BatchView } from './read.js'

/** A transaction that was aborted, as a fetch response lists it. */
export interface AbortedTransaction {
  readonly producerId: bigint
  readonly firstOffset: number
}

/**
 * Decides, batch by batch in offset order, which batches of one fetch response a read_committed reader may see.
 *
 * The list comes in the order of the abort markers, not of the first offsets, and one response may hold several
 * transactions of one producer: kafkajs leaks aborted records in both cases.
 */
export class CommittedFilter {
  private readonly pending: AbortedTransaction[]
  private next = 0
  private readonly aborting = new Set<bigint>()

  constructor(aborted: readonly AbortedTransaction[]) {
    this.pending = [...aborted].sort((a, b) => a.firstOffset - b.firstOffset)
  }

  /** True if the batch holds records for the reader. Every batch of the response must be shown to it, in order. */
  isVisible(batch: BatchView): boolean {
    while (this.next < this.pending.length) {
      const transaction = this.pending[this.next] as AbortedTransaction
      if (transaction.firstOffset > batch.lastOffset) break
      this.aborting.add(transaction.producerId)
      this.next++
    }
    if (batch.control) {
      if (controlType(batch) === 'abort') this.aborting.delete(batch.producerId)
      return false
    }
    return !(batch.transactional && this.aborting.has(batch.producerId))
  }
}

import { compressionNumber, type CompressionName } from '../log/batch/compression.js'
import { stampBatch, type OutputBatch } from '../log/batch/write.js'
import type { Identity, Transactions } from './transactions.js'

/** How a producer writes a batch. */
export interface AppendAs {
  readonly identity: Identity
  /** The sequence number of its first record. */
  readonly sequence: number
  readonly compression: CompressionName
  /** Its records, compressed. */
  readonly records: Uint8Array | undefined
}

/** Returns the offset of its first record; -1 where it was there already. @throws LogError 'reinit', 'abort' */
export function append(transactions: Transactions, batch: OutputBatch, { identity, sequence, compression, records }: AppendAs): number {
  const stamped = stampBatch(batch, {
    producerId: identity.producerId,
    producerEpoch: identity.epoch,
    baseSequence: sequence,
    transactional: identity.transactionalId !== undefined,
    compression: compressionNumber(compression),
    ...(records === undefined ? {} : { compressed: records }),
  })
  return transactions.write(identity, batch, stamped)
}

/** Sequence numbers count records and wrap to 0 after 2^31 - 1. */
export function nextSequence(sequence: number, { count }: OutputBatch): number {
  return (sequence + count) % 2 ** 31
}

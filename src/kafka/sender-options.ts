import type { CompressionName } from '../log/batch/compression.js'
import type { TopicPartition } from '../log/port.js'
import type { ProducerIdentity } from './transaction.js'

export interface SenderOptions {
  readonly transactionalId: string | undefined
  readonly compression: CompressionName
  /** How long one batch may be tried for, in all. */
  readonly deliveryMs: number
  /** How long one request may take. */
  readonly requestMs: number
  /** What the first batch of a transaction has to wait for; undefined where it has not to. */
  readonly open?: () => Promise<void> | undefined
  readonly onSent: () => void
  readonly onAcknowledged: () => void
  /** Of the first transaction protocol: makes the partitions part of the transaction. @throws Refused, Unanswered, LogError */
  readonly addPartitions: (partitions: readonly TopicPartition[]) => Promise<void>
  /** Another producer id, for a partition that has used up the epochs of its own. */
  readonly renew: () => Promise<ProducerIdentity>
}

export interface Identity {
  readonly producerId: bigint
  readonly producerEpoch: number
  readonly protocol: 1 | 2
}

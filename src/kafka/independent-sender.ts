import type { LogError } from '../log/port.js'
import { logError } from '../log/error.js'
import { asReaction, ERROR, Refused } from './errors.js'
import type { PartitionQueue, QueuedBatch } from './partition-queue.js'
import { Sender } from './sender.js'
import type { ProducerIdentity } from './transaction.js'

/** Epochs are 16 bits. */
const LAST_EPOCH = 0x7fff

/**
 * A sender whose batches have nothing to do with each other: one that cannot be sent fails alone.
 *
 * A sequence number that was given up must not be missing before what is sent next, nor may a try without an answer arrive behind it. So
 * the partition goes on under its next epoch, from 0: a client of its own accord may count epochs up, and brokers keep them by partition.
 * (KIP-360) The same where the broker has lost what it knew of the producer.
 */
export class IndependentSender extends Sender {
  protected override readonly countsFromQueued = true

  protected override setBack(queue: PartitionQueue, failure: unknown, now: number, again: number): boolean {
    const first = queue.first as QueuedBatch
    if (!beginsAnew(failure) || again - first.firstSentAt >= this.options.deliveryMs) return super.setBack(queue, failure, now, again)
    this.cluster.logger.debug(
      { topic: queue.topic, partition: queue.partition, reason: failure.message },
      'the partition goes on under its next epoch',
    )
    // A broker takes each of the last batches again where it has it, so one that it refuses so is not in the log.
    first.uncertain = false
    queue.setBack(first)
    queue.retryAt = again
    queue.stale = true
    return false
  }

  protected override giveUp(queue: PartitionQueue, given: QueuedBatch, error: LogError): void {
    queue.stale ||= given.uncertain || queue.hasStamped
    given.call.failed(error)
  }

  protected override compressionFailed(queue: PartitionQueue, queued: QueuedBatch, error: LogError): void {
    queue.remove(queued)
    this.pendingBytes -= queued.batch.bytes.length
    queued.call.failed(error)
    this.reconsider(queue)
    this.schedule()
  }

  protected override reconsider(queue: PartitionQueue): void {
    if (queue.stale && !queue.isAway && !queue.adding) this.restart(queue)
    super.reconsider(queue)
  }

  private restart(queue: PartitionQueue): void {
    const { producerId, producerEpoch } = queue.identity ?? (this.identity as ProducerIdentity)
    if (producerEpoch < LAST_EPOCH) this.goOn(queue, { producerId, producerEpoch: producerEpoch + 1 })
    else void this.renew(queue)
  }

  private async renew(queue: PartitionQueue): Promise<void> {
    queue.adding = true
    try {
      const identity = await this.options.renew()
      queue.adding = false
      this.goOn(queue, identity)
    } catch (error) {
      queue.adding = false
      const failure = asReaction(error, `getting a producer id for ${queue.topic}/${queue.partition}`)
      // Whoever sends next has it tried again.
      for (const { batch, call } of queue.discard()) {
        this.pendingBytes -= batch.bytes.length
        call.failed(this.failure ?? failure)
      }
      return
    }
    this.reconsider(queue)
    this.schedule()
  }

  private goOn(queue: PartitionQueue, identity: ProducerIdentity): void {
    for (const { batch, call } of queue.restart(identity)) {
      this.pendingBytes -= batch.bytes.length
      call.failed(
        logError(
          'BROKER_UNREACHABLE',
          'retry',
          `sending to ${queue.topic}/${queue.partition}: no answer tells whether the batch is in the log, and the one before it was given up. Sending it again could write it twice`,
        ),
      )
    }
  }
}

const BEGIN_ANEW: readonly number[] = [ERROR.outOfOrderSequenceNumber, ERROR.unknownProducerId, ERROR.invalidProducerEpoch]

/** Whether the broker has lost what it knew of the producer, or has never had it. */
function beginsAnew(failure: unknown): failure is Refused {
  return failure instanceof Refused && BEGIN_ANEW.includes(failure.info.code)
}

import type { LogClient, LogProducer, ProducerOptions } from '../log/port.js'
import { errorMessage } from '../record/error.js'
import type { Logger } from '../record/logger.js'
import { transactionalIdOf, transactionalIdOfSeat } from './transactional-id.js'

export interface ProducersOptions extends Omit<ProducerOptions, 'transactionalId'> {
  readonly group: string
  readonly instanceId: string | undefined
  readonly transactional: boolean
  readonly logger: Logger
}

/**
 * The producer of a member. Its transactional id is that of its instance, or of its seat in the group: so whoever comes into the place of a
 * member that died ends by its first request what that one left open, and nobody waits for the time-out of its transaction.
 */
export class Producers {
  /** Whether the group says which id is this member's. */
  readonly seated: boolean
  private id: string | undefined
  private made: LogProducer | undefined

  constructor(
    private readonly log: LogClient,
    private readonly options: ProducersOptions,
  ) {
    const { group, instanceId, transactional } = options
    this.seated = transactional && instanceId === undefined
    if (!this.seated) this.made = this.make(instanceId === undefined || !transactional ? undefined : transactionalIdOf(group, instanceId))
  }

  /** @throws where the member has no seat yet */
  get current(): LogProducer {
    if (this.made === undefined) throw new Error('a producer before the first assignment')
    return this.made
  }

  /**
   * Goes over to the producer of a seat; undefined where a leader of an older version knows nothing of seats. True if it is another producer
   * than before, which has to be initialised.
   */
  take(seat: number | undefined): boolean {
    if (!this.seated) return false
    const { group } = this.options
    const id =
      seat === undefined ? (this.id ?? transactionalIdOf(group, globalThis.crypto.randomUUID())) : transactionalIdOfSeat(group, seat)
    if (id === this.id) return false
    // What was open under another seat is ended by whoever has that one now, or by whoever was told to vacate it.
    void this.made?.close()
    this.id = id
    this.made = this.make(id)
    return true
  }

  /**
   * Ends what members left open whose seats nobody has now. Where it fails the time-out of their transactions does the same later, and where it
   * comes late it costs whoever has the seat by then one transaction, which is run again.
   */
  async vacate(seats: readonly number[]): Promise<void> {
    const { group, logger } = this.options
    for (const seat of seats) {
      const producer = this.make(transactionalIdOfSeat(group, seat))
      try {
        await producer.init()
      } catch (error) {
        logger.debug({ group, seat, error: errorMessage(error) }, 'what a member that is gone may have left open waits for its time-out')
      } finally {
        await producer.close()
      }
    }
  }

  private make(transactionalId: string | undefined): LogProducer {
    const { transactionTimeoutMs, compression, trace } = this.options
    return this.log.producer({ transactionalId, transactionTimeoutMs, compression, trace })
  }
}

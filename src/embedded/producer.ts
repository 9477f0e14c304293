import { AT } from '../log/batch/header.js'
import { builtInCodecs, codecFor, compressionNumber } from '../log/batch/compression.js'
import { stampBatch, type OutputBatch } from '../log/batch/write.js'
import { logError, reactionTo } from '../log/error.js'
import type { GroupMember, LogProducer, PartitionOffset, ProducerOptions, TraceStep } from '../log/port.js'
import type { Faults } from './faults.js'
import type { Groups } from './groups.js'
import type { Topics } from './topics.js'
import type { Identity, Transactions } from './transactions.js'

/** A producer whose broker is a function call away. */
export class EmbeddedProducer implements LogProducer {
  private identity: Identity | undefined
  private open = false
  private failure: unknown
  pendingBytes = 0
  private sending: Promise<void> = Promise.resolve()

  constructor(
    private readonly options: ProducerOptions,
    private readonly transactions: Transactions,
    private readonly groups: Groups,
    private readonly topics: Topics,
    private readonly faults: Faults,
    private readonly refuseIfClosed: () => void,
  ) {}

  async init(): Promise<void> {
    this.refuseIfClosed()
    await this.faults.pass('init', this.options.transactionalId)
    this.identity = this.transactions.init(this.options.transactionalId, this.options.transactionTimeoutMs)
    this.open = false
    this.failure = undefined
  }

  send(batches: readonly OutputBatch[]): Promise<void> {
    const bytes = batches.reduce((sum, batch) => sum + batch.bytes.length, 0)
    this.pendingBytes += bytes
    const sent = this.sending.then(() => this.write(batches)).finally(() => (this.pendingBytes -= bytes))
    this.sending = sent.catch(() => {})
    return sent
  }

  async commit(offsets: readonly PartitionOffset[], member: GroupMember | undefined): Promise<void> {
    this.refuseIfClosed()
    await this.sending
    if (this.failure !== undefined) throw this.failure
    const identity = this.ready()
    if (!this.open && offsets.length === 0) return
    if (member !== undefined && offsets.length > 0) {
      this.trace('offsets-sent')
      await this.faults.pass('offsets', this.options.transactionalId)
      if (identity.transactionalId === undefined) {
        this.groups.checkMember(member)
        this.groups.store(member.group, offsets)
      } else {
        this.open = true
        try {
          this.transactions.addOffsets(identity, member, offsets)
        } catch (error) {
          this.failure = error
          throw error
        }
      }
      this.trace('offsets-acknowledged')
    }
    if (identity.transactionalId !== undefined) {
      this.trace('end-sent', true)
      await this.faults.end(this.options.transactionalId, () => this.transactions.commit(identity))
      this.trace('end-acknowledged', true)
    }
    this.open = false
  }

  async abort(): Promise<void> {
    this.refuseIfClosed()
    await this.sending
    const identity = this.ready()
    this.failure = undefined
    if (!this.open || identity.transactionalId === undefined) return
    this.open = false
    this.trace('end-sent', false)
    this.transactions.abort(identity)
    this.trace('end-acknowledged', false)
  }

  async close(): Promise<void> {
    await this.sending
  }

  private async write(batches: readonly OutputBatch[]): Promise<void> {
    if (this.failure !== undefined) throw this.failure
    this.refuseIfClosed()
    const identity = this.ready()
    try {
      if (batches.length > 0) {
        this.trace('produce-sent')
        await this.faults.pass('produce', this.options.transactionalId)
      }
      for (const batch of batches) {
        const { compression } = this.options
        const compressed = compression === 'none' ? undefined : await codecFor(compression, builtInCodecs).compress(batch.bytes.subarray(AT.records))
        const stamped = stampBatch(batch, {
          producerId: identity.producerId,
          producerEpoch: identity.epoch,
          baseSequence: 0,
          transactional: identity.transactionalId !== undefined,
          compression: compressionNumber(compression),
          ...(compressed === undefined ? {} : { compressed }),
        })
        this.open = true
        this.transactions.write(identity, batch, stamped)
      }
      if (batches.length > 0) this.trace('produce-acknowledged')
    } catch (error) {
      if (this.options.transactionalId !== undefined || reactionTo(error) !== 'retry') this.failure = error
      throw error
    }
    if (identity.transactionalId === undefined) this.topics.changed()
  }

  private ready(): Identity {
    if (this.identity === undefined) throw logError('CLOSED', 'fatal', 'the producer was used before init()')
    return this.identity
  }

  private trace(step: TraceStep, commit?: boolean): void {
    const { trace, transactionalId } = this.options
    if (transactionalId !== undefined) trace?.({ step, transactionalId, ...(commit === undefined ? {} : { commit }) })
  }
}

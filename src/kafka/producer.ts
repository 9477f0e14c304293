import { logError } from '../log/error.js'
import type { GroupMember, LogError, LogProducer, Position, ProducerOptions, TopicPartition } from '../log/port.js'
import type { OutputBatch } from '../log/batch/write.js'
import { systemClock } from '../record/clock.js'
import type { Cluster } from './cluster.js'
import { asReaction, closedError, givesTransactionUp, withReaction } from './errors.js'
import type { Lane } from './lane.js'
import { Markers } from './markers.js'
import type { TransactionIdentity } from './protocol/transaction.js'
import { CONNECTIONS } from './routes.js'
import { IndependentSender } from './independent-sender.js'
import { Sender } from './sender.js'
import { NO_IDENTITY, TransactionRequests, type ProducerIdentity } from './transaction.js'
import { Tries } from './tries.js'

/**
 * Where a producer stands.
 *
 * `failed` wants abort() or init(), `lapsed` wants init(): another producer has the id, or the broker gave the transaction up.
 * After `indeterminate` only init() is allowed, which waits until the broker has decided.
 */
type State = 'new' | 'usable' | 'failed' | 'lapsed' | 'indeterminate' | 'closed'

export class KafkaProducer implements LogProducer {
  private readonly closing = new AbortController()
  /** The transaction's requests go over the first. */
  private readonly lanes: readonly [Lane, ...Lane[]]
  private readonly sender: Sender
  private readonly requests: TransactionRequests
  private readonly markers: Markers
  private state: State = 'new'
  private failure: LogError | undefined
  private identity: ProducerIdentity = NO_IDENTITY
  private protocol: 1 | 2 = 1
  /** The broker may hold an open transaction of ours. */
  private started = false
  /** Of the open transaction: what was asked of coordinators. */
  private tries = new Tries()
  /** Offsets that were given up may still arrive. */
  private offsetsUncertain = false
  private readonly requestMs: number
  private readonly deliveryMs: number

  constructor(
    private readonly cluster: Cluster,
    private readonly options: ProducerOptions,
    private readonly onClose: () => void,
  ) {
    const { transactionalId, transactionTimeoutMs, independent = false, deliveryTimeoutMs } = options
    // A transaction is over after its timeout anyway; half of it leaves room for a second try.
    this.deliveryMs =
      deliveryTimeoutMs ??
      (transactionalId === undefined ? cluster.requestTimeoutMs : Math.min(cluster.requestTimeoutMs, transactionTimeoutMs))
    this.requestMs = Math.ceil(Math.min(this.deliveryMs, cluster.requestTimeoutMs) / 2)
    this.lanes = [cluster.lane(), ...Array.from({ length: CONNECTIONS - 1 }, () => cluster.lane())]
    const signal = AbortSignal.any([cluster.signal, this.closing.signal])
    this.requests = new TransactionRequests(cluster, this.lanes[0], signal, options, this.requestMs)
    this.markers = new Markers(systemClock, () => this.requests.markersWritten())
    this.sender = new (independent ? IndependentSender : Sender)(cluster, this.lanes, {
      transactionalId,
      compression: options.compression,
      deliveryMs: this.deliveryMs,
      requestMs: this.requestMs,
      open: () => this.markers.wait(),
      onSent: () => {
        this.started = true
        this.requests.trace('produce-sent')
      },
      onAcknowledged: () => this.requests.trace('produce-acknowledged'),
      addPartitions: (partitions) => this.addPartitions(partitions),
      renew: () => this.requests.initProducerId(NO_IDENTITY, this.deadline()),
    })
  }

  get pendingBytes(): number {
    return this.sender.pendingBytes
  }

  get id(): bigint {
    return this.identity.producerId
  }

  async init(): Promise<void> {
    this.refuseIfClosed()
    this.sender.fail(logError('TRANSACTION_ABORTED', 'abort', 'the producer was initialised anew while the batch was under way'))
    await this.sender.settle()
    this.refuseIfClosed()
    this.state = 'lapsed'
    try {
      this.protocol = this.options.transactionalId === undefined ? 1 : await this.cluster.transactionProtocol()
      const identity = await this.requests.initProducerId(NO_IDENTITY, systemClock.monotonic() + this.cluster.requestTimeoutMs)
      this.refuseIfClosed()
      this.use(identity)
    } catch (error) {
      this.failure = asReaction(error, 'initialising the producer')
      throw this.failure
    }
  }

  send(batches: readonly OutputBatch[]): Promise<void> {
    const refusal = this.refusal()
    return refusal === undefined ? this.sender.send(batches) : Promise.reject(refusal)
  }

  write(batch: OutputBatch): Promise<number> {
    const refusal = this.refusal()
    return refusal === undefined ? this.sender.write(batch) : Promise.reject(refusal)
  }

  async commit(offsets: readonly Position[], member: GroupMember | undefined): Promise<void> {
    const refusal = this.refusal()
    if (refusal !== undefined) throw refusal
    if (offsets.length > 0 && member === undefined)
      throw logError('INVALID_OPTIONS', 'fatal', 'offsets can only be committed for a member of a group')
    if (this.options.transactionalId === undefined) return this.commitAlone(offsets, member)
    try {
      await this.flushWith(offsets.length === 0 ? undefined : this.commitOffsets(offsets, member as GroupMember))
    } catch (error) {
      throw this.fail(error)
    }
    if (this.started) await this.endCommit()
  }

  async abort(): Promise<void> {
    this.refuseIfClosed()
    if (this.state === 'indeterminate') {
      throw logError(
        'COMMIT_INDETERMINATE',
        'fatal',
        'abort() after a commit whose outcome is not known could tear the next transaction: call init() instead',
        { cause: this.failure },
      )
    }
    if (this.state === 'new') return
    this.sender.fail(logError('TRANSACTION_ABORTED', 'abort', 'the transaction was aborted'))
    await this.sender.settle()
    this.refuseIfClosed()
    if (this.state === 'lapsed') throw withReaction(this.failure, 'reinit')
    // The next transaction of the second protocol has an epoch of its own, which keeps stragglers out.
    const stragglers = (this.sender.uncertain || this.offsetsUncertain) && (this.protocol === 1 || !this.started)
    if (stragglers)
      throw this.fail(
        logError(
          'TRANSACTION_ABORTED',
          'reinit',
          'a batch or offsets of the aborted transaction were sent without an answer and may still arrive: only a new epoch keeps them out of the next',
        ),
      )
    if (this.started && this.options.transactionalId !== undefined) await this.endAbort()
    else this.reopen()
  }

  async close(): Promise<void> {
    if (this.state === 'closed') return
    this.state = 'closed'
    this.failure = closedError()
    this.closing.abort()
    this.sender.close()
    for (const lane of this.lanes) this.cluster.closeLane(lane)
    this.onClose()
  }

  /** Outputs and offsets do not depend on each other: the offsets travel while the last outputs are written. */
  private async flushWith(offsets: Promise<void> | undefined): Promise<void> {
    const flushed = this.sender.flush()
    if (offsets === undefined) return flushed
    const both = await Promise.allSettled([
      flushed,
      offsets.catch((error: unknown) => {
        this.sender.fail(asReaction(error, 'committing offsets'))
        throw error
      }),
    ])
    // What the offsets failed with failed the outputs too.
    for (const result of both.reverse()) if (result.status === 'rejected') throw result.reason
  }

  private async commitOffsets(offsets: readonly Position[], member: GroupMember): Promise<void> {
    this.started = true
    const { tries } = this
    await this.markers.wait()
    try {
      await this.requests.commitOffsets(this.transaction(), this.protocol, member, offsets, this.deadline(), tries)
    } catch (error) {
      if (tries.unanswered) this.offsetsUncertain = true
      throw givesTransactionUp(error, 'committing offsets')
    }
  }

  private async commitAlone(offsets: readonly Position[], member: GroupMember | undefined): Promise<void> {
    try {
      await this.sender.flush()
      if (offsets.length > 0) await this.requests.commitOffsetsAlone(member as GroupMember, offsets, this.deadline())
    } catch (error) {
      throw this.fail(givesTransactionUp(error, 'committing offsets'))
    }
    this.reopen()
  }

  private async endCommit(): Promise<void> {
    const tries = new Tries()
    try {
      const { next } = await this.requests.end(this.transaction(), this.protocol, true, this.deadline(), tries)
      await this.next(next, tries)
    } catch (error) {
      const failure = givesTransactionUp(error, 'committing')
      if (failure.code === 'CLOSED') throw failure
      if (!tries.mayBeDone) throw this.fail(failure)
      this.state = 'indeterminate'
      this.failure = logError(
        'COMMIT_INDETERMINATE',
        'indeterminate',
        `the commit of '${String(this.options.transactionalId)}' was sent, and no answer tells what became of it: it may have been carried out or not. The committed offsets tell, once init() has been called. Last: ${failure.message}`,
        { cause: failure },
      )
      throw this.failure
    }
  }

  private async endAbort(): Promise<void> {
    const tries = new Tries()
    try {
      const { next } = await this.requests.end(this.transaction(), this.protocol, false, this.deadline(), tries)
      await this.next(next, tries)
    } catch (error) {
      const failure = asReaction(error, 'aborting')
      throw this.fail(failure.reaction === 'fatal' ? failure : withReaction(failure, 'reinit'))
    }
  }

  private async addPartitions(partitions: readonly TopicPartition[]): Promise<void> {
    const tries = new Tries()
    try {
      await this.requests.addPartitions(this.transaction(), partitions, this.deadline(), tries)
      this.started = true
    } catch (error) {
      // Where the broker refuses there is no transaction to abort, and it would refuse that too.
      if (tries.mayBeDone) this.started = true
      throw error
    } finally {
      if (tries.unanswered) this.tries.unanswered = true
    }
  }

  /** After the end of a transaction, which took so many tries. */
  private async next(identity: ProducerIdentity | undefined, { unanswered }: Tries): Promise<void> {
    if (identity !== undefined) {
      this.use(identity)
      this.markers.ended()
    } else if (unanswered || this.tries.unanswered) await this.bumpEpoch()
    else this.reopen()
  }

  /**
   * An end, offsets or partitions that were sent twice, as the first try was not answered, may arrive for the second time in the next
   * transaction: the first protocol tells transactions apart by nothing but their epoch. (KIP-360)
   */
  private async bumpEpoch(): Promise<void> {
    try {
      const identity = await this.requests.initProducerId(this.identity, this.deadline())
      this.refuseIfClosed()
      this.use(identity)
    } catch (error) {
      // The transaction has ended well: it is the next that cannot begin.
      this.fail(withReaction(asReaction(error, 'taking the next epoch'), 'reinit'))
    }
  }

  private use(identity: ProducerIdentity): void {
    this.identity = identity
    this.sender.begin({ ...identity, protocol: this.protocol })
    this.reopen()
  }

  private reopen(): void {
    this.state = 'usable'
    this.failure = undefined
    this.started = false
    this.tries = new Tries()
    this.offsetsUncertain = false
    this.sender.reopen()
  }

  private fail(error: unknown): LogError {
    const failure = asReaction(error, 'the transaction')
    if (this.state === 'closed') return failure
    this.failure = failure
    this.state = failure.reaction === 'reinit' ? 'lapsed' : 'failed'
    this.sender.fail(failure)
    return failure
  }

  private refusal(): LogError | undefined {
    if (this.state === 'new') return logError('INVALID_OPTIONS', 'fatal', 'call init() of the producer first')
    if (this.state === 'usable' && this.sender.failure !== undefined) this.fail(this.sender.failure)
    return this.state === 'usable' ? undefined : this.failure
  }

  private refuseIfClosed(): void {
    if (this.state === 'closed') throw closedError()
  }

  private transaction(): TransactionIdentity {
    return { transactionalId: this.options.transactionalId as string, ...this.identity }
  }

  private deadline(): number {
    return systemClock.monotonic() + this.deliveryMs
  }
}

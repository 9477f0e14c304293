import type { GroupMember, Position, ProducerOptions, TopicPartition, TraceStep } from '../log/port.js'
import { errorMessage } from '../record/error.js'
import type { Cluster, Subject } from './cluster.js'
import { ERROR, check, checkEach } from './errors.js'
import type { Lane } from './lane.js'
import { AddOffsetsToTxn } from './protocol/add-offsets-to-txn.js'
import { AddPartitionsToTxn } from './protocol/add-partitions-to-txn.js'
import type { Api, Throttled } from './protocol/api.js'
import { DescribeTransactions } from './protocol/describe-transactions.js'
import { EndTxn, EndTxnBumpingEpoch, type EndTxnResponse } from './protocol/end-txn.js'
import {
  INIT_PRODUCER_ID_KEY,
  INIT_PRODUCER_ID_VERSIONS,
  initProducerId,
  type InitProducerIdResponse,
} from './protocol/init-producer-id.js'
import { OffsetCommit } from './protocol/offset-commit.js'
import type { TransactionIdentity } from './protocol/transaction.js'
import { TxnOffsetCommit, TxnOffsetCommitImplicit } from './protocol/txn-offset-commit.js'
import { Tries } from './tries.js'

export interface ProducerIdentity {
  readonly producerId: bigint
  readonly producerEpoch: number
}

/** States of a transaction whose markers are yet to be written. */
const ENDING: ReadonlySet<string> = new Set(['PrepareCommit', 'PrepareAbort'])

export const NO_IDENTITY: ProducerIdentity = { producerId: -1n, producerEpoch: -1 }

/**
 * The requests of one producer to its coordinators, each tried again until its time is up. What their failure means for the
 * transaction is the producer's business.
 */
export class TransactionRequests {
  constructor(
    private readonly cluster: Cluster,
    private readonly lane: Lane,
    private readonly signal: AbortSignal,
    private readonly options: ProducerOptions,
    /** How long one request may take. */
    private readonly requestMs: number,
  ) {}

  /** With `current`, only bumps its epoch, and only while it is in force; without, fences whoever else uses the id. @throws LogError */
  async initProducerId(current: ProducerIdentity, until: number): Promise<ProducerIdentity> {
    const { transactionalId, transactionTimeoutMs } = this.options
    const what = transactionalId === undefined ? 'getting a producer id' : `getting a producer id for transactional id '${transactionalId}'`
    await this.cluster.open()
    const api = initProducerId(this.cluster.bestVersion(INIT_PRODUCER_ID_KEY, INIT_PRODUCER_ID_VERSIONS))
    const body = { transactionalId: transactionalId ?? null, transactionTimeoutMs, ...current }
    return this.cluster.retry({ what, until, signal: this.signal, ...this.subject() }, async () => {
      const verify = ({ error }: InitProducerIdResponse): void => check(api, error, what)
      if (transactionalId !== undefined) {
        const { producerId, producerEpoch } = await this.toCoordinator(api, body, new Tries(), verify)
        return { producerId, producerEpoch }
      }
      const response = await this.cluster.any(api, body, this.requestMs)
      verify(response)
      return { producerId: response.producerId, producerEpoch: response.producerEpoch }
    })
  }

  /** @throws LogError */
  addPartitions(identity: TransactionIdentity, partitions: readonly TopicPartition[], until: number, tries: Tries): Promise<void> {
    const what = `adding partitions to the transaction of '${identity.transactionalId}'`
    const topics = [...new Set(partitions.map(({ topic }) => topic))]
    return this.cluster.retry({ what, until, signal: this.signal, topics, ...this.subject() }, async () => {
      await this.toCoordinator(AddPartitionsToTxn, { ...identity, partitions }, tries, ({ results }) => {
        // One partition refused, the others are not attempted: the first says why.
        const attempted = results.filter(({ error }) => error !== ERROR.operationNotAttempted)
        checkEach(AddPartitionsToTxn, attempted, what)
        checkEach(AddPartitionsToTxn, results, what)
      })
    })
  }

  /** @throws LogError */
  async commitOffsets(
    identity: TransactionIdentity,
    protocol: 1 | 2,
    member: GroupMember,
    offsets: readonly Position[],
    until: number,
    tries: Tries,
  ): Promise<void> {
    const what = `adding the offsets of group '${member.group}' to the transaction of '${identity.transactionalId}'`
    if (protocol === 1) {
      await this.cluster.retry({ what, until, signal: this.signal, ...this.subject() }, async () => {
        await this.toCoordinator(AddOffsetsToTxn, { ...identity, group: member.group }, tries, ({ error }) =>
          check(AddOffsetsToTxn, error, what),
        )
      })
    }
    const api = protocol === 2 ? TxnOffsetCommitImplicit : TxnOffsetCommit
    await this.toGroup(what, member.group, until, async (address) => {
      await tries.make(async (onSent) => {
        const { results } = await this.lane.send(address, api, { ...identity, member, offsets }, this.requestMs, () => {
          onSent()
          this.trace('offsets-sent')
        })
        checkEach(api, results, what)
      })
    })
    this.trace('offsets-acknowledged')
  }

  /** Without a transaction. @throws LogError */
  async commitOffsetsAlone(member: GroupMember, offsets: readonly Position[], until: number): Promise<void> {
    const what = `committing the offsets of group '${member.group}'`
    await this.toGroup(what, member.group, until, async (address) => {
      const { results } = await this.lane.send(address, OffsetCommit, { member, offsets }, this.requestMs, () => this.trace('offsets-sent'))
      checkEach(OffsetCommit, results, what)
    })
    this.trace('offsets-acknowledged')
  }

  /** Tells the coordinator to commit or abort. @throws LogError */
  async end(identity: TransactionIdentity, protocol: 1 | 2, commit: boolean, until: number, tries: Tries): Promise<EndTxnResponse> {
    const what = `${commit ? 'committing' : 'aborting'} the transaction of '${identity.transactionalId}'`
    const api = protocol === 2 ? EndTxnBumpingEpoch : EndTxn
    const response = await this.cluster.retry({ what, until, signal: this.signal, ...this.subject() }, () =>
      this.toCoordinator(
        api,
        { ...identity, commit },
        tries,
        ({ error }) => check(api, error, what),
        () => this.trace('end-sent', commit),
      ),
    )
    this.trace('end-acknowledged', commit)
    return response
  }

  /** Whether the markers of the transaction that has ended are written, as far as its coordinator says. */
  async markersWritten(): Promise<boolean> {
    const transactionalId = this.options.transactionalId as string
    try {
      const address = await this.cluster.coordinator('transaction', transactionalId)
      const { transactions } = await this.lane.send(address, DescribeTransactions, { transactionalId }, this.requestMs)
      return !transactions.some(({ error, state }) => error === ERROR.none && ENDING.has(state))
    } catch (error) {
      // What waits for the answer is sent next, meets the same, and says so.
      this.cluster.logger.debug({ transactionalId, reason: errorMessage(error) }, 'asking whether markers are written')
      return true
    }
  }

  trace(step: TraceStep, commit?: boolean): void {
    const { trace, transactionalId = '' } = this.options
    if (trace !== undefined) trace({ step, transactionalId, ...(commit === undefined ? {} : { commit }) })
  }

  private async toCoordinator<Request, Response extends Throttled>(
    api: Api<Request, Response>,
    body: Request,
    tries: Tries,
    verify: (response: Response) => void,
    trace?: () => void,
  ): Promise<Response> {
    const address = await this.cluster.coordinator('transaction', this.options.transactionalId as string)
    return tries.make(async (onSent) => {
      const response = await this.lane.send(address, api, body, this.requestMs, () => {
        onSent()
        trace?.()
      })
      verify(response)
      return response
    })
  }

  private toGroup(
    what: string,
    group: string,
    until: number,
    attempt: (address: { host: string; port: number }) => Promise<void>,
  ): Promise<void> {
    const coordinator = { kind: 'group', key: group } as const
    return this.cluster.retry({ what, until, signal: this.signal, coordinator }, async () =>
      attempt(await this.cluster.coordinator('group', group)),
    )
  }

  private subject(): Subject {
    const { transactionalId } = this.options
    return transactionalId === undefined ? {} : { coordinator: { kind: 'transaction', key: transactionalId } }
  }
}

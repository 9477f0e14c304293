import type { OutputBatch } from '../log/batch/write.js'
import { logError, reactionTo } from '../log/error.js'
import type { GroupMember, LogError, LogProducer, Position, ProducerOptions, Reaction, TraceStep } from '../log/port.js'
import { MillraceError, errorMessage } from '../record/error.js'
import { append, nextSequence } from './append.js'
import { compressed } from './compressed.js'
import type { Faults } from './faults.js'
import type { Groups } from './groups.js'
import { IndependentWriter } from './independent-writer.js'
import { Lifetime, closedError } from './lifetime.js'
import type { Identity, Transactions } from './transactions.js'

/**
 * Where a producer stands.
 *
 * `failed` wants abort() or init(), `lapsed` wants init(): another producer has the id, or the transaction timed out. After
 * `indeterminate` only init() is allowed.
 */
type State = 'new' | 'usable' | 'failed' | 'lapsed' | 'indeterminate' | 'closed'

/** A producer whose broker is a function call away. */
export class EmbeddedProducer implements LogProducer {
  private state: State = 'new'
  private failure: LogError | undefined
  private identity: Identity | undefined
  private readonly sequences = new Map<string, number>()
  /** The broker may hold an open transaction of ours. */
  private started = false
  /** Counts transactions: what is still queued when one is given up is not for the next. */
  private turn = 0
  private queue: Promise<void> = Promise.resolve()
  private readonly lifetime = new Lifetime()
  private written = 0
  private readonly independent: IndependentWriter | undefined

  constructor(
    private readonly options: ProducerOptions,
    private readonly transactions: Transactions,
    private readonly groups: Groups,
    private readonly faults: Faults,
    private readonly onClose: () => void,
  ) {
    if (options.independent === true) this.independent = new IndependentWriter(options, transactions, faults, this.lifetime)
  }

  get pendingBytes(): number {
    return this.written + (this.independent?.pendingBytes ?? 0)
  }

  get id(): bigint {
    return this.identity?.producerId ?? -1n
  }

  async init(): Promise<void> {
    this.lifetime.check()
    this.turn++
    await this.queue
    this.state = 'lapsed'
    this.failure = logError('TRANSACTION_ABORTED', 'reinit', 'the producer is being initialised anew: wait for init()')
    const { transactionalId, transactionTimeoutMs } = this.options
    try {
      const identity = await this.lifetime.during(() =>
        this.faults.run('init', [transactionalId], () => this.transactions.init(transactionalId, transactionTimeoutMs)),
      )
      this.use(identity)
    } catch (error) {
      throw this.fail(error)
    }
  }

  async send(batches: readonly OutputBatch[]): Promise<void> {
    if (this.independent !== undefined) await Promise.all(batches.map((batch) => this.write(batch)))
    else await this.sendAll(batches)
  }

  async write(batch: OutputBatch): Promise<number> {
    const refusal = this.refusal()
    if (refusal !== undefined) throw refusal
    return this.independent?.write(batch) ?? ((await this.sendAll([batch]))[0] as number)
  }

  private sendAll(batches: readonly OutputBatch[]): Promise<readonly number[]> {
    const refusal = this.refusal()
    if (refusal !== undefined) return Promise.reject(refusal)
    if (batches.length === 0) return Promise.resolve([])
    const { turn } = this
    let bytes = 0
    for (const batch of batches) bytes += batch.bytes.length
    this.written += bytes
    const sent = this.queue.then(() => this.deliver(batches, turn)).finally(() => (this.written -= bytes))
    this.queue = sent.then(
      () => {},
      () => {},
    )
    return sent
  }

  async commit(offsets: readonly Position[], member: GroupMember | undefined): Promise<void> {
    this.refuse()
    if (offsets.length > 0 && member === undefined)
      throw logError('INVALID_OPTIONS', 'fatal', 'offsets can only be committed for a member of a group')
    await this.queue
    this.refuse()
    const transactional = this.options.transactionalId !== undefined
    if (offsets.length > 0) {
      try {
        await this.commitOffsets(offsets, member as GroupMember, transactional)
      } catch (error) {
        throw this.fail(asOffsetsError(error))
      }
    }
    if (transactional && this.started) await this.endCommit()
  }

  async abort(): Promise<void> {
    this.lifetime.check()
    if (this.state === 'indeterminate') {
      throw logError(
        'COMMIT_INDETERMINATE',
        'fatal',
        'abort() after a commit whose outcome is not known could tear the next transaction: call init() instead',
        { cause: this.failure },
      )
    }
    if (this.state === 'new') return
    this.turn++
    await this.queue
    this.lifetime.check()
    if (this.state === 'lapsed') throw withReaction(this.failure, 'reinit')
    if (!this.started || this.options.transactionalId === undefined) return this.reopen()
    try {
      const identity = await this.lifetime.during(() => {
        this.trace('end-sent', false)
        return this.faults.run('abort', [this.options.transactionalId], () => this.transactions.end(this.identity as Identity, false))
      })
      this.trace('end-acknowledged', false)
      this.use(identity)
    } catch (error) {
      throw this.fail(reactionTo(error) === 'fatal' ? error : withReaction(error, 'reinit'))
    }
  }

  async close(): Promise<void> {
    if (this.state === 'closed') return
    this.state = 'closed'
    this.failure = closedError()
    this.lifetime.end()
    this.onClose()
  }

  private async deliver(batches: readonly OutputBatch[], turn: number): Promise<readonly number[]> {
    if (turn !== this.turn) throw logError('TRANSACTION_ABORTED', 'abort', 'the transaction was ended while the batch was queued')
    this.refuse()
    const { transactionalId } = this.options
    let offsets: readonly number[] = []
    try {
      await this.lifetime.during(async () => {
        const stamped = await Promise.all(batches.map((batch) => compressed(batch, this.options.compression)))
        this.trace('produce-sent')
        this.started = true
        const names = [transactionalId, ...batches.flatMap(({ topic, partition }) => [topic, `${topic}/${partition}`])]
        await this.faults.run('produce', names, () => {
          offsets = batches.map((batch, i) => this.append(batch, stamped[i]))
        })
      })
      this.trace('produce-acknowledged')
      return offsets
    } catch (error) {
      throw this.fail(retryLater(error))
    }
  }

  private append(batch: OutputBatch, records: Uint8Array | undefined): number {
    const identity = this.identity as Identity
    const name = `${batch.topic}/${batch.partition}`
    const sequence = this.sequences.get(name) ?? 0
    const offset = append(this.transactions, batch, { identity, sequence, compression: this.options.compression, records })
    this.sequences.set(name, nextSequence(sequence, batch))
    return offset
  }

  private async commitOffsets(offsets: readonly Position[], member: GroupMember, transactional: boolean): Promise<void> {
    if (transactional) this.started = true
    const store = (): void => {
      if (transactional) return this.transactions.addOffsets(this.identity as Identity, member, offsets)
      this.groups.checkCommit(member, false)
      this.groups.offsets(member.group).store(offsets)
    }
    await this.lifetime.during(() => {
      this.trace('offsets-sent')
      return this.faults.run('offsets', [this.options.transactionalId, member.group], store)
    })
    this.trace('offsets-acknowledged')
  }

  private async endCommit(): Promise<void> {
    const { transactionalId } = this.options
    let identity: Identity
    try {
      identity = await this.lifetime.during(() => {
        this.trace('end-sent', true)
        return this.faults.run('end', [transactionalId], () => this.transactions.end(this.identity as Identity, true))
      })
    } catch (error) {
      if (reactionTo(error) !== 'indeterminate') throw this.fail(retryLater(error))
      this.state = 'indeterminate'
      this.failure = logError(
        'COMMIT_INDETERMINATE',
        'indeterminate',
        `the commit of '${String(transactionalId)}' was not answered: it may have been carried out or not. The committed offsets tell, once init() has been called`,
        { cause: error },
      )
      throw this.failure
    }
    this.trace('end-acknowledged', true)
    this.use(identity)
  }

  private use(identity: Identity): void {
    this.identity = identity
    this.sequences.clear()
    this.reopen()
  }

  private reopen(): void {
    if (this.state === 'closed') return
    this.state = 'usable'
    this.failure = undefined
    this.started = false
  }

  private fail(error: unknown): LogError {
    const failure = error instanceof MillraceError && 'reaction' in error ? (error as LogError) : withReaction(error, 'fatal')
    if (this.state === 'closed') return this.failure as LogError
    this.failure = failure
    this.state = failure.reaction === 'reinit' || this.state === 'lapsed' ? 'lapsed' : 'failed'
    return failure
  }

  private refuse(): void {
    const refusal = this.refusal()
    if (refusal !== undefined) throw refusal
  }

  private refusal(): LogError | undefined {
    if (this.state === 'new') return logError('INVALID_OPTIONS', 'fatal', 'call init() of the producer first')
    return this.state === 'usable' ? undefined : this.failure
  }

  private trace(step: TraceStep, commit?: boolean): void {
    const { trace, transactionalId = '' } = this.options
    if (trace !== undefined) trace({ step, transactionalId, ...(commit === undefined ? {} : { commit }) })
  }
}

function withReaction(error: unknown, reaction: Reaction): LogError {
  if (error instanceof MillraceError)
    return logError(error.code, reaction, error.message, { cause: error.cause, origin: error.origin, retryable: error.retryable })
  return logError('BROKER_REFUSED', reaction, errorMessage(error), { cause: error })
}

/** Whose time ran out takes the transaction with it: only a new one can try again. */
function retryLater(error: unknown): unknown {
  const reaction = reactionTo(error)
  return reaction === 'retry' || reaction === 'rejoin' ? withReaction(error, 'abort') : error
}

/** A member that is out of its group loses the transaction, whatever else the error means for the group. */
function asOffsetsError(error: unknown): unknown {
  return error instanceof MillraceError && error.code === 'INSTANCE_FENCED' ? withReaction(error, 'lost') : retryLater(error)
}

import { compressionNumber } from '../log/batch/compression.js'
import { batchBuffers } from '../log/batch/buffers.js'
import { stampBatch, type OutputBatch } from '../log/batch/write.js'
import type { LogError } from '../log/port.js'
import { systemClock } from '../record/clock.js'
import { Absence } from './absence.js'
import type { Cluster } from './cluster.js'
import { compressRecords } from './codecs.js'
import { closedError, givesTransactionUp, mayBeDone, refreshAfter, withReaction } from './errors.js'
import type { Lane } from './lane.js'
import { SendCall, newlyQueued, type PartitionQueue, type QueuedBatch } from './partition-queue.js'
import { PartitionQueues } from './partition-queues.js'
import type { Api } from './protocol/api.js'
import { Produce, ProduceImplicit, type ProduceRequest, type ProduceResponse, type ProducedResult } from './protocol/produce.js'
import { poison, resultError } from './produce-result.js'
import { retryDelay } from './retry.js'
import { Routes, type Route } from './routes.js'
import type { Identity, SenderOptions } from './sender-options.js'
import { Tries } from './tries.js'

/** Batches of several partitions share a request up to this size; one larger batch goes alone. */
const REQUEST_BYTES = 8 * 1024 * 1024
/** On one connection, each on partitions of its own: the next is on its way while the broker writes the last. */
const REQUESTS_IN_FLIGHT = 2

/**
 * Gets batches into their partitions, in order and once.
 *
 * The batches of a partition go over one connection in order, and a retry sends the same bytes with the same sequence number, after
 * everything behind it has come back: a broker that has a batch already says so, and one that has not can only take it in order.
 */
export class Sender {
  private readonly queues = new PartitionQueues()
  /** Those with a batch that is not on its way. */
  private readonly waiting = new Set<PartitionQueue>()
  private readonly routes: Routes
  /** Whether the time that a batch has begins when it is queued, not when it is first sent. */
  protected readonly countsFromQueued: boolean = false
  /** Brokers that are making sure of partitions of the transaction: asked for others meanwhile, they would refuse the first. */
  private readonly beginning = new Set<number>()
  protected identity: Identity | undefined
  /** What a batch failed with; nothing is sent until `begin` or `reopen`. */
  failure: LogError | undefined
  private unsettled = 0
  private idle: (() => void)[] = []
  private cancelTimer: () => void = () => {}
  private refreshing = false
  private scheduled = false
  pendingBytes = 0
  /** A batch that was given up may still arrive: only a new epoch keeps it out of the next transaction. */
  uncertain = false

  constructor(
    protected readonly cluster: Cluster,
    /** One connection to a broker each. */
    lanes: readonly Lane[],
    protected readonly options: SenderOptions,
  ) {
    this.routes = new Routes(lanes)
  }

  /** Another producer id or epoch: sequences start at 0. */
  begin(identity: Identity): void {
    this.identity = identity
    this.uncertain = false
    this.queues.restart()
    this.reopen()
  }

  /** The next transaction of the same identity, after the last was committed or aborted. */
  reopen(): void {
    this.failure = undefined
    this.queues.reopen()
  }

  send(batches: readonly OutputBatch[]): Promise<void> {
    if (this.failure !== undefined) return Promise.reject(this.failure)
    if (batches.length === 0) return Promise.resolve()
    return new Promise((resolve, reject) => {
      const call = new SendCall(batches.length, () => resolve(), reject)
      for (const batch of batches) this.enqueue(batch, call)
      this.schedule()
    })
  }

  write(batch: OutputBatch): Promise<number> {
    if (this.failure !== undefined) return Promise.reject(this.failure)
    return new Promise((resolve, reject) => {
      this.enqueue(batch, new SendCall(1, resolve, reject))
      this.schedule()
    })
  }

  /** Resolves when nothing is queued or in flight. @throws LogError what a batch failed with */
  async flush(): Promise<void> {
    while (this.failure === undefined && this.pendingBytes > 0) await this.change()
    if (this.failure !== undefined) throw this.failure
  }

  /** After `fail`: waits for the rest to be answered or cut off. */
  async settle(): Promise<void> {
    while (this.unsettled > 0) await this.change()
  }

  close(): void {
    this.cancelTimer()
    this.fail(closedError())
  }

  private enqueue(batch: OutputBatch, call: SendCall): void {
    const queue = this.queues.of(batch.topic, batch.partition)
    const compressing = this.options.compression !== 'none'
    const queued = newlyQueued(batch, call, compressing, this.countsFromQueued ? systemClock.monotonic() : 0)
    queue.push(queued)
    this.reconsider(queue)
    this.pendingBytes += batch.bytes.length
    if (compressing) void this.compress(queue, queued)
  }

  private async compress(queue: PartitionQueue, queued: QueuedBatch): Promise<void> {
    try {
      queued.compressed = await compressRecords(queued.batch, this.options.compression, this.cluster.codecs)
      queued.compressing = false
      this.schedule()
    } catch (error) {
      this.compressionFailed(queue, queued, withReaction(error, 'abort'))
    }
  }

  protected compressionFailed(_: PartitionQueue, __: QueuedBatch, error: LogError): void {
    this.fail(error)
  }

  protected schedule(): void {
    if (this.scheduled) return
    this.scheduled = true
    const pump = (): void => {
      this.scheduled = false
      this.pump()
    }
    const open = this.options.open?.()
    if (open === undefined) queueMicrotask(pump)
    else void open.then(pump)
  }

  private pump(): void {
    if (this.failure !== undefined || this.identity === undefined) return
    const now = systemClock.monotonic()
    const explicit = this.options.transactionalId !== undefined && this.identity.protocol === 1
    const groups = new Map<Route, PartitionQueue[]>()
    const sizes = new Map<Route, number>()
    const unadded: PartitionQueue[] = []
    const leaderless: PartitionQueue[] = []
    let wakeAt = Infinity
    for (const queue of this.waiting) {
      const next = queue.next as QueuedBatch
      if (next.compressing) continue
      if (queue.retryAt > now) {
        wakeAt = Math.min(wakeAt, queue.retryAt)
        continue
      }
      if (explicit && !queue.added) {
        unadded.push(queue)
        continue
      }
      const leader = this.cluster.leader(queue.topic, queue.partition)
      if (leader === undefined) {
        if (!queue.isAway) leaderless.push(queue)
        continue
      }
      const begins = this.begins(queue)
      if (begins && this.beginning.has(leader)) continue
      const route = this.routes.to(leader, begins ? 0 : queue.partition)
      if (route.inFlight >= REQUESTS_IN_FLIGHT || !queue.mayTake(route)) continue
      const size = (sizes.get(route) ?? 0) + next.batch.bytes.length
      const group = groups.get(route)
      if (group === undefined) groups.set(route, [queue])
      else if (size <= REQUEST_BYTES) group.push(queue)
      else continue
      sizes.set(route, size)
    }
    for (const [route, group] of groups) void this.produce(route, group, this.identity)
    if (unadded.length > 0) void this.add(unadded)
    if (leaderless.length > 0) void this.findLeaders(leaderless)
    if (wakeAt < Infinity) this.wake(wakeAt)
    // What did not fit in the first request can go in a second.
    if (groups.size > 0 && this.waiting.size > 0) this.schedule()
  }

  /** Whether the broker has yet to make sure that the partition belongs to the transaction. */
  private begins({ begun }: PartitionQueue): boolean {
    return !begun && this.options.transactionalId !== undefined
  }

  private async produce(route: Route, group: readonly PartitionQueue[], identity: Identity): Promise<void> {
    const departed = group.map((queue) => ({ queue, sent: this.depart(queue, route, identity) }))
    const batches = departed.map(({ queue, sent }) => ({ topic: queue.topic, partition: queue.partition, bytes: sent.stamped as Buffer }))
    const body: ProduceRequest = { transactionalId: this.options.transactionalId ?? null, timeoutMs: this.options.requestMs, batches }
    const api = identity.protocol === 2 ? ProduceImplicit : Produce
    const begins = group.some((queue) => this.begins(queue))
    if (begins) this.beginning.add(route.node)
    route.inFlight++
    this.unsettled++
    let [results, failure]: [readonly ProducedResult[], unknown] = [[], undefined]
    const tries = new Tries()
    try {
      ;({ results } = await tries.make((onSent) => this.request(route, api, body, onSent)))
    } catch (error) {
      failure = error
    }
    route.inFlight--
    this.unsettled--
    if (begins) this.beginning.delete(route.node)
    const errors = new Map(results.map((result) => [`${result.topic}/${result.partition}`, result]))
    const outdated: PartitionQueue[] = []
    let acknowledged = false
    // One for all, so that they go together again: requests that begin partitions wait for each other.
    const now = systemClock.monotonic()
    const again = now + retryDelay(departed.reduce((most, { sent }) => Math.max(most, sent.tries), 1) - 1)
    for (const { queue, sent } of departed) {
      const result = errors.get(`${queue.topic}/${queue.partition}`)
      const error = failure ?? resultError(result, queue)
      // Of what never left, for want of a broker to send to, nothing can arrive.
      const arrived = failure === undefined ? error === undefined || mayBeDone(error) : tries.mayBeDone
      if (arrived) sent.uncertain = true
      if (sent !== queue.first) {
        // The one before it came back, so it is sent again too, whatever became of it.
        queue.setBack(sent)
      } else if (error === undefined) {
        this.acknowledge(queue, result?.offset ?? -1)
        acknowledged = true
      } else if (this.setBack(queue, error, now, again)) {
        outdated.push(queue)
      }
      this.reconsider(queue)
    }
    if (acknowledged) this.options.onAcknowledged()
    this.settled()
    for (const queue of outdated) this.cluster.forgetLeader(queue)
    if (outdated.length > 0) void this.findLeaders(outdated)
    this.pump()
  }

  /** Fails in another turn: `pump` is still dividing batches among requests when it begins one. */
  private async request(
    { node, lane }: Route,
    api: Api<ProduceRequest, ProduceResponse>,
    body: ProduceRequest,
    onSent: () => void,
  ): Promise<ProduceResponse> {
    return lane.send(this.cluster.addressOf(node), api, body, this.options.requestMs + ANSWER_MARGIN_MS, () => {
      onSent()
      this.options.onSent()
    })
  }

  private depart(queue: PartitionQueue, route: Route, identity: Identity): QueuedBatch {
    const { producerId, producerEpoch } = queue.identity ?? identity
    const next = queue.next as QueuedBatch
    next.tries++
    if (next.stamped === undefined) {
      if (!this.countsFromQueued) next.firstSentAt = systemClock.monotonic()
      const compressed = next.compressed === undefined ? {} : { compressed: next.compressed }
      next.stamped = stampBatch(next.batch, {
        producerId,
        producerEpoch,
        baseSequence: queue.nextSequence,
        transactional: this.options.transactionalId !== undefined,
        compression: compressionNumber(this.options.compression),
        ...compressed,
      })
    }
    queue.depart(route)
    this.reconsider(queue)
    return next
  }

  protected reconsider(queue: PartitionQueue): void {
    if (queue.isOpen) this.waiting.add(queue)
    else this.waiting.delete(queue)
  }

  private acknowledge(queue: PartitionQueue, offset: number): void {
    const { batch, call, tries } = this.queues.acknowledged(queue)
    this.pendingBytes -= batch.bytes.length
    // Of several tries one may still be on its way into a socket.
    if (tries === 1) batchBuffers.giveBack(batch.bytes)
    call.acknowledged(offset)
  }

  /** After a try that failed: plans another, or gives the transaction up. Returns whether leaders are to be looked up. */
  protected setBack(queue: PartitionQueue, failure: unknown, now: number, again: number): boolean {
    const first = queue.first as QueuedBatch
    const refresh = refreshAfter(failure)
    ;(first.absence ??= new Absence()).note(failure, now)
    const inTime = again - first.firstSentAt < this.options.deliveryMs
    if (refresh !== undefined && inTime && this.failure === undefined) {
      this.cluster.logger.debug(
        { topic: queue.topic, partition: queue.partition, tries: first.tries, reason: (failure as Error).message },
        'sending a batch again',
      )
      queue.setBack(first)
      queue.retryAt = again
      return refresh !== 'nothing'
    }
    queue.discardFirst()
    this.pendingBytes -= first.batch.bytes.length
    const verdict = refresh === undefined ? failure : first.absence.verdict(failure, now)
    this.giveUp(queue, first, poison(verdict, `sending to ${queue.topic}/${queue.partition}`))
    return false
  }

  /** After a batch that cannot be sent, which is no longer in its queue. */
  protected giveUp(_queue: PartitionQueue, { call, uncertain }: QueuedBatch, error: LogError): void {
    if (uncertain) this.uncertain = true
    call.failed(this.failure ?? error)
    this.fail(error)
  }

  /** Gives everything up that is not on its way. */
  fail(error: LogError): void {
    this.failure ??= error
    for (const { batch, call, uncertain } of this.queues.discard()) {
      if (uncertain) this.uncertain = true
      this.pendingBytes -= batch.bytes.length
      call.failed(this.failure)
    }
    this.waiting.clear()
    this.settled()
  }

  private async add(queues: readonly PartitionQueue[]): Promise<void> {
    for (const queue of queues) {
      queue.adding = true
      this.reconsider(queue)
    }
    this.unsettled++
    try {
      await this.options.addPartitions(queues)
      for (const queue of queues) {
        queue.adding = false
        this.queues.added(queue)
        this.reconsider(queue)
      }
    } catch (error) {
      for (const queue of queues) queue.adding = false
      this.fail(
        givesTransactionUp(error, `adding ${queues.map(({ topic, partition }) => `${topic}/${partition}`).join(', ')} to the transaction`),
      )
    }
    this.unsettled--
    this.settled()
    this.pump()
  }

  private async findLeaders(queues: readonly PartitionQueue[]): Promise<void> {
    if (this.refreshing) return
    this.refreshing = true
    let failure: unknown
    try {
      await this.cluster.refresh([...new Set(queues.map(({ topic }) => topic))])
    } catch (error) {
      failure = error
    }
    this.refreshing = false
    for (const queue of queues) {
      const { topic, partition, first } = queue
      if (first === undefined || queue.isAway || this.cluster.leader(topic, partition) !== undefined) continue
      const error = failure ?? this.cluster.leaderless(queue, 'sending to')
      // A wait for a leader counts as a try, so that it ends some time.
      first.tries++
      const now = systemClock.monotonic()
      if (first.firstSentAt === 0) first.firstSentAt = now
      this.setBack(queue, error, now, now + retryDelay(first.tries - 1))
      this.reconsider(queue)
    }
    this.pump()
  }

  private wake(at: number): void {
    this.cancelTimer()
    this.cancelTimer = systemClock.after(Math.max(1, at - systemClock.monotonic()), () => this.pump())
  }

  private change(): Promise<void> {
    return new Promise((resolve) => this.idle.push(resolve))
  }

  private settled(): void {
    const { idle } = this
    this.idle = []
    for (const resolve of idle) resolve()
  }
}

/** The broker answers with REQUEST_TIMED_OUT first, if it can answer at all. */
const ANSWER_MARGIN_MS = 1_000

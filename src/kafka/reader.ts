import { Assigned } from '../log/assigned.js'
import type { QueueSettings } from '../log/fetch-queue.js'
import type { Fetched, LogError, LogReader, Position, ReaderOptions } from '../log/port.js'
import { systemClock } from '../record/clock.js'
import { placeOf } from '../record/durations.js'
import { errorMessage } from '../record/error.js'
import type { Cluster } from './cluster.js'
import { ERROR, Refused, check, refreshAfter } from './errors.js'
import { endSessions } from './end-sessions.js'
import { Broker, FETCH_BYTES, PartitionFetch, leave, type FetchGroup } from './fetch-group.js'
import { isSessionError } from './fetch-session.js'
import type { Lane } from './lane.js'
import { postpone } from './postpone.js'
import { Fetch, FetchWithoutEpoch, type FetchRequest, type FetchResponse, type FetchedPartition } from './protocol/fetch.js'
import { retryDelay } from './retry.js'

/** How long a broker may hold back an answer while it has no data. */
const LONG_POLL_MS = 500
/** So often partitions without data are asked for that are not in the poll under way. */
const LOOK_MS = 20
/** Partitions that are put off are looked at together, at most so often. */
const REST_MS = 10
/** A fetch that takes longer waits for data to be written: partitions that were not in it do not wait behind it. */
const ANSWER_MS = 10
/** What is asked for where everything there was has been read: more than comes in one go, and little to keep free for it. */
const CAUGHT_UP_BYTES = 256 * 1024
/**
 * Of the prefetch: kept for partitions of which nothing is there, so that others whose records nobody takes cannot keep them from being
 * read.
 */
const KEPT_PART = 1 / 8

/**
 * After an error that was handed out, the next try is put off the longer the more of them there were: how far into the row of pauses it
 * begins, and where that ends.
 */
const FIRST_PAUSE = 4
const LONGEST_PAUSE_MS = 10_000

const FETCH_VERSIONS = [FetchWithoutEpoch.version, Fetch.version]

/**
 * One request in flight a broker, in a session, so that it names only what changed; the next is sent before the answer is handed on, so that
 * it is under way while the records are worked on. While that request waits for data to be written, what else there is to fetch goes out on
 * a second connection, whose answers are never held back; all go together again when the first is answered.
 *
 * Held and asked for are `prefetchBytes` at most over all partitions, or one batch of each partition where that is more. Looked at are the
 * partitions that something happened to: of thousands most have no news.
 */
export class KafkaReader implements LogReader {
  private readonly assigned = new Assigned<PartitionFetch>()
  private readonly lanes: readonly [Lane, Lane]
  private readonly brokers = new Map<number, Broker>()
  /** How many of them lead a partition, and what version of the leaders that is from. */
  private leading = 1
  private leadersVersion = -1
  /** Partitions whose place among the requests may be another. */
  private readonly dirty = new Set<PartitionFetch>()
  /** Those that are put off, and when the first of them is due. */
  private readonly resting = new Set<PartitionFetch>()
  private restUntil = Infinity
  private readonly leaderless = new Set<PartitionFetch>()
  private readonly queueSettings: QueueSettings
  private bytes = 0
  private reserved = 0
  private rotation = 0
  /** What a fetch waits for that was put off. */
  private roomNeeded = Infinity
  /** Changes that are reported by whoever caused them. */
  private quiet = false
  private refreshing = false
  private scheduled = false
  private cancelTimer: () => void = () => {}
  private closed = false

  constructor(
    private readonly cluster: Cluster,
    private readonly options: ReaderOptions,
    /** `ended`: its sessions, as far as brokers answered. */
    private readonly onClose: (ended: Promise<unknown>) => void,
  ) {
    this.lanes = [cluster.lane(), cluster.lane()]
    this.queueSettings = {
      codecs: cluster.codecs,
      inflateBytes: () => this.share(),
      changed: (bytes) => this.changed(bytes),
      maxBatchBytes: options.maxBatchBytes,
      onNews: (topic, partition) => {
        const fetch = this.assigned.of(topic, partition)
        if (fetch !== undefined) this.dirty.add(fetch)
        options.onNews?.(topic, partition)
      },
      onSkipped: options.onSkipped,
    }
  }

  assign(positions: readonly Position[]): void {
    for (const old of this.assigned.replace(positions, (position) => new PartitionFetch(position, this.queueSettings))) {
      this.bytes -= old.bytes
      old.drop()
      leave(old)
      for (const set of [this.dirty, this.resting, this.leaderless]) set.delete(old)
    }
    // The share of each is another.
    for (const fetch of this.assigned.all) this.dirty.add(fetch)
    this.leadersVersion = -1
    this.schedule()
  }

  take(topic: string, partition: number): Fetched | undefined {
    const fetch = this.assigned.of(topic, partition)
    if (fetch === undefined) return undefined
    const before = fetch.bytes
    const failed = fetch.failed
    this.quiet = true
    try {
      return fetch.take()
    } finally {
      this.quiet = false
      const share = this.share()
      const wanted = (before >= share && fetch.bytes < share) || (before > 0 && fetch.bytes === 0)
      const threw = failed && !fetch.failed
      // What failed this time is likely to fail the next.
      if (threw) fetch.retryAt = systemClock.monotonic() + retryDelay(FIRST_PAUSE + fetch.setbacks, LONGEST_PAUSE_MS)
      if (threw || wanted) this.dirty.add(fetch)
      if (threw || wanted || this.room() >= this.roomNeeded) this.schedule()
    }
  }

  end(topic: string, partition: number): number | undefined {
    return this.assigned.of(topic, partition)?.end
  }

  nextTime(topic: string, partition: number): number | undefined {
    return this.assigned.of(topic, partition)?.nextTime
  }

  trouble(topic: string, partition: number): LogError | undefined {
    return this.assigned.of(topic, partition)?.trouble
  }

  close(): void {
    if (this.closed) return
    this.closed = true
    this.cancelTimer()
    this.assigned.drop()
    for (const lane of this.lanes) this.cluster.closeLane(lane)
    this.onClose(endSessions(this.cluster, this.brokers.values(), this.api))
  }

  /** A partition with this much buffered is left out of the next fetch. */
  private share(): number {
    return this.options.prefetchBytes / Math.max(1, this.assigned.all.length)
  }

  private changed(bytes: number): void {
    this.bytes += bytes
    if (!this.quiet && !this.closed) this.options.onData()
  }

  /** For whatever partition comes first. */
  private room(): number {
    return this.options.prefetchBytes * (1 - KEPT_PART) - this.bytes - this.reserved
  }

  /** Once, and not in the same turn: many calls into the reader follow each other. */
  private schedule(): void {
    if (this.scheduled) return
    this.scheduled = true
    setImmediate(() => {
      this.scheduled = false
      this.pump()
    })
  }

  /** Sends a fetch to every broker that has none in flight and leads a partition with room. */
  private pump(): void {
    if (this.closed) return
    const now = systemClock.monotonic()
    if (this.leadersVersion !== this.cluster.leadersVersion) this.lookUpLeaders()
    if (now >= this.restUntil) this.rested(now)
    for (const fetch of this.dirty) this.place(fetch, now)
    this.dirty.clear()
    if (this.leaderless.size > 0 && !this.refreshing) void this.findLeaders([...this.leaderless])
    this.roomNeeded = Infinity
    let wakeAt = this.restUntil
    for (const broker of this.brokers.values()) wakeAt = Math.min(wakeAt, this.pumpBroker(broker, now))
    if (wakeAt === Infinity) return
    this.cancelTimer()
    this.cancelTimer = systemClock.after(Math.max(1, wakeAt - systemClock.monotonic()), () => this.pump())
  }

  /** Returns when to look again though nothing happened. */
  private pumpBroker(broker: Broker, now: number): number {
    const { first, second } = broker
    if (first.asked === undefined) {
      broker.gather(first)
      this.ask(first)
      return Infinity
    }
    if (second.asked !== undefined) return Infinity
    broker.gather(second)
    if (second.members.size === 0) return Infinity
    if (!first.asked.polls && now - first.asked.at < ANSWER_MS) return first.asked.at + ANSWER_MS
    let lookAt = Infinity
    for (const { caughtUp, answeredAt } of second.members) lookAt = Math.min(lookAt, caughtUp ? answeredAt + LOOK_MS : now)
    if (lookAt > now) return lookAt
    this.ask(second)
    return Infinity
  }

  private lookUpLeaders(): void {
    this.leadersVersion = this.cluster.leadersVersion
    const leading = new Set<number>()
    for (const fetch of this.assigned.all) {
      const { topic, partition } = fetch
      if (fetch.leadersVersion !== this.leadersVersion) {
        fetch.leader = this.cluster.leader(topic, partition)
        fetch.leaderEpoch = this.cluster.leaderEpoch(topic, partition)
        fetch.leadersVersion = this.leadersVersion
        this.dirty.add(fetch)
      }
      if (fetch.leader !== undefined) leading.add(fetch.leader)
    }
    this.leading = Math.max(1, leading.size)
  }

  /** Those that were put off until now are looked at again, and others that are nearly due with them. */
  private rested(now: number): void {
    this.restUntil = Infinity
    for (const fetch of this.resting) {
      if (fetch.retryAt <= now) this.dirty.add(fetch)
      else this.restUntil = Math.min(this.restUntil, Math.max(fetch.retryAt, now + REST_MS))
    }
  }

  /** Where a partition is to be fetched from, if it is. */
  private place(fetch: PartitionFetch, now: number): void {
    // It is part of the request until that is answered.
    if (fetch.group?.asked !== undefined && !fetch.dropped) return void fetch.group.changed.add(fetch)
    this.resting.delete(fetch)
    this.leaderless.delete(fetch)
    const full = fetch.bytes > 0 && fetch.bytes >= this.share()
    if (fetch.dropped || fetch.failed || full) return leave(fetch)
    if (fetch.retryAt > now) {
      leave(fetch)
      this.resting.add(fetch)
      this.restUntil = Math.min(this.restUntil, fetch.retryAt)
    } else if (fetch.leader === undefined) {
      leave(fetch)
      this.leaderless.add(fetch)
    } else this.brokerOf(fetch.leader).want(fetch)
  }

  private brokerOf(node: number): Broker {
    let broker = this.brokers.get(node)
    if (broker === undefined) this.brokers.set(node, (broker = new Broker(node, this.lanes)))
    return broker
  }

  /** Fetches where there is room for what may come. */
  private ask(group: FetchGroup): void {
    if (group.members.size === 0) return
    const { prefetchBytes } = this.options
    // Half of the prefetch is under way, in equal parts from all brokers, while the other half waits to be taken.
    const part = Math.min(FETCH_BYTES, (prefetchBytes * (1 - KEPT_PART)) / 2 / this.leading)
    const bytes = group.behind.size === 0 ? Math.min(part, CAUGHT_UP_BYTES) : part
    // What came takes more than its bytes, and leaves less than a part: that is asked for too, if it is worth a request.
    const room = this.room()
    if (room >= bytes / 2) return void this.fetch(group, Math.min(bytes, room))
    this.roomNeeded = Math.min(this.roomNeeded, bytes / 2)
    group.broker.setAside(group)
    const kept = (prefetchBytes * KEPT_PART) / Math.max(1, this.assigned.all.length)
    if (group.members.size > 0) void this.fetch(group, Math.min(part, kept * group.members.size))
  }

  private async fetch(group: FetchGroup, bytes: number): Promise<void> {
    const { session, behind } = group
    const { node } = group.broker
    const maxBytes = Math.max(1, Math.floor(bytes))
    const readCommitted = this.options.isolation === 'read_committed'
    // Where a partition ends is told at once, and not when something is written to it.
    let atOnce = group.atOnce
    for (const { end } of behind) if (end === undefined) atOnce = true
    const maxWaitMs = atOnce ? 0 : LONG_POLL_MS
    const began = systemClock.monotonic()
    group.asked = { at: began, polls: behind.size === 0 }
    this.reserved += maxBytes
    let answers: readonly FetchedPartition[] = []
    let failure: unknown
    try {
      const asked = group.next(maxBytes, this.rotation++)
      const response = await this.request(group, { maxWaitMs, maxBytes, readCommitted, ...asked })
      const answered = session.answered(asked, response)
      // A session that the broker gave up is begun again.
      if (answered === undefined && !(asked.sessionEpoch > 0 && isSessionError(response.error)))
        check(Fetch, response.error, `fetching from broker ${node}`)
      answers = answered ?? []
    } catch (error) {
      session.failed()
      failure = error
    }
    group.asked = undefined
    this.reserved -= maxBytes
    const now = systemClock.monotonic()
    this.options.onFetched?.({ ms: now - began, error: failure, ...placeOf(group.members) })
    if (this.closed) return
    for (const fetch of group.changed) this.dirty.add(fetch)
    group.changed.clear()
    // The few of them that are asked for again and again.
    if (group.atOnce) for (const fetch of group.members) fetch.answeredAt = now
    const arrived = failure === undefined ? this.accept(answers, group, readCommitted, now) : this.setBack([...group.members], failure)
    this.pump()
    if (arrived) this.options.onData()
  }

  /** Fails in another turn, so that a fetch never ends before the call that began it. */
  private async request({ lane, broker }: FetchGroup, body: FetchRequest): Promise<FetchResponse> {
    return lane.send(this.cluster.addressOf(broker.node), this.api, body, body.maxWaitMs + this.cluster.requestTimeoutMs)
  }

  private get api(): typeof Fetch {
    return this.cluster.bestVersion(Fetch.key, FETCH_VERSIONS) === Fetch.version ? Fetch : FetchWithoutEpoch
  }

  private accept(answers: readonly FetchedPartition[], group: FetchGroup, readCommitted: boolean, now: number): boolean {
    let arrived = false
    this.quiet = true
    for (const answer of answers) {
      const fetch = this.assigned.of(answer.topic, answer.partition)
      // The assignment may have changed meanwhile, or a batch before could not be uncompressed.
      if (fetch === undefined || fetch.group !== group || !group.session.hasAsked(fetch)) continue
      fetch.answeredAt = now
      this.dirty.add(fetch)
      if (answer.error === ERROR.none) {
        const first = fetch.end === undefined
        fetch.failures = 0
        const { lastStableOffset, highWatermark, aborted, records, diverging } = answer
        const end = lastStableOffset >= 0 ? lastStableOffset : highWatermark
        if (diverging !== undefined) {
          const { topic, partition, position } = fetch
          this.cluster.logger.warn({ topic, partition, position, fetched: fetch.fetchOffset, diverging }, 'the log was truncated')
          if (fetch.truncated(diverging, end, fetch.leaderEpoch)) arrived = true
          continue
        }
        if (fetch.accept({ batches: [records], aborted: readCommitted ? aborted : [], end }) || first) arrived = true
      } else if (
        this.setBack(
          [fetch],
          new Refused(Fetch, answer.error, `fetching ${answer.topic}/${answer.partition} at offset ${fetch.fetchOffset}`),
        )
      ) {
        arrived = true
      }
    }
    this.quiet = false
    return arrived
  }

  /** Plans another try, or gives the error to whoever takes next. Returns whether it did the latter. */
  private setBack(fetches: readonly PartitionFetch[], failure: unknown): boolean {
    const failed = postpone(fetches, failure, this.cluster.requestTimeoutMs, systemClock.monotonic())
    this.cluster.logger.debug({ reason: errorMessage(failure), givenUp: failed }, 'fetch failed')
    for (const fetch of fetches) this.dirty.add(fetch)
    const refresh = refreshAfter(failure)
    if (refresh === 'metadata' || refresh === 'coordinator') {
      for (const fetch of fetches) this.cluster.forgetLeader(fetch)
      void this.findLeaders(fetches)
    }
    return failed
  }

  private async findLeaders(fetches: readonly PartitionFetch[]): Promise<void> {
    if (this.refreshing) return
    this.refreshing = true
    let failure: unknown
    try {
      await this.cluster.refresh([...new Set(fetches.map(({ topic }) => topic))])
    } catch (error) {
      failure = error
    }
    this.refreshing = false
    if (this.closed) return
    const now = systemClock.monotonic()
    let failed = false
    for (const fetch of fetches) {
      this.dirty.add(fetch)
      if (fetch.retryAt > now || this.cluster.leader(fetch.topic, fetch.partition) !== undefined) continue
      if (postpone([fetch], failure ?? this.cluster.leaderless(fetch, 'fetching'), this.cluster.requestTimeoutMs, now)) failed = true
    }
    this.pump()
    if (failed) this.options.onData()
  }
}

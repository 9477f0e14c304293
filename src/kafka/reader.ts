import type { QueueSettings } from '../log/fetch-queue.js'
import type { Fetched, LogError, LogReader, Position, ReaderOptions } from '../log/port.js'
import { systemClock } from '../record/clock.js'
import { errorMessage } from '../record/error.js'
import type { Cluster } from './cluster.js'
import { ERROR, Refused, check, refreshAfter } from './errors.js'
import { FetchSession, isSessionError, type SessionRequest } from './fetch-session.js'
import { PartitionFetch } from './fetched-partition.js'
import type { Lane } from './lane.js'
import { postpone } from './postpone.js'
import { Fetch, FetchWithoutEpoch, type FetchRequest, type FetchResponse, type FetchedPartition } from './protocol/fetch.js'
import { retryDelay } from './retry.js'

/** How long a broker may hold back an answer while it has no data. */
const LONG_POLL_MS = 500
/** So often partitions without data are asked for that are not in the poll under way. */
const LOOK_MS = 20
/** A fetch that takes longer waits for data to be written: partitions that were not in it do not wait behind it. */
const ANSWER_MS = 10
const FETCH_BYTES = 8 * 1024 * 1024
const PARTITION_BYTES = 1024 * 1024
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

/** A request under way. */
interface Asked {
  readonly at: number
  /** Everything there was of its partitions has been read: the answer waits for data to be written. */
  readonly polls: boolean
}

/** A connection to each broker, with a fetch session on it, and what it is busy with. */
interface Slot {
  readonly lane: Lane
  readonly sessions: Map<number, FetchSession>
  readonly asked: Map<number, Asked>
}

/**
 * One request in flight a broker, in a session, so that it names only what changed; the next is sent before the answer is handed on, so that
 * it is under way while the records are worked on. While that request waits for data to be written, what else there is to fetch goes out on a second connection,
 * whose answers are never held back; all go together again when the first is answered.
 *
 * Held and asked for are `prefetchBytes` at most over all partitions, or one batch of each partition where that is more.
 */
export class KafkaReader implements LogReader {
  private partitions = new Map<string, Map<number, PartitionFetch>>()
  private all: PartitionFetch[] = []
  private readonly slots: readonly [Slot, Slot]
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
    private readonly onClose: () => void,
  ) {
    this.slots = [newSlot(cluster), newSlot(cluster)]
    this.queueSettings = {
      codecs: cluster.codecs,
      inflateBytes: () => this.share(),
      changed: (bytes) => this.changed(bytes),
      maxBatchBytes: options.maxBatchBytes,
      onNews: options.onNews,
      onSkipped: options.onSkipped,
    }
  }

  assign(positions: readonly Position[]): void {
    const next = new Map<string, Map<number, PartitionFetch>>()
    for (const position of positions) {
      const { topic, partition } = position
      const current = this.partitions.get(topic)?.get(partition)
      const fetch = current?.isAt(position) === true ? current : new PartitionFetch(position, this.queueSettings)
      const of = next.get(topic)
      if (of === undefined) next.set(topic, new Map([[partition, fetch]]))
      else of.set(partition, fetch)
    }
    for (const old of this.all) {
      if (next.get(old.topic)?.get(old.partition) === old) continue
      this.bytes -= old.bytes
      old.drop()
    }
    this.partitions = next
    this.all = [...next.values()].flatMap((of) => [...of.values()])
    this.schedule()
  }

  take(topic: string, partition: number): Fetched | undefined {
    const fetch = this.partitions.get(topic)?.get(partition)
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
      if (threw || wanted || this.room() >= this.roomNeeded) this.schedule()
    }
  }

  end(topic: string, partition: number): number | undefined {
    return this.partitions.get(topic)?.get(partition)?.end
  }

  nextTime(topic: string, partition: number): number | undefined {
    return this.partitions.get(topic)?.get(partition)?.nextTime
  }

  trouble(topic: string, partition: number): LogError | undefined {
    return this.partitions.get(topic)?.get(partition)?.trouble
  }

  close(): void {
    if (this.closed) return
    this.closed = true
    this.cancelTimer()
    for (const fetch of this.all) fetch.drop()
    this.all = []
    this.partitions = new Map()
    for (const { lane } of this.slots) this.cluster.closeLane(lane)
    this.onClose()
  }

  /** A partition with this much buffered is left out of the next fetch. */
  private share(): number {
    return this.options.prefetchBytes / Math.max(1, this.all.length)
  }

  private changed(bytes: number): void {
    this.bytes += bytes
    if (!this.quiet && !this.closed) this.options.onData()
  }

  /** For whatever partition comes first. */
  private room(): number {
    return this.options.prefetchBytes * (1 - KEPT_PART) - this.bytes - this.reserved
  }

  /** Once, and not in the same turn: many calls into the reader follow each other, and each look goes over all partitions. */
  private schedule(): void {
    if (this.scheduled) return
    this.scheduled = true
    setImmediate(() => {
      this.scheduled = false
      this.pump()
    })
  }

  private wake(at: number): void {
    this.cancelTimer()
    this.cancelTimer = systemClock.after(Math.max(1, at - systemClock.monotonic()), () => this.pump())
  }

  /** Sends a fetch to every broker that has none in flight and leads a partition with room. */
  private pump(): void {
    if (this.closed) return
    const now = systemClock.monotonic()
    const share = this.share()
    const wanted = new Map<number, PartitionFetch[]>()
    const leaderless: PartitionFetch[] = []
    const nodes = new Set<number>()
    let wakeAt = Infinity
    for (const fetch of this.all) {
      if (fetch.leadersVersion !== this.cluster.leadersVersion) this.lookUpLeader(fetch)
      const { leader } = fetch
      if (leader !== undefined) nodes.add(leader)
      if (fetch.inFlight || fetch.failed || (fetch.bytes > 0 && fetch.bytes >= share)) continue
      if (fetch.retryAt > now) {
        wakeAt = Math.min(wakeAt, fetch.retryAt)
        continue
      }
      if (leader === undefined) {
        leaderless.push(fetch)
        continue
      }
      const of = wanted.get(leader)
      if (of === undefined) wanted.set(leader, [fetch])
      else of.push(fetch)
    }
    if (leaderless.length > 0) void this.findLeaders(leaderless)
    const { prefetchBytes } = this.options
    // Half of the prefetch is under way, in equal parts from all brokers, while the other half waits to be taken.
    const part = Math.min(FETCH_BYTES, (prefetchBytes * (1 - KEPT_PART)) / 2 / Math.max(1, nodes.size))
    const kept = (prefetchBytes * KEPT_PART) / Math.max(1, this.all.length)
    this.roomNeeded = Infinity
    const [first, second] = this.slots
    for (const [node, fetches] of wanted) {
      const underWay = first.asked.get(node)
      if (underWay === undefined) {
        this.ask(first, node, fetches, part, kept)
        continue
      }
      if (second.asked.has(node)) continue
      if (!underWay.polls && now - underWay.at < ANSWER_MS) {
        wakeAt = Math.min(wakeAt, underWay.at + ANSWER_MS)
        continue
      }
      const due = fetches.filter(({ caughtUp, answeredAt }) => !caughtUp || now - answeredAt >= LOOK_MS)
      if (due.length > 0) this.ask(second, node, due, part, kept)
      else for (const { answeredAt } of fetches) wakeAt = Math.min(wakeAt, answeredAt + LOOK_MS)
    }
    if (wakeAt < Infinity) this.wake(wakeAt)
  }

  private lookUpLeader(fetch: PartitionFetch): void {
    const { topic, partition } = fetch
    fetch.leader = this.cluster.leader(topic, partition)
    fetch.leaderEpoch = this.cluster.leaderEpoch(topic, partition)
    fetch.leadersVersion = this.cluster.leadersVersion
  }

  /** Fetches where there is room for what may come. */
  private ask(slot: Slot, node: number, fetches: readonly PartitionFetch[], part: number, kept: number): void {
    const bytes = fetches.every(({ caughtUp }) => caughtUp) ? Math.min(part, CAUGHT_UP_BYTES) : part
    if (this.room() >= bytes) return void this.fetch(slot, node, fetches, bytes)
    this.roomNeeded = Math.min(this.roomNeeded, bytes)
    const empty = fetches.filter((fetch) => fetch.bytes === 0)
    if (empty.length > 0) void this.fetch(slot, node, empty, Math.min(part, kept * empty.length))
  }

  private async fetch(slot: Slot, node: number, fetches: readonly PartitionFetch[], bytes: number): Promise<void> {
    const maxBytes = Math.max(1, Math.floor(bytes))
    const readCommitted = this.options.isolation === 'read_committed'
    // Where a partition ends is told at once, and not when something is written to it.
    const atOnce = slot !== this.slots[0] || fetches.some(({ end }) => end === undefined)
    const maxWaitMs = atOnce ? 0 : LONG_POLL_MS
    slot.asked.set(node, { at: systemClock.monotonic(), polls: fetches.every(({ caughtUp }) => caughtUp) })
    this.reserved += maxBytes
    const session = slot.sessions.get(node) ?? new FetchSession()
    slot.sessions.set(node, session)
    for (const fetch of fetches) {
      fetch.inFlight = true
      fetch.askedIn = session
      fetch.askedOffset = fetch.fetchOffset
    }
    let answers: readonly FetchedPartition[] = []
    let failure: unknown
    try {
      const asked = this.sessionRequest(session, fetches, maxBytes)
      const response = await this.request(slot.lane, node, { maxWaitMs, maxBytes, readCommitted, ...asked })
      const answered = session.answered(asked, response)
      // A session that the broker gave up is begun again.
      if (answered === undefined && !(asked.sessionEpoch > 0 && isSessionError(response.error)))
        check(Fetch, response.error, `fetching from broker ${node}`)
      answers = answered ?? []
    } catch (error) {
      session.failed()
      failure = error
    }
    slot.asked.delete(node)
    this.reserved -= maxBytes
    const now = systemClock.monotonic()
    for (const fetch of fetches) {
      fetch.inFlight = false
      fetch.answeredAt = now
    }
    if (this.closed) return
    const arrived = failure === undefined ? this.accept(answers, session, readCommitted) : this.setBack(fetches, failure)
    this.pump()
    if (arrived) this.options.onData()
  }

  private sessionRequest(session: FetchSession, fetches: readonly PartitionFetch[], maxBytes: number): SessionRequest {
    const few = fetches.length < FETCH_BYTES / PARTITION_BYTES
    // Of many it is always the same, or each would have to be named anew; all together get no more than the request may have.
    const partitionBytes = few
      ? Math.max(1, Math.min(maxBytes, Math.max(PARTITION_BYTES, Math.floor(maxBytes / fetches.length))))
      : PARTITION_BYTES
    // A broker without sessions fills the answer in the order asked: each partition gets its turn to be the first. With one it sees to that.
    const start = session.isOpen ? 0 : this.rotation++ % fetches.length
    const inOrder = start === 0 ? fetches : [...fetches.slice(start), ...fetches.slice(0, start)]
    return session.next(inOrder, partitionBytes)
  }

  /** Fails in another turn, so that a fetch never ends before the call that began it. */
  private async request(lane: Lane, node: number, body: FetchRequest): Promise<FetchResponse> {
    const api = this.cluster.bestVersion(Fetch.key, FETCH_VERSIONS) === Fetch.version ? Fetch : FetchWithoutEpoch
    return lane.send(this.cluster.addressOf(node), api, body, body.maxWaitMs + this.cluster.requestTimeoutMs)
  }

  private accept(answers: readonly FetchedPartition[], session: FetchSession, readCommitted: boolean): boolean {
    let arrived = false
    this.quiet = true
    for (const answer of answers) {
      const fetch = this.partitions.get(answer.topic)?.get(answer.partition)
      // The assignment may have changed meanwhile, or a batch before could not be uncompressed.
      if (fetch === undefined || fetch.askedIn !== session || fetch.askedOffset !== fetch.fetchOffset) continue
      if (answer.error === ERROR.none) {
        const first = fetch.end === undefined
        fetch.failures = 0
        const { lastStableOffset, highWatermark, aborted, records, diverging } = answer
        const end = lastStableOffset >= 0 ? lastStableOffset : highWatermark
        if (diverging !== undefined) {
          const { topic, partition, position } = fetch
          this.cluster.logger.warn({ topic, partition, position, fetched: fetch.fetchOffset, diverging }, 'the log was truncated')
          if (fetch.truncated(diverging, end)) arrived = true
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
      if (fetch.retryAt > now || this.cluster.leader(fetch.topic, fetch.partition) !== undefined) continue
      if (postpone([fetch], failure ?? this.cluster.leaderless(fetch, 'fetching'), this.cluster.requestTimeoutMs, now)) failed = true
    }
    this.pump()
    if (failed) this.options.onData()
  }
}

function newSlot(cluster: Cluster): Slot {
  return { lane: cluster.lane(), sessions: new Map(), asked: new Map() }
}

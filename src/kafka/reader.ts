import type { Fetched, LogReader, PartitionOffset, ReaderOptions } from '../log/port.js'
import { errorMessage } from '../record/error.js'
import type { Cluster } from './cluster.js'
import { kafkaCodecs } from './codecs.js'
import { ERROR, Refused, asReaction, check, refreshAfter } from './errors.js'
import { PartitionFetch } from './fetched-partition.js'
import type { Lane } from './lane.js'
import { Fetch, type FetchResponse } from './protocol/fetch.js'
import { retryDelay } from './retry.js'

/** How long a broker may hold back an answer while it has no data. */
const LONG_POLL_MS = 500
/** A fetch that takes longer waits for data to be written: partitions that were not in it do not wait behind it. */
const ANSWER_MS = 10
const FETCH_BYTES = 8 * 1024 * 1024
const PARTITION_BYTES = 1024 * 1024
/** What is asked for where everything there was has been read: more than comes in one go, and little to keep free for it. */
const CAUGHT_UP_BYTES = 256 * 1024
/** For so long a topic that is not there may be one that was created just now. */
const MISSING_MS = 5_000

/** The connection a broker answers on, and when it was last asked. */
interface Slot {
  readonly lane: Lane
  readonly since: Map<number, number>
}

/**
 * One request in flight a broker; the next is sent before the answer is handed on, so that it is under way while the records
 * are worked on. Only where that request waits for data to be written, another goes out for other partitions, on a connection of its own.
 */
export class KafkaReader implements LogReader {
  private partitions = new Map<string, Map<number, PartitionFetch>>()
  private all: PartitionFetch[] = []
  private readonly slots: readonly [Slot, Slot]
  private bytes = 0
  private reserved = 0
  private rotation = 0
  /** What a fetch waits for that was put off. */
  private roomNeeded = Infinity
  private accepting = false
  private refreshing = false
  private timer: NodeJS.Timeout | undefined
  private closed = false

  constructor(
    private readonly cluster: Cluster,
    private readonly options: ReaderOptions,
    private readonly onClose: () => void,
  ) {
    this.slots = [newSlot(cluster), newSlot(cluster)]
  }

  assign(positions: readonly PartitionOffset[]): void {
    const next = new Map<string, Map<number, PartitionFetch>>()
    for (const { topic, partition, offset } of positions) {
      const current = this.partitions.get(topic)?.get(partition)
      const kept = current !== undefined && current.position === offset
      const fetch = kept ? current : new PartitionFetch(topic, partition, offset, kafkaCodecs, this.shareOf, this.onChanged)
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
    try {
      return fetch.take()
    } finally {
      const share = this.share()
      this.bytes -= before - fetch.bytes
      if ((failed && !fetch.failed) || (before >= share && fetch.bytes < share) || this.room() >= this.roomNeeded) this.pump()
    }
  }

  end(topic: string, partition: number): number | undefined {
    return this.partitions.get(topic)?.get(partition)?.lastStableOffset
  }

  close(): void {
    if (this.closed) return
    this.closed = true
    clearTimeout(this.timer)
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

  private readonly shareOf = (): number => this.share()

  private readonly onChanged = (bytes: number): void => {
    this.bytes += bytes
    if (!this.accepting && !this.closed) this.options.onData()
  }

  private room(): number {
    return this.options.prefetchBytes - this.bytes - this.reserved
  }

  /** Not in the same turn: several calls into the reader often follow each other. */
  private schedule(): void {
    setImmediate(() => this.pump())
  }

  private wake(at: number): void {
    clearTimeout(this.timer)
    this.timer = setTimeout(() => this.pump(), Math.max(1, at - Date.now()))
  }

  /** Sends a fetch to every broker that has none in flight and leads a partition with room. */
  private pump(): void {
    if (this.closed) return
    const now = Date.now()
    const share = this.share()
    const wanted = new Map<number, PartitionFetch[]>()
    const leaderless: PartitionFetch[] = []
    const nodes = new Set<number>()
    let wakeAt = Infinity
    for (const fetch of this.all) {
      const leader = this.cluster.leader(fetch.topic, fetch.partition)
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
    // Half of the prefetch is under way, in equal parts from all brokers, while the other half waits to be taken.
    const part = Math.min(FETCH_BYTES, this.options.prefetchBytes / 2 / Math.max(1, nodes.size))
    this.roomNeeded = Infinity
    for (const [node, fetches] of wanted) {
      const slot = this.freeSlot(node, now)
      if (typeof slot === 'number') wakeAt = Math.min(wakeAt, slot)
      if (typeof slot === 'number' || slot === undefined) continue
      const bytes = fetches.every(({ caughtUp }) => caughtUp) ? Math.min(part, CAUGHT_UP_BYTES) : part
      // Something is let through even where one batch alone is larger than the whole prefetch.
      const nothingElse = this.bytes <= 0 && this.reserved === 0
      if (this.room() >= bytes || nothingElse) void this.fetch(slot, node, fetches, Math.max(1, Math.floor(bytes)))
      else this.roomNeeded = Math.min(this.roomNeeded, bytes)
    }
    if (wakeAt < Infinity) this.wake(wakeAt)
  }

  /** What the next fetch from a broker can use, or when the second may be used. */
  private freeSlot(node: number, now: number): Slot | number | undefined {
    const [first, second] = this.slots
    const since = first.since.get(node) ?? second.since.get(node)
    if (since === undefined) return first
    if (first.since.has(node) && second.since.has(node)) return undefined
    if (now - since < ANSWER_MS) return since + ANSWER_MS
    return first.since.has(node) ? second : first
  }

  private async fetch({ lane, since }: Slot, node: number, fetches: readonly PartitionFetch[], maxBytes: number): Promise<void> {
    // The broker fills the answer in the order asked: each partition gets its turn to be the first.
    const start = this.rotation++ % fetches.length
    const inOrder = [...fetches.slice(start), ...fetches.slice(0, start)]
    const partitionBytes = Math.max(1, Math.min(maxBytes, Math.max(PARTITION_BYTES, Math.floor(maxBytes / fetches.length))))
    const readCommitted = this.options.isolation === 'read_committed'
    const asked = new Map(inOrder.map((fetch) => [fetch, fetch.fetchOffset]))
    since.set(node, Date.now())
    this.reserved += maxBytes
    for (const fetch of fetches) fetch.inFlight = true
    let response: FetchResponse | undefined
    let failure: unknown
    try {
      const partitions = inOrder.map(({ topic, partition, fetchOffset }) => ({ topic, partition, offset: fetchOffset, maxBytes: partitionBytes }))
      const body = { maxWaitMs: LONG_POLL_MS, maxBytes, readCommitted, partitions }
      response = await lane.send(this.cluster.addressOf(node), Fetch, body, LONG_POLL_MS + this.cluster.requestTimeoutMs)
      check(response.error, `fetching from broker ${node}`)
    } catch (error) {
      failure = error
    }
    since.delete(node)
    this.reserved -= maxBytes
    for (const fetch of fetches) fetch.inFlight = false
    if (this.closed) return
    const arrived = failure === undefined ? this.accept(response as FetchResponse, asked, readCommitted) : this.setBack(fetches, failure)
    this.pump()
    if (arrived) this.options.onData()
  }

  private accept(response: FetchResponse, asked: ReadonlyMap<PartitionFetch, number>, readCommitted: boolean): boolean {
    let arrived = false
    this.accepting = true
    for (const answer of response.partitions) {
      const fetch = this.partitions.get(answer.topic)?.get(answer.partition)
      // The assignment may have changed meanwhile, or a batch before could not be uncompressed.
      if (fetch === undefined || asked.get(fetch) !== fetch.fetchOffset) continue
      if (answer.error === ERROR.none) {
        const first = fetch.lastStableOffset === undefined
        if (fetch.accept(answer, readCommitted) || first) arrived = true
      } else if (this.setBack([fetch], new Refused(answer.error, `fetching ${answer.topic}/${answer.partition} at offset ${fetch.fetchOffset}`))) {
        arrived = true
      }
    }
    this.accepting = false
    return arrived
  }

  /** Plans another try, or gives the error to whoever takes next. Returns whether it did the latter. */
  private setBack(fetches: readonly PartitionFetch[], failure: unknown): boolean {
    const failed = postpone(fetches, failure, this.cluster.requestTimeoutMs)
    this.cluster.logger.debug({ reason: errorMessage(failure), givenUp: failed }, 'fetch failed')
    const refresh = refreshAfter(failure)
    if (refresh === 'metadata' || refresh === 'coordinator') void this.findLeaders(fetches)
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
    const now = Date.now()
    let failed = false
    for (const fetch of fetches) {
      if (fetch.retryAt > now || this.cluster.leader(fetch.topic, fetch.partition) !== undefined) continue
      if (postpone([fetch], failure ?? this.leaderless(fetch), this.cluster.requestTimeoutMs)) failed = true
    }
    this.pump()
    if (failed) this.options.onData()
  }

  private leaderless({ topic, partition }: PartitionFetch): Refused {
    const known = this.cluster.partitionError(topic, partition)
    return new Refused(known === ERROR.none ? ERROR.leaderNotAvailable : known, `fetching ${topic}/${partition}`)
  }
}

function newSlot(cluster: Cluster): Slot {
  return { lane: cluster.lane(), since: new Map() }
}

function postpone(fetches: readonly PartitionFetch[], failure: unknown, patienceMs: number): boolean {
  const now = Date.now()
  const again = refreshAfter(failure) !== undefined
  const missing = failure instanceof Refused && failure.info.as === 'MISSING_TOPIC'
  let failed = false
  for (const fetch of fetches) {
    if (fetch.dropped || fetch.failed) continue
    if (fetch.failures === 0) fetch.failingSince = now
    if (again && now - fetch.failingSince < (missing ? MISSING_MS : patienceMs)) {
      fetch.retryAt = now + retryDelay(fetch.failures++)
    } else {
      fetch.fail(asReaction(failure, `fetching ${fetch.topic}/${fetch.partition}`))
      failed = true
    }
  }
  return failed
}

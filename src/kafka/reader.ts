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
const LONG_POLL_MS = 250
/** The same while partitions are left out of the request that may want to be in again before that. */
const SHORT_POLL_MS = 5
const FETCH_BYTES = 8 * 1024 * 1024
const PARTITION_BYTES = 1024 * 1024
/** A fetch for less than this part of the prefetch would be all overhead. */
const WORTH_FETCHING = 1 / 4
/** For so long a topic that is not there may be one that was created just now. */
const MISSING_MS = 5_000

/**
 * One request in flight a broker; the next is sent before the answer is handed on, so that it is under way while the records
 * are worked on.
 */
export class KafkaReader implements LogReader {
  private partitions = new Map<string, Map<number, PartitionFetch>>()
  private all: PartitionFetch[] = []
  private readonly lane: Lane
  private readonly busy = new Set<number>()
  private bytes = 0
  private reserved = 0
  private rotation = 0
  private accepting = false
  private refreshing = false
  private timer: NodeJS.Timeout | undefined
  private closed = false

  constructor(
    private readonly cluster: Cluster,
    private readonly options: ReaderOptions,
    private readonly onClose: () => void,
  ) {
    this.lane = cluster.lane()
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
      const freed = before - fetch.bytes
      const low = this.prefetchLow()
      this.bytes -= freed
      if ((failed && !fetch.failed) || (before >= share && fetch.bytes < share) || (!low && this.prefetchLow())) this.pump()
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
    this.cluster.closeLane(this.lane)
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

  private prefetchLow(): boolean {
    return this.room() >= this.options.prefetchBytes * WORTH_FETCHING
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
    const left = new Set<number>()
    const leaderless: PartitionFetch[] = []
    let wakeAt = Infinity
    for (const fetch of this.all) {
      if (fetch.inFlight || fetch.failed) continue
      if (fetch.retryAt > now) {
        wakeAt = Math.min(wakeAt, fetch.retryAt)
        continue
      }
      const leader = this.cluster.leader(fetch.topic, fetch.partition)
      if (leader === undefined) {
        leaderless.push(fetch)
      } else if (fetch.bytes > 0 && fetch.bytes >= share) {
        left.add(leader)
      } else if (!this.busy.has(leader)) {
        const of = wanted.get(leader)
        if (of === undefined) wanted.set(leader, [fetch])
        else of.push(fetch)
      }
    }
    if (wakeAt < Infinity) this.wake(wakeAt)
    if (leaderless.length > 0) void this.findLeaders(leaderless)
    let waiting = wanted.size
    for (const [node, fetches] of wanted) {
      const room = this.room()
      // Something is let through even where one batch alone is larger than the whole prefetch.
      if (!this.prefetchLow() && (this.bytes > 0 || this.reserved > 0)) return
      const maxBytes = Math.max(1, Math.min(FETCH_BYTES, Math.floor(room / waiting--)))
      void this.fetch(node, fetches, maxBytes, left.has(node) ? SHORT_POLL_MS : LONG_POLL_MS)
    }
  }

  private async fetch(node: number, fetches: readonly PartitionFetch[], maxBytes: number, maxWaitMs: number): Promise<void> {
    // The broker fills the answer in the order asked: each partition gets its turn to be the first.
    const start = this.rotation++ % fetches.length
    const inOrder = [...fetches.slice(start), ...fetches.slice(0, start)]
    const partitionBytes = Math.max(1, Math.min(maxBytes, Math.max(PARTITION_BYTES, Math.floor(maxBytes / fetches.length))))
    const readCommitted = this.options.isolation === 'read_committed'
    const asked = new Map(inOrder.map((fetch) => [fetch, fetch.fetchOffset]))
    this.busy.add(node)
    this.reserved += maxBytes
    for (const fetch of fetches) fetch.inFlight = true
    let response: FetchResponse | undefined
    let failure: unknown
    try {
      const partitions = inOrder.map(({ topic, partition, fetchOffset }) => ({ topic, partition, offset: fetchOffset, maxBytes: partitionBytes }))
      response = await this.lane.send(this.cluster.addressOf(node), Fetch, { maxWaitMs, maxBytes, readCommitted, partitions }, maxWaitMs + this.cluster.requestTimeoutMs)
      check(response.error, `fetching from broker ${node}`)
    } catch (error) {
      failure = error
    }
    this.busy.delete(node)
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

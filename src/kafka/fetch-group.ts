import { FetchQueue } from '../log/fetch-queue.js'
import { Absence } from './absence.js'
import { FetchSession, type SessionRequest } from './fetch-session.js'
import type { Lane } from './lane.js'

/** Most that is asked for at a time: of a broker, and of each of many partitions. */
export const FETCH_BYTES = 8 * 1024 * 1024
const PARTITION_BYTES = 1024 * 1024

/** A request under way. */
interface Asked {
  readonly at: number
  /** Everything there was of its partitions has been read: the answer waits for data to be written. */
  readonly polls: boolean
}

/** What is fetched of one partition and not taken yet, and how its fetches go. */
export class PartitionFetch extends FetchQueue {
  readonly name = `${this.topic}/${this.partition}`
  /** The leader as last heard, and what version of that it is from. */
  leader: number | undefined
  leaderEpoch = -1
  leadersVersion = -1
  /** What it is fetched with, or waits for. */
  group: FetchGroup | undefined
  waitsAt: Broker | undefined
  answeredAt = Number.NEGATIVE_INFINITY
  /** After failures: when to try again, how many there were, and since when. */
  retryAt = Number.NEGATIVE_INFINITY
  failures = 0
  failingSince = 0
  absence = new Absence()
}

/** Partitions of one broker that are fetched together: over one connection, in one session. What has no news costs nothing in it. */
export class FetchGroup {
  readonly session = new FetchSession()
  /** In the request under way, or in the next. */
  readonly members = new Set<PartitionFetch>()
  /** Those of them of which there is more to read than was fetched, or nothing is known yet. */
  readonly behind = new Set<PartitionFetch>()
  /** Those of which something was fetched and not taken. */
  readonly holding = new Set<PartitionFetch>()
  /** Those that something happened to while the request was under way. */
  readonly changed = new Set<PartitionFetch>()
  asked: Asked | undefined

  constructor(
    readonly broker: Broker,
    readonly lane: Lane,
    /** Whether its answers are never held back. */
    readonly atOnce: boolean,
  ) {}

  /** Takes one in, or how it is now. */
  put(fetch: PartitionFetch): void {
    fetch.group = this
    this.members.add(fetch)
    this.session.put(fetch)
    if (fetch.caughtUp) this.behind.delete(fetch)
    else this.behind.add(fetch)
    if (fetch.bytes > 0) this.holding.add(fetch)
    else this.holding.delete(fetch)
  }

  next(maxBytes: number, rotation: number): SessionRequest {
    const { size } = this.members
    // Of many it is always the same, or each would have to be named anew; all together get no more than the request may have.
    const few = size < FETCH_BYTES / PARTITION_BYTES
    const each = few ? Math.max(1, Math.min(maxBytes, Math.max(PARTITION_BYTES, Math.floor(maxBytes / size)))) : PARTITION_BYTES
    return this.session.next(each, rotation)
  }

  remove(fetch: PartitionFetch): void {
    fetch.group = undefined
    this.session.remove(fetch)
    for (const set of [this.members, this.behind, this.holding, this.changed]) set.delete(fetch)
  }
}

/** What is fetched from one broker: most of it together; and while that request waits for data to be written, what else there is to fetch. */
export class Broker {
  readonly first: FetchGroup
  readonly second: FetchGroup
  /** To be fetched, and in neither request. */
  readonly waiting = new Set<PartitionFetch>()

  constructor(
    readonly node: number,
    lanes: readonly [Lane, Lane],
  ) {
    this.first = new FetchGroup(this, lanes[0], false)
    this.second = new FetchGroup(this, lanes[1], true)
  }

  /** One that is to be fetched; it stays in the request that it is in. */
  want(fetch: PartitionFetch): void {
    if (fetch.group?.broker === this) return fetch.group.put(fetch)
    leave(fetch)
    this.waiting.add(fetch)
    fetch.waitsAt = this
  }

  /** All that is in no request goes into one. */
  gather(group: FetchGroup): void {
    const { second } = this
    if (group !== second && second.asked === undefined) for (const fetch of second.members) move(fetch)
    for (const fetch of this.waiting) move(fetch)

    function move(fetch: PartitionFetch): void {
      leave(fetch)
      group.put(fetch)
    }
  }

  /** What something was fetched of waits until there is room for more. */
  setAside(group: FetchGroup): void {
    for (const fetch of group.holding) {
      group.remove(fetch)
      this.want(fetch)
    }
  }
}

/** It is not to be fetched, or not there. */
export function leave(fetch: PartitionFetch): void {
  fetch.group?.remove(fetch)
  fetch.waitsAt?.waiting.delete(fetch)
  fetch.waitsAt = undefined
}

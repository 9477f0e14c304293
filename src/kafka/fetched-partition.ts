import { FetchQueue } from '../log/fetch-queue.js'
import { Absence } from './absence.js'
import type { Broker, FetchGroup } from './fetch-group.js'

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

import { FetchQueue } from '../log/fetch-queue.js'

/** What is fetched of one partition and not taken yet. */
export class FetchedPartition extends FetchQueue {
  /** Held back for a while after an error. */
  waiting = false
}

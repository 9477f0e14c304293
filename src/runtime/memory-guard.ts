import { MillraceError } from '../record/error.js'
import type { Logger } from '../record/logger.js'
import type { StoreUsage } from '../state/store.js'
import { processHeap, type Heap } from './process-heap.js'

/** From this part of the heap's limit on the program is told; below the lower one it may be told anew. */
const WARN_AT = 0.7
const CALM_AT = 0.6
/** From here on V8 collects all the time, and soon ends the process without a word. */
const REFUSE_AT = 0.9
/** Only where so much of the heap is state is that to blame. */
const STATE_PART = 0.2
/** What a key costs beside its bytes, about. */
const KEY_BYTES = 150

/** Notices state that is about to fill the heap, while there is still somebody to say it. */
export class MemoryGuard {
  private warned = false

  constructor(
    private readonly logger: Logger,
    private readonly heap: () => Heap = processHeap,
    private readonly refuseAt = REFUSE_AT,
  ) {}

  /** @throws MillraceError STATE_TOO_LARGE */
  check(usage: () => readonly StoreUsage[]): void {
    const { live, limit } = this.heap()
    const part = live / limit
    if (part < WARN_AT) {
      if (part < CALM_AT) this.warned = false
      return
    }
    const stores = [...usage()].sort((a, b) => weightOf(b) - weightOf(a))
    if (stores.reduce((sum, store) => sum + weightOf(store), 0) < STATE_PART * limit) return
    if (part >= this.refuseAt)
      throw new MillraceError(
        'STATE_TOO_LARGE',
        `state fills the memory: ${inMegabytes(live)} of the ${inMegabytes(limit)} that V8 may take are in use. ${told(stores)}. ${ADVICE}`,
      )
    if (this.warned) return
    this.warned = true
    this.logger.warn({ heapBytes: live, heapLimitBytes: limit, stores: stores.slice(0, 5) }, `state takes much of the memory. ${ADVICE}`)
  }
}

const ADVICE =
  'Give the process more (node --max-old-space-size=<MB>), add members so that each has fewer tasks, or keep less: a ttl or maxEntries, shorter windows, less of each record'

function weightOf({ keys, bytes }: StoreUsage): number {
  return bytes + keys * KEY_BYTES
}

function told(stores: readonly StoreUsage[]): string {
  return stores
    .slice(0, 5)
    .map(({ name, keys, bytes }) => `'${name}' has ${keys} keys, ${inMegabytes(bytes)} as stored`)
    .join('; ')
}

function inMegabytes(bytes: number): string {
  return `${Math.round(bytes / 1024 / 1024)} MB`
}

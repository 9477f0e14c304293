import { totalmem } from 'node:os'
import { PerformanceObserver, constants, performance, type NodeGCPerformanceDetail, type PerformanceEntry } from 'node:perf_hooks'
import { getHeapStatistics } from 'node:v8'
import type { ProcessStatus } from './status/status.js'

/** What V8 counts into its limit for what is young, by default: nothing lasting finds room there. */
const YOUNG_BYTES = 48 * 1024 * 1024

/** How full the heap is. */
export interface Heap {
  /** What was alive after the last full collection, in bytes. */
  readonly live: number
  readonly limit: number
}

let liveBytes = 0
let gcMs = 0
let watching = false

/** Looked at after each full collection, as at any other time it is mostly garbage. */
function watch(): void {
  if (watching) return
  watching = true
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries() as (PerformanceEntry & { readonly detail: NodeGCPerformanceDetail })[]) {
      gcMs += entry.duration
      if (entry.detail.kind === constants.NODE_PERFORMANCE_GC_MAJOR) liveBytes = getHeapStatistics().used_heap_size
    }
  }).observe({ entryTypes: ['gc'] })
}

/** The heap of this process. */
export function processHeap(): Heap {
  watch()
  return { live: liveBytes, limit: getHeapStatistics().heap_size_limit - YOUNG_BYTES }
}

/** Of a container, or another that is limited from outside. */
function residentLimit(): number {
  const limit = process.constrainedMemory()
  return limit > 0 && limit < totalmem() ? limit : 0
}

/** Who is asked what this process does: a simulation answers for it. */
export const thisProcess = {
  /** Collections counted from the first time it is asked for. */
  status(): ProcessStatus {
    const { live, limit } = processHeap()
    return {
      upMs: performance.now(),
      busyMs: performance.eventLoopUtilization().active,
      gcMs,
      heapUsedBytes: getHeapStatistics().used_heap_size,
      heapLiveBytes: live,
      heapLimitBytes: limit,
      residentBytes: process.memoryUsage.rss(),
      residentLimitBytes: residentLimit(),
    }
  },
}

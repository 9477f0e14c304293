import { isOutOfRange, reactionTo } from './error.js'
import { Fresh } from './fresh.js'
import type { LogClient, Position } from './port.js'

/**
 * Whether the log still holds what was read up to positions: the first of which it does not, or undefined. @throws LogError what else it
 * refuses
 */
export async function notShared(log: LogClient, positions: readonly Position[], signal: AbortSignal): Promise<Position | undefined> {
  const open = new Set(positions)
  let wake: () => void = () => {}
  const fresh = new Fresh(positions)
  const reader = log.reader({ isolation: 'read_committed', prefetchBytes: 1, onData: () => wake(), onNews: fresh.tell })
  const onAbort = (): void => wake()
  signal.addEventListener('abort', onAbort)
  try {
    reader.assign(positions)
    while (open.size > 0 && !signal.aborted) {
      const waiting = new Promise<void>((resolve) => (wake = resolve))
      for (const at of fresh.take()) {
        const { topic, partition } = at
        try {
          if (reader.take(topic, partition) !== undefined || reader.end(topic, partition) !== undefined) open.delete(at)
        } catch (error) {
          if (isOutOfRange(error)) return at
          // It is tried again by the reader.
          if (reactionTo(error) === 'fatal') throw error
        }
      }
      if (open.size > 0) await waiting
    }
    return undefined
  } finally {
    signal.removeEventListener('abort', onAbort)
    reader.close()
  }
}

import type { Cluster } from './cluster.js'
import type { Broker } from './fetch-group.js'
import type { Fetch } from './protocol/fetch.js'

/** Whoever closes waits no longer for it. */
const END_MS = 300

/**
 * Tells brokers that fetch sessions are over. They have room for so many (max.incremental.fetch.session.cache.slots, 1000) and would keep
 * these for two minutes, while others go without. Over the connections that answer at once: those of a fetch may be held back. Resolves
 * when they have answered, or were given the time to.
 */
export async function endSessions(cluster: Cluster, brokers: Iterable<Broker>, api: typeof Fetch): Promise<void> {
  const ends: Promise<unknown>[] = []
  for (const { node, first, second } of brokers) {
    for (const { session } of [first, second]) {
      const last = session.last()
      if (last !== undefined) ends.push(end(node, { maxWaitMs: 0, maxBytes: 1, readCommitted: true, ...last }))
    }
  }
  await Promise.all(ends)

  async function end(node: number, request: Parameters<typeof api.encode>[1]): Promise<void> {
    try {
      await cluster.request(cluster.addressOf(node), api, request, END_MS)
    } catch (error) {
      // It forgets them in time.
      cluster.logger.debug({ node, error }, 'a fetch session was not ended')
    }
  }
}

import { silentLogger } from '../../src/record/logger.js'

/** What a producer needs of a cluster, every request of which goes over one lane. */
export function coordinatorCluster<L>(lane: L, protocol: 1 | 2) {
  return {
    requestTimeoutMs: 30_000,
    signal: new AbortController().signal,
    logger: silentLogger,
    lane: () => lane,
    closeLane: () => {},
    open: async () => ({}),
    bestVersion: (_: number, wanted: number[]) => wanted.at(-1),
    transactionProtocol: async () => protocol,
    coordinator: async () => ({ host: 'h', port: 1 }),
    retry: (_: unknown, attempt: () => Promise<unknown>) => attempt(),
  }
}

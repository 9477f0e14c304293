import { errorMessage, MillraceError } from '../record/error.js'
import type { ClusterStatus } from '../cluster/cluster.js'
import { FAMILIES, told } from './families.js'

/** What is used of a registry of prom-client. */
export interface MetricsRegistry {
  readonly contentType: string
  registerMetric(metric: never): void
  metrics(): Promise<string>
}

/** Puts the metrics into a registry, read off one status a scrape. */
export function register(registry: MetricsRegistry, take: () => ClusterStatus): void {
  let taken: ClusterStatus | undefined
  const now = (): ClusterStatus => {
    if (taken === undefined) {
      taken = take()
      // A registry asks all of its metrics in one turn.
      setImmediate(() => (taken = undefined))
    }
    return taken
  }
  for (const family of FAMILIES) {
    const { name, help, type } = family
    const metric = {
      name,
      help,
      type,
      aggregator: 'sum',
      get: async () => ({
        name,
        help,
        type,
        aggregator: 'sum',
        values: told(now().pipelines).flatMap(({ samples }) => samples(family)),
      }),
      /** Nothing is kept here. */
      reset: () => {},
    }
    registry.registerMetric(metric as never)
  }
}

/** @throws MillraceError INVALID_OPTIONS where prom-client is not installed */
export async function newRegistry(): Promise<MetricsRegistry> {
  try {
    const { Registry } = (await import('prom-client')).default
    return new Registry() as MetricsRegistry
  } catch (error) {
    throw new MillraceError(
      'INVALID_OPTIONS',
      `/metrics needs prom-client, which is not installed: npm install prom-client (${errorMessage(error)})`,
      { cause: error },
    )
  }
}

// Average and 95th percentile of the delay of each airport in each hour, from flight records that come out of order.
import { map, type Observable } from 'rxjs'
import { z } from 'zod'
import {
  aggregator,
  decode,
  dropFailed,
  json,
  toTopic,
  tumbling,
  window,
  withTransaction,
  type Cluster,
  type Commit,
  type StreamRecord,
} from 'millrace'

export const Flight = z.object({
  date: z.string().regex(/^\d{4}\/\d\d\/\d\d \d\d:\d\d$/),
  delay: z.number().int().max(300, 'more than five hours late is taken for a mistake'),
  distance: z.number().positive(),
  origin: z.string().length(3),
  destination: z.string().length(3),
})
export type Flight = z.infer<typeof Flight>

/** Flights by minutes of delay: small, exact, and all that a percentile needs. */
const delays = aggregator({
  name: 'delays',
  init: (): Record<string, number> => ({}),
  add(minutes, { value }: StreamRecord<unknown, Flight>) {
    minutes[value.delay] = (minutes[value.delay] ?? 0) + 1
    return minutes
  },
  result(minutes) {
    const sorted = Object.entries(minutes)
      .map(([delay, flights]) => [Number(delay), flights] as const)
      .sort(([a], [b]) => a - b)
    const flights = sorted.reduce((sum, [, n]) => sum + n, 0)
    let left = Math.ceil(flights * 0.95)
    const p95 = sorted.find(([, n]) => (left -= n) <= 0)?.[0]
    return { flights, average: sorted.reduce((sum, [delay, n]) => sum + delay * n, 0) / flights, p95 }
  },
})

export interface DelaysOptions {
  readonly group: string
  readonly input: string
  readonly output: string
  /** Where flights go that come after their hour was closed. */
  readonly late: string
  /** Which member of the group this is. Default 'one'. */
  readonly instanceId?: string
  readonly signal?: AbortSignal
}

export const GRACE_MS = 2 * 3_600_000

export function delaysPipeline(
  cluster: Cluster,
  { group, input, output, late, instanceId = 'one', signal }: DelaysOptions,
): Observable<Commit> {
  return cluster.source({ group, topics: [input], instanceId, sessionTimeout: '6s', ...(signal && { signal }) }).pipe(
    withTransaction(
      (records) =>
        records.pipe(
          decode(Flight),
          dropFailed(),
          window(tumbling('1h'), {
            aggregate: delays,
            grace: GRACE_MS,
            closeWhenIdle: '2s',
            late: (flights) =>
              flights.pipe(
                map(({ record }) => record),
                toTopic({ topic: late, value: json() }),
              ),
          }),
          toTopic({ topic: output, value: json() }),
        ),
      { every: '50ms', maxRecords: 1_000, provision: true },
    ),
  )
}

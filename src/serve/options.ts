import type { IncomingMessage, ServerResponse } from 'node:http'
import { z } from 'zod'
import type { ClusterStatus } from '../cluster/cluster.js'
import type { Duration } from '../record/duration.js'
import { systemClock, type Clock } from '../record/clock.js'
import { functionOption, objectWith, positiveDuration, positiveInteger } from '../runtime/options.js'
import type { StatusView } from '../runtime/status/view.js'
import type { MetricsRegistry } from './metrics.js'

/** What is told of: a cluster has it. */
export interface StatusSource {
  readonly status: StatusView<ClusterStatus>
}

/** A path served beside those of the status. */
export interface StatusRoute {
  /** '/page', or '/page/*' for all below it. */
  readonly path: string
  /** Answered without the token too. Default false. */
  readonly open?: boolean
  /** `path`: of the request, below the prefix. What it throws is answered with 500. */
  handle(req: IncomingMessage, res: ServerResponse, path: string): void | Promise<void>
}

export interface ScaleOptions {
  /** In which time what lies there is to be done. Default '5m'. */
  readonly catchUpWithin?: Duration
  /** Records a second that one member can do. Default: the most it has done while there was more to do. */
  readonly capacity?: number
  /** Default 1. */
  readonly min?: number
  /** Default: as many as there are tasks; more would idle. */
  readonly max?: number
  /** Fewer members are wanted only when fewer were enough for so long. Default '5m'. */
  readonly holdFor?: Duration
}

export interface StatusHandlerOptions {
  /** What '/livez' and the others stand behind: '/ops'. Default ''. Of frameworks that take the part off that they route by, leave it. */
  readonly prefix?: string
  /** Asked for as `Authorization: Bearer <token>` on all paths but the three probes. Default: none is asked for. */
  readonly token?: string
  /** prom-client's registry to put the metrics into and to serve. Default: a new one, made by the first scrape. */
  readonly registry?: MetricsRegistry
  /** A transaction that is open for so long and waits for nothing on purpose is stuck: '/livez' says no. Default '5m'. */
  readonly stuckAfter?: Duration
  readonly scale?: ScaleOptions
  readonly routes?: readonly StatusRoute[]
  /** Default: the system's. */
  readonly clock?: Clock
}

export const handlerShape = {
  prefix: z
    .string()
    .regex(/^(\/[\w.-]+)*$/, { message: "expected a path such as '/ops'" })
    .default(''),
  token: z.string().min(8, { message: 'a token has at least 8 characters' }).optional(),
  registry: objectWith<MetricsRegistry>(['registerMetric', 'metrics'], 'a registry of prom-client').optional(),
  stuckAfter: positiveDuration.default(300_000),
  scale: z
    .strictObject({
      catchUpWithin: positiveDuration.default(300_000),
      capacity: z.number().positive().optional(),
      min: z.number().int().min(0).default(1),
      max: positiveInteger.optional(),
      holdFor: positiveDuration.default(300_000),
    })
    .default({ catchUpWithin: 300_000, min: 1, holdFor: 300_000 }),
  routes: z
    .array(
      z.strictObject({
        path: z.string().regex(/^\//, { message: "expected a path such as '/page'" }),
        open: z.boolean().default(false),
        handle: functionOption<StatusRoute['handle']>('a function of the request and the response'),
      }),
    )
    .default([]),
  clock: objectWith<Clock>(['now', 'monotonic', 'after'], 'a clock').default(systemClock),
}

export const handlerSchema = z.strictObject(handlerShape)
export type HandlerSettings = z.output<typeof handlerSchema>

export const sourceSchema = z.tuple([
  z.custom<StatusSource>((given) => typeof (given as Partial<StatusSource> | undefined)?.status?.snapshot === 'function', {
    message: 'expected a cluster of kafka(...) or embedded()',
  }),
])

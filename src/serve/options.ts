import type { IncomingMessage, ServerResponse } from 'node:http'
import { z } from 'zod'
import type { Cluster, ClusterStatus } from '../cluster/cluster.js'
import type { ClusterControl } from '../cluster/control.js'
import type { Duration } from '../record/duration.js'
import { systemClock, type Clock } from '../record/clock.js'
import { functionOption, objectWith, positiveDuration, positiveInteger } from '../runtime/options.js'
import type { StatusView } from '../runtime/status/view.js'
import type { MetricsRegistry } from './metrics.js'

/** What is told of: a cluster has it. */
export interface StatusSource {
  readonly status: StatusView<ClusterStatus>
  /** For `commands`. */
  readonly control?: ClusterControl
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
  /**
   * The live page, at '/' below the prefix. Default: `serveStatus` has it, `statusHandler` has not, since '/' of a server that is there may
   * be somebody else's.
   */
  readonly page?: boolean
  /**
   * Lets the page list the dead letters of this cluster: where they lie, when, at which step and with what class of error they failed.
   * Needs a `token`. `content`: also keys, values, headers and messages, which come out of records; default false.
   */
  readonly deadLetters?: { readonly cluster: Cluster; readonly content?: boolean }
  /**
   * Lets whoever has the token do things from the page: pause and resume a task, stop in order, close a breaker, and, with `deadLetters`,
   * redrive. Needs a `token` and a cluster as source. Default false.
   */
  readonly commands?: boolean
  /**
   * The page asks the other processes of its groups too, by the `address` of their sources, where their status is served with the same
   * `token`: 'host:port' or 'http://host:port', or what `url` makes of it. Only addresses that the group tells of are asked. Default false.
   */
  readonly peers?: boolean | { readonly url: (address: string) => string | undefined }
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
  page: z.boolean().optional(),
  deadLetters: z
    .strictObject({
      cluster: objectWith<Cluster>(['source', 'read'], 'a cluster of kafka(...) or embedded()'),
      content: z.boolean().default(false),
    })
    .optional(),
  commands: z.boolean().default(false),
  peers: z
    .union([z.boolean(), z.strictObject({ url: functionOption<(address: string) => string | undefined>('a function of the address') })], {
      message: 'expected true, false or { url }',
    })
    .default(false),
  clock: objectWith<Clock>(['now', 'monotonic', 'after'], 'a clock').default(systemClock),
}

/** What reads records, or does something, asks who is there. */
export function withToken<S extends z.ZodType<{ token?: string | undefined; deadLetters?: unknown; commands: boolean }>>(schema: S): S {
  return schema
    .refine(({ token, deadLetters }) => token !== undefined || deadLetters === undefined, {
      path: ['deadLetters'],
      message: 'needs a token: else whoever reaches the port sees them',
    })
    .refine(({ token, commands }) => token !== undefined || !commands, {
      path: ['commands'],
      message: 'needs a token: else whoever reaches the port gives orders',
    })
}

export const handlerSchema = withToken(z.strictObject(handlerShape))
export type HandlerSettings = z.output<typeof handlerSchema>

export const sourceSchema = z.tuple([
  z.custom<StatusSource>((given) => typeof (given as Partial<StatusSource> | undefined)?.status?.snapshot === 'function', {
    message: 'expected a cluster of kafka(...) or embedded()',
  }),
])

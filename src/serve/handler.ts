import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { MillraceError } from '../record/error.js'
import { parseOptions } from '../runtime/options.js'
import type { ClusterStatus } from '../cluster/cluster.js'
import type { PipelineStatus } from '../runtime/status/status.js'
import { told } from './families.js'
import { liveness, readiness, startup, type Health } from './health.js'
import { newRegistry, register, type MetricsRegistry } from './metrics.js'
import { handlerSchema, sourceSchema, type HandlerSettings, type StatusHandlerOptions, type StatusSource } from './options.js'
import { isFromPeer, PEER_HEADER, Peers, urlOf } from './page/peers.js'
import { pageRoutes } from './page/routes.js'
import { Scaler } from './scaler.js'

/** A request handler of node:http, which all frameworks take in one way or another. `next`: called for what is not served here. */
export type StatusHandler = (req: IncomingMessage, res: ServerResponse, next?: () => void) => void

type Answer = (req: IncomingMessage, res: ServerResponse, path: string, known: boolean) => void | Promise<void>

/**
 * Answers '/livez', '/readyz', '/startupz', '/metrics', '/status' and '/scale' on a server that is there already: Express
 * (`app.use('/ops', handler)`), Nest the same, Fastify (`reply.hijack(); handler(req.raw, reply.raw)`), Hono on Node
 * (`handler(c.env.incoming, c.env.outgoing)`). For one of its own see `serveStatus`.
 *
 * Nothing it serves comes out of records unless `deadLetters.content` is set, and nothing is a secret. Memory: none to speak of; a status
 * is made for each request.
 *
 * @throws MillraceError INVALID_OPTIONS
 * @example
 * app.use('/ops', statusHandler(cluster, { token: process.env.OPS_TOKEN }))
 */
export function statusHandler(source: StatusSource, options: StatusHandlerOptions = {}): StatusHandler {
  parseOptions(sourceSchema, [source], 'statusHandler')
  return handlerOf(source, parseOptions(handlerSchema, options, 'statusHandler'))
}

export function handlerOf(source: StatusSource, settings: HandlerSettings): StatusHandler {
  const { prefix, token, stuckAfter, scale, routes, clock } = settings
  if (settings.commands && source.control === undefined)
    throw new MillraceError('INVALID_OPTIONS', 'commands: the source of the status has no `control`; give the cluster itself')
  const pipelines = (): readonly PipelineStatus[] => told(source.status.snapshot().pipelines).map(({ status }) => status)
  const scalers = new Map<string, Scaler>()
  let registry: Promise<MetricsRegistry> | undefined
  const registered = (): Promise<MetricsRegistry> =>
    (registry ??= Promise.resolve(settings.registry ?? newRegistry()).then((made) => {
      register(made, () => source.status.snapshot())
      return made
    }))
  // A registry that is scraped elsewhere too has the metrics from the beginning.
  if (settings.registry !== undefined) void registered()

  const probe =
    (look: () => Health): Answer =>
    (_req, res, _path, known) => {
      const { ok, why } = look()
      send(res, ok ? 200 : 503, known ? { ok, why } : { ok })
    }
  const answers: Record<string, { readonly open: boolean; readonly answer: Answer }> = {
    '/livez': { open: true, answer: probe(() => liveness(pipelines(), stuckAfter)) },
    '/readyz': { open: true, answer: probe(() => readiness(pipelines())) },
    '/startupz': { open: true, answer: probe(() => startup(pipelines())) },
    '/status': { open: false, answer: (_req, res) => send(res, 200, source.status.snapshot()) },
    '/metrics': {
      open: false,
      answer: async (_req, res) => {
        const made = await registered()
        const text = await made.metrics()
        res.writeHead(200, { 'content-type': made.contentType, 'cache-control': 'no-store' }).end(text)
      },
    },
    '/scale': {
      open: false,
      answer: (req, res) => {
        const group = new URL(req.url ?? '', 'http://localhost').searchParams.get('group')
        const all = pipelines().filter((status) => group === null || status.group === group)
        const [status] = all
        if (status === undefined || new Set(all.map((one) => one.group)).size > 1)
          return send(res, 404, { error: 'name one group that runs here: /scale?group=...' })
        const scaler = scalers.get(status.group) ?? new Scaler(scale, clock)
        scalers.set(status.group, scaler)
        send(res, 200, scaler.advise(status))
      },
    },
  }
  const page = settings.page === true ? pageOf(source, settings) : {}
  const find = (path: string, method: string): { readonly open: boolean; readonly answer: Answer } | undefined => {
    for (const { path: of, open, handle } of routes) {
      const below = of.endsWith('/*') ? of.slice(0, -1) : undefined
      if (path === of || (below !== undefined && path.startsWith(below))) return { open, answer: (req, res) => handle(req, res, path) }
    }
    const ofPage = method === 'POST' ? `POST ${path}` : path
    if (Object.hasOwn(page, ofPage)) return page[ofPage]
    return Object.hasOwn(answers, path) ? answers[path] : undefined
  }

  return (req, res, next) => {
    const { pathname } = new URL(req.url ?? '', 'http://localhost')
    if (settings.page === true && isWithoutSlash(req, pathname, prefix))
      return void res.writeHead(302, { location: `${lastOf(req)}/` }).end()
    const found = pathname.startsWith(`${prefix}/`) ? find(pathname.slice(prefix.length), req.method ?? 'GET') : undefined
    if (found === undefined) return next === undefined ? send(res, 404, { error: 'not found' }) : next()
    const known = token === undefined || isGiven(req, token)
    const peer =
      token !== undefined &&
      pathname === `${prefix}/status` &&
      isFromPeer(req.headers[PEER_HEADER], token, source.status.snapshot(), clock.now())
    if (!found.open && !known && !peer) {
      res.setHeader('www-authenticate', 'Bearer')
      return send(res, 401, { error: 'a bearer token is asked for' })
    }
    void (async () => {
      try {
        await found.answer(req, res, pathname.slice(prefix.length), known)
      } catch (error) {
        const said = error instanceof MillraceError && error.code === 'INVALID_OPTIONS' ? error.message : FAILED
        if (res.headersSent) res.end()
        // What the page asks for is wrong in the request; elsewhere something is missing here.
        else send(res, pathname.startsWith(`${prefix}/page/`) && said !== FAILED ? 400 : 500, { error: said })
      }
    })()
  }
}

const FAILED = 'the request failed'

function pageOf(source: StatusSource, settings: HandlerSettings): ReturnType<typeof pageRoutes> {
  const { peers, token, prefix, clock, deadLetters, commands } = settings
  const take = (): ClusterStatus => {
    const { at, pipelines } = source.status.snapshot()
    return { at, pipelines: told(pipelines).map(({ status }) => status) }
  }
  const url = typeof peers === 'object' ? peers.url : (address: string) => urlOf(address, prefix)
  const asked = peers === false ? undefined : new Peers({ token, clock, url })
  return pageRoutes(take, asked, { deadLetters, control: commands ? source.control : undefined })
}

/** The page asks for its files beside itself, so its own address has to end in a slash; frameworks take off what they route by. */
function isWithoutSlash(req: IncomingMessage, pathname: string, prefix: string): boolean {
  if (pathname === prefix) return true
  return pathname === `${prefix}/` && !originalOf(req).endsWith('/')
}

function originalOf(req: IncomingMessage): string {
  const { originalUrl = req.url } = req as { readonly originalUrl?: string }
  return (originalUrl ?? '/').split(/[?#]/)[0] as string
}

function lastOf(req: IncomingMessage): string {
  return originalOf(req).split('/').at(-1) as string
}

/** Compared in the same time whatever is given: hashes have one length. */
function isGiven(req: IncomingMessage, token: string): boolean {
  const given = /^Bearer (.+)$/i.exec(req.headers.authorization ?? '')?.[1] ?? ''
  const hash = (text: string): Buffer => createHash('sha256').update(text).digest()
  return timingSafeEqual(hash(given), hash(token))
}

function send(res: ServerResponse, status: number, body: unknown): void {
  const headers = { 'content-type': 'application/json; charset=utf-8', 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' }
  res.writeHead(status, headers).end(JSON.stringify(body))
}

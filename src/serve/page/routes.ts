import type { IncomingMessage, ServerResponse } from 'node:http'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import { z } from 'zod'
import type { ClusterControl } from '../../cluster/control.js'
import type { ClusterStatus } from '../../cluster/cluster.js'
import { MillraceError } from '../../record/error.js'
import { parseOptions } from '../../runtime/options.js'
import { acceptsGzip, sendAsset } from './assets.js'
import { LetterDesk } from './letters.js'
import type { RedriveFilter } from '../../redrive/options.js'
import type { Peers } from './peers.js'
import type { PageState } from './state.js'
import type { Cluster } from '../../cluster/cluster.js'

/** What a path of the page answers: an object goes out as JSON. */
export interface PageRoute {
  readonly open: boolean
  answer(req: IncomingMessage, res: ServerResponse): Promise<void>
}

export interface PageSettings {
  readonly deadLetters: { readonly cluster: Cluster; readonly content: boolean } | undefined
  /** Where commands are allowed. */
  readonly control: ClusterControl | undefined
}

const MOST_BODY = 64 * 1024
const WORTH_PACKING = 4 * 1024
const zipped = promisify(gzip)

const partition = z.number().int().min(0)
const at = z.strictObject({ group: z.string().min(1), partition })
const step = z.strictObject({ group: z.string().min(1), step: z.string() })
const member = z.strictObject({ group: z.string().min(1), memberId: z.string().optional() })
const filter = z.strictObject({
  error: z.string().min(1).optional(),
  step: z.string().min(1).optional(),
  key: z.string().min(1).optional(),
  at: z.array(z.strictObject({ partition, offset: z.number().int().min(0) })).optional(),
})
const order = z.strictObject({ from: z.string().min(1), filter, dryRun: z.boolean() })
const search = z.strictObject({
  topic: z.string().min(1),
  error: z.string().min(1).optional(),
  step: z.string().min(1).optional(),
  key: z.string().min(1).optional(),
  partition: z.coerce.number().int().min(0).optional(),
  offset: z.coerce.number().int().min(0).optional(),
})

/** Paths of the page, below the prefix, a command with its method before it; what is not allowed is not there. */
export function pageRoutes(take: () => ClusterStatus, peers: Peers | undefined, settings: PageSettings): Record<string, PageRoute> {
  const { deadLetters, control } = settings
  const desk = deadLetters && new LetterDesk(deadLetters.cluster, deadLetters.content)
  const can = { letters: desk !== undefined, content: deadLetters?.content === true, commands: control !== undefined }
  const asset = (name: string): PageRoute => ({ open: true, answer: (req, res) => sendAsset(req, res, name) })
  const get = (look: (query: URLSearchParams) => Promise<object>): PageRoute => ({
    open: false,
    answer: async (req, res) => sendJson(req, res, await look(new URL(req.url ?? '', 'http://localhost').searchParams)),
  })
  const post = <S extends z.ZodType>(schema: S, act: (body: z.output<S>) => object): PageRoute => ({
    open: false,
    answer: async (req, res) => sendJson(req, res, act(parseOptions(schema, await bodyOf(req), 'the page'))),
  })
  /** Only topics that pipelines of this process write their dead letters to. */
  const known = (topic: string): string => {
    if (take().pipelines.some(({ deadLetters: { byTopic } }) => Object.hasOwn(byTopic, topic))) return topic
    throw new MillraceError('INVALID_OPTIONS', `'${topic}' is no dead-letter topic of a pipeline here`)
  }
  /** What may not be seen may not be asked for bit by bit either. */
  const allowed = (given: z.output<typeof filter>): RedriveFilter => {
    if (can.content || (given.error === undefined && given.key === undefined)) return given as RedriveFilter
    throw new MillraceError('INVALID_OPTIONS', 'filters by key and text need deadLetters.content')
  }
  const done = (what: string, changed: boolean): object => {
    if (changed) return { done: true }
    throw new MillraceError('INVALID_OPTIONS', `there is no such ${what} in this process now`)
  }
  return {
    '/': asset('index.html'),
    '/page.js': asset('page.js'),
    '/page.css': asset('page.css'),
    '/icon.svg': asset('icon.svg'),
    '/page/state': get(async () => {
      const here = take()
      const others = peers === undefined ? [] : await peers.look(here)
      return { here, others, can } satisfies PageState
    }),
    ...(desk && {
      '/page/letters': get(async (query) => {
        const { topic, partition: of, offset, ...given } = parseOptions(search, Object.fromEntries(query), 'the page')
        const at = of === undefined || offset === undefined ? {} : { at: [{ partition: of, offset }] }
        return desk.list(known(topic), { ...allowed(given), ...at })
      }),
    }),
    ...(control && {
      'POST /page/pause': post(at, (body) => done('task', control.pause(body))),
      'POST /page/resume': post(at, (body) => done('task', control.resume(body))),
      'POST /page/stop': post(member, (body) => done('member', control.stop(body))),
      'POST /page/close-breaker': post(step, (body) => done('open breaker', control.closeBreaker(body))),
    }),
    ...(control &&
      desk && {
        '/page/redrive': get(() => Promise.resolve(desk.state)),
        'POST /page/redrive': post(order, ({ from, filter: given, dryRun }) => desk.begin(known(from), allowed(given), dryRun)),
      }),
  }
}

async function sendJson(req: IncomingMessage, res: ServerResponse, body: object): Promise<void> {
  const text = JSON.stringify(body)
  const packed = text.length > WORTH_PACKING && acceptsGzip(req)
  const content = packed ? await zipped(text) : Buffer.from(text)
  res
    .writeHead(200, {
      'content-type': 'application/json; charset=utf-8',
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
      ...(packed && { 'content-encoding': 'gzip' }),
    })
    .end(content)
}

/** @throws MillraceError INVALID_OPTIONS; frameworks may have read the body already */
async function bodyOf(req: IncomingMessage & { readonly body?: unknown }): Promise<unknown> {
  if (typeof req.body === 'object' && req.body !== null) return req.body
  if (!/^application\/json\b/.test(req.headers['content-type'] ?? ''))
    throw new MillraceError('INVALID_OPTIONS', 'expected a body of application/json')
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of req as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > MOST_BODY) throw new MillraceError('INVALID_OPTIONS', `the body has more than ${MOST_BODY} bytes`)
    chunks.push(chunk)
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8'))
  } catch {
    throw new MillraceError('INVALID_OPTIONS', 'the body is no JSON')
  }
}

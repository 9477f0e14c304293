import { request, createServer, type IncomingMessage, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { mergeMap, NEVER, type Observable } from 'rxjs'
import { Registry, Gauge } from 'prom-client'
import {
  attempt,
  deadLetter,
  serveStatus,
  statusHandler,
  toTopic,
  withTransaction,
  type RecordStream,
  type ServeStatusOptions,
  type StatusHandlerOptions,
  type StatusServer,
} from '../../src/index.js'
import { Scaler } from '../../src/serve/scaler.js'
import { createTestKit, VirtualClock, type TestKit } from '../../src/testing/index.js'
import type { PipelineStatus } from '../../src/runtime/status/status.js'

const SECRET = 'customer-4711'
const TOKEN = 'a-long-enough-token'

describe('serveStatus', () => {
  let kit: TestKit
  let server: StatusServer | undefined
  let own: Server | undefined

  beforeEach(async () => {
    kit = await createTestKit({ topics: { in: { partitions: 2 }, out: {}, dead: {} }, start: 1_000_000 })
  })
  afterEach(async () => {
    await server?.close()
    own?.close()
    server = own = undefined
    await kit.stop()
  })

  const serve = async (options: ServeStatusOptions = {}): Promise<StatusServer> =>
    (server = await serveStatus(kit.cluster, { port: 0, clock: kit.clock, ...options }))
  const run = (project: (records: RecordStream) => Observable<unknown>): ReturnType<TestKit['run']> =>
    kit.run(kit.cluster.source({ group: 'g', topics: ['in'] }).pipe(withTransaction(project, { every: '100ms', provision: true })))
  const copy = (records: RecordStream): Observable<unknown> => records.pipe(toTopic({ topic: 'out' }))
  const ask = async (path: string, token?: string, base = server?.url): Promise<{ status: number; body: string }> => {
    const answer = await new Promise<IncomingMessage>((resolve, reject) => {
      const headers = token === undefined ? {} : { authorization: `Bearer ${token}` }
      request(`${base}${path}`, { headers, agent: false }, resolve).on('error', reject).end()
    })
    let body = ''
    for await (const chunk of answer) body += String(chunk)
    return { status: answer.statusCode as number, body }
  }
  const statusOfPaths = async (...paths: string[]): Promise<number[]> => Promise.all(paths.map(async (path) => (await ask(path)).status))

  it('probes: started and ready once it is a member, alive unless it failed or is stuck', async () => {
    await serve({ stuckAfter: '2m' })
    expect(server?.host).toBe('127.0.0.1')
    expect(await statusOfPaths('/livez', '/readyz', '/startupz')).toEqual([200, 503, 503])
    run((records) => records.pipe(mergeMap(() => NEVER)))
    await kit.advance('1s')
    expect(await statusOfPaths('/livez', '/readyz', '/startupz')).toEqual([200, 200, 200])
    await kit.feed('in', [{ key: 'k', value: 'a' }])
    await kit.advance('40s')
    expect(await statusOfPaths('/livez', '/readyz')).toEqual([200, 200])
    // Held for longer than stallAfter, the slice is given up, run again, and the pipeline ends.
    await kit.advance('30m').catch(() => {})
    expect(await statusOfPaths('/livez', '/readyz', '/startupz')).toEqual([503, 503, 200])
    expect(JSON.parse((await ask('/livez')).body)).toMatchObject({ ok: false, why: [expect.stringMatching(/^g: failed/)] })
  })

  it('is told stuck of a transaction that waits for nothing, before the watchdog gives it up', async () => {
    await serve({ stuckAfter: '30s' })
    run((records) => records.pipe(mergeMap(() => NEVER)))
    await kit.feed('in', [{ key: 'k', value: 'a' }])
    await kit.advance('40s')
    const { status, body } = await ask('/livez')
    expect([status, body]).toEqual([503, expect.stringContaining('held by operator 1 of 1 of the pipe')])
    await kit.advance('30m').catch(() => {})
  })

  it('asks for the token on all but the probes, which then say no more than yes or no', async () => {
    await serve({ token: TOKEN })
    run(copy)
    await kit.advance('1s')
    const paths = ['/status', '/metrics', '/scale']
    expect(await statusOfPaths(...paths)).toEqual([401, 401, 401])
    expect((await ask('/status', `${TOKEN}x`)).status).toBe(401)
    expect((await ask('/status', '')).status).toBe(401)
    expect(await Promise.all(paths.map(async (path) => (await ask(path, TOKEN)).status))).toEqual([200, 200, 200])
    expect((await ask('/readyz')).body).toBe('{"ok":true}')
    expect((await ask('/readyz', TOKEN)).body).toBe('{"ok":true,"why":[]}')
  })

  it('status and metrics hold nothing out of the records', async () => {
    await serve()
    run((records) =>
      records.pipe(
        attempt((record) => {
          if (String(record.value).startsWith(SECRET)) throw new Error(`refused ${String(record.value)}`)
        }),
        deadLetter({ topic: 'dead' }),
        toTopic({ topic: 'out' }),
      ),
    )
    await kit.feed(
      'in',
      [SECRET, 'b', 'c'].map((value) => ({ key: SECRET, value, headers: { h: SECRET } })),
    )
    await kit.advance('5s')
    const status = await ask('/status')
    expect(JSON.parse(status.body)).toMatchObject({ pipelines: [{ group: 'g', totals: { records: 3, failed: 1 } }] })
    const metrics = await ask('/metrics')
    expect(metrics.body).toContain('millrace_records_total{group="g",outcome="processed"} 2')
    expect(metrics.body).toContain('millrace_dead_letters_total{group="g",topic="dead"} 1')
    expect(metrics.body).toContain('millrace_commit_duration_seconds_bucket{group="g",le="+Inf"} 1')
    expect(status.body + metrics.body).not.toContain(SECRET)
  })

  it("goes into the user's registry, one status a scrape; a pipeline that runs again and a second member do not collide", async () => {
    const registry = new Registry()
    registry.registerMetric(new Gauge({ name: 'mine', help: 'of the user', registers: [] }))
    await serve({ registry })
    const first = run(copy)
    await kit.advance('1s')
    await first.stop()
    run(copy)
    run(copy)
    await kit.advance('10s')
    const look = vi.spyOn(kit.cluster.status, 'snapshot')
    const text = await registry.metrics()
    expect(look.mock.calls.length).toBe(1)
    look.mockRestore()
    expect(text).toContain('mine 0')
    expect(text.match(/^millrace_pipeline_state\{.*state="running"\} 1$/gm)).toHaveLength(2)
    const series = text
      .split('\n')
      .filter((line) => line.startsWith('millrace_'))
      .map((line) => line.slice(0, line.lastIndexOf(' ')))
    expect(new Set(series).size).toBe(series.length)
  })

  it('other paths: routes of others, open or not, what they throw, and none', async () => {
    await serve({
      token: TOKEN,
      prefix: '/ops',
      routes: [
        { path: '/page/*', open: true, handle: (_req, res, path) => void res.end(`page ${path}`) },
        { path: '/closed', handle: (_req, res) => void res.end('closed') },
        { path: '/throws', open: true, handle: () => Promise.reject(new Error(SECRET)) },
      ],
    })
    expect(await ask('/page/app.js')).toEqual({ status: 200, body: 'page /page/app.js' })
    expect(await statusOfPaths('/closed', '/throws', '/nothing', '/constructor')).toEqual([401, 500, 404, 404])
    expect((await ask('/throws')).body).not.toContain(SECRET)
    expect((await ask('/closed', TOKEN)).body).toBe('closed')
  })

  it('stands in the server of somebody else, who is asked for what is not its own', async () => {
    const handler = statusHandler(kit.cluster, { prefix: '/ops' })
    own = createServer((req, res) => handler(req, res, () => res.end('theirs')))
    await new Promise<void>((resolve) => own?.listen(0, '127.0.0.1', resolve))
    const base = `http://127.0.0.1:${(own.address() as AddressInfo).port}`
    expect((await ask('/ops/status', undefined, base)).status).toBe(200)
    expect((await ask('/other', undefined, base)).body).toBe('theirs')
  })

  it('refuses wrong options by name, and a port that is taken', async () => {
    await serve()
    await expect(serveStatus(kit.cluster, { port: server?.port as number })).rejects.toThrow(/cannot listen on 127\.0\.0\.1/)
    await expect(serveStatus(kit.cluster, { token: 'short' })).rejects.toThrow(/token: a token has at least 8 characters/)
    expect(() => statusHandler(kit.cluster, { prefix: 'ops' } as StatusHandlerOptions)).toThrow(/prefix: expected a path/)
    expect(() => statusHandler({} as never)).toThrow(/expected a cluster/)
  })

  describe('scale', () => {
    const clock = new VirtualClock()
    const at = (lag: number, rate: number, records: number): PipelineStatus =>
      ({
        group: 'g',
        tasks: [{}, {}],
        taskCount: 8,
        lag: { records: lag, ms: 0 },
        rates: { records: rate, outputs: 0, commits: 0 },
        totals: { records },
      }) as unknown as PipelineStatus

    it('more at once, fewer only after a while, never beyond the tasks', async () => {
      const scaler = new Scaler({ catchUpWithin: 60_000, capacity: 100, min: 1, max: undefined, holdFor: 300_000 }, clock)
      expect(scaler.advise(at(0, 50, 0))).toMatchObject({ members: 2, arriving: 200, lag: 0 })
      await clock.advance('30s')
      // 50 a second were done, and 1,500 more came: 100 a second arrive in this quarter of the group.
      expect(scaler.advise(at(1_500, 50, 1_500))).toMatchObject({ members: 5, arriving: 400, lag: 6_000 })
      await clock.advance('30s')
      expect(scaler.advise(at(100_000, 50, 3_000)).members).toBe(8)
      await clock.advance('30s')
      expect(scaler.advise(at(0, 10, 103_000)).members).toBe(8)
      await clock.advance('200s')
      expect(scaler.advise(at(0, 10, 103_000)).members).toBe(8)
      await clock.advance('200s')
      expect(scaler.advise(at(0, 10, 103_000)).members).toBe(1)
    })

    it('knows what a member can from what it has done while more was to do; before that it advises what there is', () => {
      const scaler = new Scaler({ catchUpWithin: 60_000, min: 1, holdFor: 1 }, clock)
      expect(scaler.advise(at(0, 500, 0))).toMatchObject({ members: 4, capacity: undefined })
      expect(scaler.advise(at(10, 200, 0))).toMatchObject({ capacity: 200 })
    })

    it('is one number of one group', async () => {
      await serve()
      expect((await ask('/scale')).status).toBe(404)
      run(copy)
      await kit.advance('1s')
      expect(JSON.parse((await ask('/scale')).body)).toMatchObject({ group: 'g', members: 1 })
      expect((await ask('/scale?group=other')).status).toBe(404)
    })
  })
})

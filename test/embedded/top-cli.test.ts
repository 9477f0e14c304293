import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { run } from '../../src/cli/run.js'
import { embedded, serveStatus, silentLogger, toTopic, withTransaction, type Cluster, type StatusServer } from '../../src/index.js'
import { createEmbeddedBroker, type EmbeddedBroker } from '../../src/testing/index.js'
import { numbers } from '../support/pipelines.js'
import { until } from '../support/until.js'

describe('millrace top', () => {
  let broker: EmbeddedBroker
  let cluster: Cluster
  let server: StatusServer

  beforeEach(async () => {
    broker = createEmbeddedBroker()
    cluster = embedded({ broker, logger: silentLogger })
    await cluster.createTopics(['in', 'out'].map((topic) => ({ topic, partitions: 2 })))
    server = await serveStatus(cluster, { port: 0 })
    cluster
      .source({ group: 'copy', topics: ['in'] })
      .pipe(withTransaction((records) => records.pipe(toTopic({ topic: 'out' })), { every: 1 }))
      .subscribe()
    await cluster.produce({ topic: 'in', records: numbers(20) })
    await until(() => {
      const [status] = cluster.status.snapshot().pipelines
      return status?.totals.records === 20 && status.lag.records === 0
    })
  })
  afterEach(async () => {
    await server.close()
    await cluster.close()
  })

  /** Ends it once it has looked so often. */
  async function cli(
    args: readonly string[],
    { looks = 1, terminal = false } = {},
  ): Promise<{ code: number; out: string[]; error: string }> {
    const out: string[] = []
    let error = ''
    const stop = new AbortController()
    const code = await run(['top', ...args], {
      out: (text) => {
        if (out.push(text) === looks) stop.abort()
      },
      error: (text) => (error += text),
      interactive: false,
      terminal,
      env: {},
      signal: () => stop.signal,
      connect: () => embedded({ broker, logger: silentLogger }),
    })
    return { code, out, error }
  }

  it('shows lag, rate and state of each process and its tasks, again and again, line by line', async () => {
    const { code, out } = await cli(['--status', server.url, '--every', '0.01'], { looks: 3 })
    expect([code, out.length]).toEqual([0, 3])
    const text = out[2] as string
    expect(text).toMatch(/^GROUP +PROCESS +STATE +TASKS +LAG +BEHIND +IN\/S +OUT\/S +COMMITS\/S +MOSTLY$/m)
    expect(text).toMatch(/^copy +127\.0\.0\.1:\d+ +running +2 +0 +0\.0s +\d/m)
    expect(text.match(/^copy +127\.0\.0\.1:\d+ +[01] +running +0 +0\.0s$/gm)).toHaveLength(2)
    expect(text).not.toContain('\u001b')
    expect((await cli(['--status', server.url, '--rows', '1'])).out[0]?.match(/^copy/gm)).toHaveLength(2)
  })

  it('is written over on a terminal', async () => {
    const { out } = await cli(['--status', server.url, '--every', '0.01'], { looks: 2, terminal: true })
    for (const text of out) {
      expect(text.startsWith('\u001b[H')).toBe(true)
      expect(text.endsWith('\u001b[J')).toBe(true)
    }
  })

  it('looks once for machines, at several processes or at one group', async () => {
    const seen = async (...args: string[]): Promise<unknown> => JSON.parse((await cli([...args, '--json'])).out.join('')) as unknown
    expect(await seen('--status', server.url, '--status', `${server.url}/status`)).toMatchObject([
      { url: server.url, pipelines: [{ group: 'copy', state: 'running' }] },
      { url: server.url, pipelines: [{ group: 'copy' }] },
    ])
    expect(await seen('--status', server.url, '--group', 'other')).toEqual([{ url: server.url, pipelines: [] }])
  })

  it('asks the brokers how far a group is behind, where no process is named', async () => {
    const args = ['--brokers', 'b:1', '--group', 'copy', '--topics', 'in,out']
    const { code, out } = await cli(args)
    expect([code, out[0]?.split('\n')[1]]).toEqual([0, 'copy: 0 records behind'])
    expect(out[0]).toMatch(/^in +[01] +\d+ +\d+ +0$/m)
    // The group does not read it.
    expect(out[0]).toMatch(/^out +[01] +- +\d+ +-$/m)
    expect(JSON.parse((await cli([...args, '--json'])).out.join(''))).toMatchObject({ group: 'copy', lag: 0 })
  })

  it('says what is wrong with how it was called, and who does not answer', async () => {
    expect(await cli([])).toMatchObject({ code: 2, error: expect.stringContaining('--status: name') as string })
    expect(await cli(['--brokers', 'b:1', '--group', 'copy'])).toMatchObject({ code: 2 })
    expect(await cli(['--status', server.url, '--every', '0'])).toMatchObject({ code: 2 })
    await server.close()
    expect(await cli(['--status', server.url])).toMatchObject({ code: 1, error: expect.stringContaining('does not answer') as string })
    expect((await cli(['--help'])).out.join('')).toContain('--topics')
  })
})

import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { run } from '../../src/cli/run.js'
import {
  embedded,
  serveStatus,
  silentLogger,
  toTopic,
  withTransaction,
  type Analysis,
  type Cluster,
  type StatusServer,
} from '../../src/index.js'
import { createEmbeddedBroker } from '../../src/testing/index.js'
import { until } from '../support/until.js'

describe('millrace analyze', () => {
  let cluster: Cluster
  let server: StatusServer

  beforeEach(async () => {
    cluster = embedded({ broker: createEmbeddedBroker(), logger: silentLogger })
    await cluster.createTopics(['in', 'out'].map((topic) => ({ topic, partitions: 2 })))
    server = await serveStatus(cluster, { port: 0, token: 'long-enough' })
  })
  afterEach(async () => {
    await server.close()
    await cluster.close()
  })

  async function cli(args: readonly string[], env: Record<string, string> = {}): Promise<{ code: number; out: string; error: string }> {
    let [out, error] = ['', '']
    const code = await run(args, {
      out: (text) => (out += text),
      error: (text) => (error += text),
      interactive: false,
      env,
      signal: () => new AbortController().signal,
      connect: () => cluster,
    })
    return { code, out, error }
  }

  it('tells of each group what bounds it, as text and as JSON', async () => {
    cluster
      .source({ group: 'copy', topics: ['in'] })
      .pipe(withTransaction((records) => records.pipe(toTopic({ topic: 'out' }))))
      .subscribe()
    await until(() => cluster.status.snapshot().pipelines[0]?.state === 'running')
    const args = ['analyze', '--status', server.url, '--seconds', '0.05']
    const { code, out } = await cli([...args, '--token', 'long-enough'])
    expect([code, out.split('\n')[0]]).toEqual([0, 'copy: bound by nothing (1 member, 0 records/s, lag 0 -> 0)'])
    expect(out).toContain('it keeps up')
    const json = await cli([...args, '--json'], { MILLRACE_TOKEN: 'long-enough' })
    expect(JSON.parse(json.out) as Analysis[]).toMatchObject([{ group: 'copy', bound: 'nothing', keepsUp: true, members: 1 }])
    expect(await cli([...args, '--token', 'long-enough', '--group', 'other'])).toMatchObject({ code: 1, error: 'no pipeline runs there\n' })
  })

  it('says what is wrong with how it was called, and who does not answer', async () => {
    expect(await cli(['analyze'])).toMatchObject({ code: 2, error: expect.stringContaining('--status: name') as string })
    expect(await cli(['analyze', '--status', 'host'])).toMatchObject({
      code: 2,
      error: expect.stringContaining('Try: millrace analyze') as string,
    })
    expect(await cli(['analyze', '--status', server.url, '--seconds', '0'])).toMatchObject({ code: 2 })
    expect(await cli(['analyze', '--status', server.url])).toMatchObject({
      code: 1,
      error: expect.stringContaining('asks for a token') as string,
    })
    const { url } = server
    await server.close()
    expect(await cli(['analyze', '--status', url])).toMatchObject({ code: 1, error: expect.stringContaining('does not answer') as string })
    expect((await cli(['analyze', '--help'])).out).toContain('--seconds')
  })
})

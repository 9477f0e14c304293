import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { attempt, circuitBreaker, serveStatus, toTopic, withTransaction, type ClusterStatus, type StatusServer } from '../../src/index.js'
import type { PageState } from '../../src/serve/page/state.js'
import { createTestKit, type TestKit } from '../../src/testing/index.js'
import { isFromPeer, signed, urlOf } from '../../src/serve/page/peers.js'

const TOKEN = 'a-long-enough-token'

describe('what is done to a pipeline by hand', () => {
  let kit: TestKit
  let server: StatusServer | undefined

  beforeEach(async () => {
    kit = await createTestKit({ topics: { in: { partitions: 2 }, out: {} }, start: 1_000_000 })
  })
  afterEach(async () => {
    await server?.close()
    server = undefined
    await kit.stop()
  })

  const valuesOf = async (): Promise<string[]> => (await kit.read('out')).map(({ value }) => String(value)).sort()
  const both = (name: string): { partition: number; value: string }[] =>
    [0, 1].map((partition) => ({ partition, value: `${name}${partition}` }))
  const status = () => kit.cluster.status.snapshot().pipelines[0]

  it('a paused task reads nothing, keeps its offsets and is behind; the others go on, and it goes on where it was', async () => {
    kit.run(kit.cluster.source({ group: 'g', topics: ['in'] }).pipe(withTransaction((records) => records.pipe(toTopic({ topic: 'out' })))))
    await kit.feed('in', both('a'))
    await kit.advance('1s')
    expect(kit.cluster.control.pause({ group: 'g', partition: 1 })).toBe(true)
    expect(kit.cluster.control.pause({ group: 'g', partition: 1 })).toBe(false)
    expect(kit.cluster.control.pause({ group: 'g', partition: 7 })).toBe(false)
    await kit.feed('in', both('b'))
    await kit.advance('20s')
    expect(await valuesOf()).toEqual(['a0', 'a1', 'b0'])
    expect(status()?.tasks.map(({ state }) => state)).toEqual(['running', 'paused'])
    await kit.advance('1s')
    expect(status()?.partitions.map(({ lag }) => lag)).toEqual([0, 1])
    expect(kit.cluster.control.resume({ group: 'g', partition: 1 })).toBe(true)
    expect(kit.cluster.control.resume({ group: 'g', partition: 1 })).toBe(false)
    await kit.advance('1s')
    expect(await valuesOf()).toEqual(['b1'])
  })

  it('a task that is set aside rests while it is paused', async () => {
    let calls = 0
    let broken = true
    const fail = (record: { readonly value: unknown }): void => {
      if (!String(record.value).startsWith('bad')) return
      calls++
      if (broken) throw new Error('no')
    }
    kit.run(
      kit.cluster.source({ group: 'g', topics: ['in'] }).pipe(
        withTransaction((records) => records.pipe(toTopic({ topic: 'out', headers: (record) => (fail(record), {}) })), {
          retries: 1_000,
          retryDelay: '1s',
        }),
      ),
    )
    await kit.feed('in', [{ partition: 1, value: 'bad' }])
    await kit.advance('3s')
    expect(status()?.tasks[1]?.state).toBe('set-aside')
    kit.cluster.control.pause({ group: 'g', partition: 1 })
    await kit.advance('2s')
    const before = calls
    expect(before).toBeGreaterThan(0)
    await kit.advance('1m')
    expect(calls).toBe(before)
    broken = false
    kit.cluster.control.resume({ group: 'g', partition: 1 })
    await kit.advance('5s')
    expect(await valuesOf()).toEqual(['bad'])
  })

  it('an open breaker is closed, and calls go on at once', async () => {
    let broken = true
    const breaker = circuitBreaker({ failures: 1, resetAfter: '1h' })
    const call = (record: { readonly value: Buffer | null }): { readonly value: Buffer | null } => {
      if (broken) throw new Error('down')
      return record
    }
    kit.run(
      kit.cluster
        .source({ group: 'g', topics: ['in'] })
        .pipe(
          withTransaction((records) =>
            records.pipe(attempt(call as never, { breaker }) as never, toTopic({ topic: 'out' } as never) as never),
          ),
        ),
    )
    await kit.feed('in', [{ partition: 0, value: 'a' }])
    await kit.advance('5s')
    expect(breaker.state).toBe('open')
    broken = false
    await kit.advance('1m')
    expect(await valuesOf()).toEqual([])
    expect(kit.cluster.control.closeBreaker({ group: 'g', step: 'attempt' })).toBe(true)
    expect(breaker.state).toBe('closed')
    expect(kit.cluster.control.closeBreaker({ group: 'g', step: 'attempt' })).toBe(false)
    await kit.advance('5s')
    expect(await valuesOf()).toEqual(['a'])
  })

  it('is stopped in order by its member id', async () => {
    kit.run(kit.cluster.source({ group: 'g', topics: ['in'] }).pipe(withTransaction((records) => records.pipe(toTopic({ topic: 'out' })))))
    await kit.advance('1s')
    expect(kit.cluster.control.stop({ group: 'g', memberId: 'another' })).toBe(false)
    expect(kit.cluster.control.stop({ group: 'g', memberId: status()?.member.memberId })).toBe(true)
    await kit.advance('1s')
    expect(status()?.state).toBe('stopped')
  })

  describe('over HTTP', () => {
    const post = async (path: string, body: object, token = TOKEN): Promise<number> =>
      (
        await fetch(`${server?.url}${path}`, {
          method: 'POST',
          headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
          body: JSON.stringify(body),
        })
      ).status

    it('commands and dead letters need a token, and are not there unless asked for', async () => {
      await expect(serveStatus(kit.cluster, { port: 0, commands: true })).rejects.toMatchObject({ code: 'INVALID_OPTIONS' })
      await expect(serveStatus(kit.cluster, { port: 0, deadLetters: { cluster: kit.cluster } })).rejects.toMatchObject({
        code: 'INVALID_OPTIONS',
      })
      server = await serveStatus(kit.cluster, { port: 0, token: TOKEN })
      expect(await post('/page/stop', { group: 'g' })).toBe(404)
      await server.close()
      server = await serveStatus(kit.cluster, { port: 0, token: TOKEN, commands: true })
      expect(await post('/page/stop', { group: 'g' }, 'another-token')).toBe(401)
      expect(await post('/page/stop', { group: 'g' })).toBe(400)
      expect(await post('/page/redrive', { from: 'out', filter: {}, dryRun: true })).toBe(404)
    })

    it('asks other processes by the addresses that the group tells of, with a proof in place of the token', async () => {
      const free = await serveStatus(kit.cluster, { port: 0, token: TOKEN, clock: kit.clock })
      const addresses = [`127.0.0.1:${free.port}`, 'nobody.invalid:1']
      for (const address of addresses)
        kit.run(
          kit.cluster
            .source({ group: 'g', topics: ['in'], address })
            .pipe(withTransaction((records) => records.pipe(toTopic({ topic: 'out' })))),
        )
      await kit.advance('30s')
      server = await serveStatus(
        { status: { ...kit.cluster.status, snapshot: () => ({ at: 0, pipelines: kit.cluster.status.snapshot().pipelines.slice(1) }) } },
        { port: 0, token: TOKEN, peers: true, clock: kit.clock },
      )
      const headers = { authorization: `Bearer ${TOKEN}` }
      const { others } = (await (await fetch(`${server.url}/page/state`, { headers })).json()) as PageState
      await free.close()
      expect(others).toMatchObject([{ address: addresses[0], status: { pipelines: [{ group: 'g' }, { group: 'g' }] } }])
    })

    it('a proof is for one address, by the token, and for a minute', () => {
      const at = (address: string) => ({ at: 0, pipelines: [{ member: { address } }] }) as never as ClusterStatus
      const proof = signed(TOKEN, 'a:1', 100_000)
      expect(isFromPeer(proof, TOKEN, at('a:1'), 160_000)).toBe(true)
      expect(isFromPeer(proof, TOKEN, at('a:1'), 160_001)).toBe(false)
      expect(isFromPeer(proof, TOKEN, at('b:1'), 100_000)).toBe(false)
      expect(isFromPeer(proof, 'another-token', at('a:1'), 100_000)).toBe(false)
      expect(isFromPeer(undefined, TOKEN, at('a:1'), 100_000)).toBe(false)
    })

    it('only what is an address is asked', () => {
      expect(['a:1', 'http://a:1', 'https://a', '[::1]:80'].map((one) => urlOf(one, '/ops'))).toEqual([
        'http://a:1/ops',
        'http://a:1/ops',
        'https://a/ops',
        'http://[::1]:80/ops',
      ])
      expect(['file:///etc/passwd', 'a', 'http://a/path', 'http://u:p@a', 'a:1/b?c'].map((one) => urlOf(one, ''))).toEqual(
        Array.from({ length: 5 }, () => undefined),
      )
    })
  })
})

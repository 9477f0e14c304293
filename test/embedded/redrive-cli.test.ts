import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { run } from '../../src/cli/run.js'
import { embedded, silentLogger, type Cluster, type KafkaOptions, type RedriveResult } from '../../src/index.js'
import { createEmbeddedBroker, type EmbeddedBroker } from '../../src/testing/index.js'
import { letter } from '../support/letters.js'
import { values } from '../support/pipelines.js'
import { until } from '../support/until.js'

describe('millrace redrive', () => {
  let broker: EmbeddedBroker
  let cluster: Cluster
  let folder: string
  let connected: KafkaOptions[] = []

  beforeEach(async () => {
    connected = []
    folder = await mkdtemp(join(tmpdir(), 'millrace-cli-'))
    broker = createEmbeddedBroker()
    cluster = embedded({ broker, logger: silentLogger })
    await cluster.createTopics(['in', 'other', 'dead'].map((topic) => ({ topic, partitions: 2 })))
    await cluster.produce({
      topic: 'dead',
      records: [
        letter('a', { error: 'Timeout', message: 'no answer' }),
        letter('b', { error: 'Timeout', headers: { region: 'eu' } }),
        letter('c', { error: 'TypeError', step: 'decode' }),
        { key: 'k', value: 'd' },
      ],
    })
  })
  afterEach(async () => {
    await cluster.close()
    await rm(folder, { recursive: true })
  })

  interface Ran {
    readonly code: number
    readonly out: string
    readonly error: string
  }
  async function cli(
    args: readonly string[],
    { env = {}, signal = new AbortController().signal }: { env?: Record<string, string>; signal?: AbortSignal } = {},
  ): Promise<Ran> {
    let [out, error] = ['', '']
    const code = await run(args, {
      out: (text) => (out += text),
      error: (text) => (error += text),
      interactive: false,
      env,
      signal: () => signal,
      connect(options) {
        connected.push(options)
        return embedded({ broker, logger: silentLogger })
      },
    })
    return { code, out, error }
  }
  const redrive = (...args: string[]): Promise<Ran> => cli(['redrive', '--brokers', 'b:9092', '--from', 'dead', ...args])

  it('shows in a table what was sent where and why it had failed', async () => {
    const { code, out, error } = await redrive()
    expect(code, error).toBe(0)
    expect(out).toBe(`TARGET  ERROR      STEP    RECORDS
in      Timeout    charge        2
in      TypeError  decode        1

sent 3, parked 0, of 4 looked at in dead; 1 tell nothing of where they came from (name a topic with --to)
`)
    expect(error).toMatch(/^looking: 4 read, 3 to send\n/)
    expect(await values(cluster, 'in')).toEqual(['a', 'b', 'c'])
    expect(connected).toEqual([{ brokers: ['b:9092'] }])
  })

  it('has each filter and option', async () => {
    const sent = async (...args: string[]): Promise<unknown> =>
      (JSON.parse((await redrive('--dry-run', '--json', ...args)).out) as RedriveResult).sent
    expect(
      await Promise.all([
        sent(),
        sent('--error', 'answer'),
        sent('--error', 'Time'),
        sent('--header', 'region=eu'),
        sent('--header', 'region=us'),
        sent('--step', 'decode'),
        sent('--key', 'k-a'),
      ]),
    ).toEqual([3, 1, 2, 1, 0, 1, 1])
    expect(
      await Promise.all([
        sent('--after', '2026-01-01'),
        sent('--after', '2026-01-02'),
        sent('--before', '2026-01-01'),
        sent('--limit', '2'),
        sent('--to', 'other', '--key', 'k'),
      ]),
    ).toEqual([3, 0, 0, 2, 1])
    expect(await values(cluster, 'in')).toEqual([])
    expect(
      JSON.parse(
        (await redrive('--json', '--to', 'other', '--rate', '1000', '--group', 'mine', '--max-redrives', '2', '--parked', 'p')).out,
      ),
    ).toMatchObject({ sent: 4, byTarget: { other: 4 } })
    expect(broker.offsets('mine').length).toBeGreaterThan(0)
  })

  it('refuses what it does not know, by name, and what lacks', async () => {
    const refused = async (...args: string[]): Promise<string> => {
      const { code, out, error } = await cli(args)
      expect([code, out]).toEqual([2, ''])
      return error
    }
    const full = ['redrive', '--brokers', 'b:9092', '--from', 'dead']
    expect(await refused(...full, '--form', 'x')).toMatch(/Unknown option '--form'\nTry: millrace redrive --help/)
    expect(await refused(...full, 'x')).toMatch(/Unexpected argument 'x'/)
    expect(await refused('redrive', '--from', 'dead')).toMatch(/--brokers: name at least one/)
    expect(await refused('redrive', '--brokers', 'b:1')).toMatch(/--from: name the dead-letter topic/)
    expect(await refused(...full, '--rate', 'fast')).toMatch(/--rate: expected a number, got 'fast'/)
    expect(await refused(...full, '--rate', '0', '--after', 'noon', '--max-redrives', '1.5')).toMatch(
      /--after: expected a date[^]*--rate:[^]*--max-redrives:/,
    )
    expect(await refused(...full, '--header', 'region')).toMatch(/--header: expected name=value/)
    expect(await refused(...full, '--to', 'dead')).toMatch(/--to: is the dead-letter topic itself/)
    expect(await refused('repair')).toMatch(/unknown command 'repair'/)
    expect(await refused()).toMatch(/name a command/)
  })

  it('tells what went wrong: for people on stderr, for machines on stdout too', async () => {
    await cluster.produce({ topic: 'dead', records: [letter('x', { topic: 'gone' })] })
    const dry = await redrive('--dry-run')
    expect([dry.code, dry.error]).toEqual([1, expect.stringMatching(/missing: gone; nothing would be sent before it exists/)])
    const failed = await redrive('--json')
    expect([failed.code, failed.error]).toEqual([
      1,
      expect.stringMatching(/MISSING_TOPIC: redrive: nothing was sent.*'gone' \(1 records\)/),
    ])
    expect(JSON.parse(failed.out)).toMatchObject({ error: { code: 'MISSING_TOPIC' } })
    expect(await values(cluster, 'in')).toEqual([])
  })

  it('ends in order when interrupted, says so, and goes on when started again', async () => {
    const controller = new AbortController()
    const records = Array.from({ length: 300 }, (_, i) => letter(`r${i}`, { into: i % 2 }))
    await cluster.produce({ topic: 'dead', records })
    const running = cli(['redrive', '--brokers', 'b:1', '--from', 'dead', '--rate', '200', '--json'], { signal: controller.signal })
    await until(async () => (await values(cluster, 'in')).length > 0, { what: 'the first records' })
    controller.abort()
    const { code, out, error } = await running
    expect([code, error]).toEqual([130, expect.stringMatching(/ended early: start it again/)])
    const first = JSON.parse(out) as RedriveResult
    expect(first).toMatchObject({ complete: false })
    expect(first.sent).toBe((await values(cluster, 'in')).length)
    expect(first.sent).toBeLessThan(303)
    expect(JSON.parse((await redrive('--json')).out)).toMatchObject({ complete: true, sent: 303 - first.sent, skipped: first.sent })
    expect(await values(cluster, 'in')).toEqual(['a', 'b', 'c', ...records.map(({ value }) => value)].sort())
  })

  it('takes addresses, TLS and SASL from options, the environment and a file, in this order', async () => {
    await writeFile(join(folder, 'ca.pem'), 'the ca')
    const config = join(folder, 'kafka.json')
    await writeFile(
      config,
      JSON.stringify({
        brokers: ['file:1'],
        ssl: { ca: 'ca.pem', servername: 'kafka' },
        sasl: { mechanism: 'plain', username: 'u', password: 'p' },
      }),
    )
    const connect = async (args: string[], env: Record<string, string> = {}): Promise<unknown> => {
      await cli(['redrive', '--from', 'dead', '--dry-run', ...args], { env })
      return connected.pop()
    }
    const sasl = { mechanism: 'plain', username: 'u', password: 'p' }
    expect(await connect(['--config', config])).toEqual({ brokers: ['file:1'], ssl: { ca: 'the ca', servername: 'kafka' }, sasl })
    expect(await connect(['--config', config], { KAFKA_BROKERS: 'env:1,env:2', KAFKA_SSL: 'false' })).toEqual({
      brokers: ['env:1', 'env:2'],
      ssl: false,
      sasl,
    })
    expect(
      await connect(['--brokers', 'a:1,b:2', '--brokers', 'c:3'], {
        KAFKA_BROKERS: 'env:1',
        KAFKA_SSL_CA: join(folder, 'ca.pem'),
        KAFKA_SASL_MECHANISM: 'SCRAM-SHA-512',
        KAFKA_SASL_USERNAME: 'u',
        KAFKA_SASL_PASSWORD: 'p',
      }),
    ).toEqual({
      brokers: ['a:1', 'b:2', 'c:3'],
      ssl: { ca: 'the ca' },
      sasl: { mechanism: 'scram-sha-512', username: 'u', password: 'p' },
    })
    await writeFile(config, JSON.stringify({ broker: 'x' }))
    expect(await cli(['redrive', '--from', 'dead', '--config', config])).toMatchObject({
      code: 2,
      error: expect.stringMatching(/unknown: broker/) as string,
    })
    expect(await cli(['redrive', '--from', 'dead', '--brokers', 'b:1'], { env: { KAFKA_SASL_MECHANISM: 'gssapi' } })).toMatchObject({
      code: 2,
      error: expect.stringMatching(/environment.*sasl\.mechanism/) as string,
    })
  })

  it('explains itself', async () => {
    expect((await cli(['--help'])).out).toMatch(/redrive/)
    const { code, out } = await cli(['redrive', '--help'])
    expect(code).toBe(0)
    for (const name of [
      'from',
      'to',
      'dry-run',
      'rate',
      'limit',
      'max-redrives',
      'parked',
      'group',
      'json',
      'error',
      'step',
      'header',
      'key',
      'after',
      'before',
      'brokers',
      'config',
    ])
      expect(out).toContain(`--${name}`)
  })
})

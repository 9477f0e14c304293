import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { run } from '../../src/cli/run.js'
import { embedded, redrive, silentLogger, type Cluster, type KafkaOptions } from '../../src/index.js'
import { createEmbeddedBroker, type EmbeddedBroker } from '../../src/testing/index.js'
import { letter } from '../support/letters.js'
import { values } from '../support/pipelines.js'

const page = readFileSync(fileURLToPath(new URL('../../docs/redrive.md', import.meta.url)), 'utf8')
const blocks = (language: string): string[] =>
  [...page.matchAll(new RegExp(`\`\`\`${language}\n([^]*?)\`\`\``, 'g'))].map(([, block]) => block as string)

describe('docs/redrive.md', () => {
  let broker: EmbeddedBroker
  let cluster: Cluster

  beforeEach(async () => {
    broker = createEmbeddedBroker()
    cluster = embedded({ broker, logger: silentLogger })
    await cluster.createTopics(
      ['orders', 'orders.repaired', 'orders.dead', 'orders.dead.parked'].map((topic) => ({ topic, partitions: 2 })),
    )
    const timeout = { topic: 'orders', error: 'PaymentTimeout', headers: { region: 'eu' } }
    await cluster.produce({
      topic: 'orders.dead',
      records: [
        letter('1', timeout),
        letter('2', { ...timeout, into: 1 }),
        letter('3', timeout),
        letter('4', { topic: 'orders', step: 'decode' }),
        letter('5', { ...timeout, headers: { 'millrace.redriven': '3' } }),
      ],
    })
  })
  afterEach(() => cluster.close())

  const command = async (args: readonly string[], options: Record<string, string> = {}) => {
    let out = ''
    const connected: KafkaOptions[] = []
    const code = await run(args, {
      out: (text) => (out += text),
      error: () => {},
      interactive: false,
      env: options,
      signal: () => new AbortController().signal,
      connect(given) {
        connected.push(given)
        return embedded({ broker, logger: silentLogger })
      },
    })
    return { code, out, connected }
  }

  it('shows commands with what they print, one after the other', async () => {
    const [commands, outputs] = [blocks('sh'), blocks('text')]
    expect(commands.length).toBeGreaterThan(2)
    expect(outputs).toHaveLength(commands.length)
    for (const [i, line] of commands.entries()) {
      const [npx, millrace, ...args] = line.trim().split(/\s+/)
      expect([npx, millrace]).toEqual(['npx', 'millrace'])
      expect(await command(args)).toMatchObject({ code: 0, out: outputs[i] })
    }
    expect(await Promise.all(['orders', 'orders.repaired', 'orders.dead.parked'].map((topic) => values(cluster, topic)))).toEqual([
      ['1', '2', '3'],
      ['4'],
      ['5'],
    ])
  })

  it('shows code that runs', async () => {
    const console = { log: vi.fn() }
    // As it stands on the page.
    const result = await redrive(cluster, {
      from: 'orders.dead',
      filter: { error: /timeout/i, after: '2026-01-01T00:00:00Z', header: { region: 'eu' } },
      rate: 100,
      onProgress: ({ sent, chosen }) => console.log(`${sent} of ${chosen}`),
    })
    console.log(result.byTarget)
    expect(console.log.mock.calls).toEqual(expect.arrayContaining([['0 of 3'], ['3 of 3'], [{ orders: 3 }]]))
    const bare = (text: string): string => text.replaceAll(/^ +/gm, '')
    const here = bare(readFileSync(fileURLToPath(import.meta.url), 'utf8'))
    expect(blocks('ts')).toHaveLength(1)
    for (const block of blocks('ts')) expect(here).toContain(bare(block))
  })

  it('shows a file of how to connect that is understood', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'millrace-docs-'))
    try {
      await writeFile(join(folder, 'ca.pem'), 'ca')
      await writeFile(join(folder, 'kafka.json'), blocks('json')[0] as string)
      const { connected } = await command(['redrive', '--from', 'orders.dead', '--dry-run', '--config', join(folder, 'kafka.json')])
      expect(connected).toEqual([
        {
          brokers: ['kafka-1:9093', 'kafka-2:9093'],
          ssl: { ca: 'ca' },
          sasl: { mechanism: 'scram-sha-512', username: 'ops', password: '...' },
        },
      ])
    } finally {
      await rm(folder, { recursive: true })
    }
  })
})

import { readFileSync, readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import type { Observable } from 'rxjs'
import type { Cluster, Commit } from '../../src/index.js'
import { createTestKit, type FeedRecord } from '../../src/testing/index.js'

const read = (path: string): string => readFileSync(fileURLToPath(new URL(path, import.meta.url)), 'utf8')
const list = (path: string): string[] => readdirSync(fileURLToPath(new URL(path, import.meta.url)))

const START = Date.parse('2026-01-01T12:00:00Z')
const at = (seconds: number): number => START + seconds * 1_000
const keyed = (key: string, value: unknown, more: Partial<FeedRecord> = {}): FeedRecord => ({
  key,
  value: typeof value === 'string' ? value : JSON.stringify(value),
  ...more,
})

type Rows = readonly (readonly [topic: string, record: FeedRecord])[]

interface Task {
  readonly partitions?: number
  /** Written in order; what stands behind a duration comes that much later. */
  readonly feed: readonly (Rows | `${number}${'s' | 'm'}`)[]
  readonly out: Readonly<Record<string, readonly object[]>>
}

// A page for each: its program, what goes in, and what the page says comes out.
const TASKS: Readonly<Record<string, Task>> = {
  'join-a-stream-with-a-table': {
    feed: [
      [
        ['customers', keyed('c2', { name: 'Blaise', city: 'Rouen' })],
        ['customers', keyed('c2', { name: 'Blaise', city: 'Paris' })],
      ],
      '1s',
      [
        ['orders', keyed('c2', { id: 'o1', amount: 20 })],
        ['orders', keyed('c9', { id: 'o2', amount: 30 })],
      ],
    ],
    out: {
      'orders-by-city': [
        { key: 'c2', value: { id: 'o1', amount: 20, city: 'Paris' } },
        { key: 'c9', value: { id: 'o2', amount: 30, city: 'unknown' } },
      ],
    },
  },
  'join-two-streams': {
    feed: [
      [
        ['orders', keyed('o1', 'lamp', { timestamp: at(0) })],
        ['orders', keyed('o2', 'rug', { timestamp: at(60) })],
        ['payments', keyed('o1', '100', { timestamp: at(180) })],
        ['orders', keyed('o3', 'desk', { timestamp: at(600) })],
      ],
    ],
    out: {
      settled: [
        { key: 'o1', value: { order: 'lamp', paid: 100 } },
        { key: 'o2', value: { order: 'rug', paid: 0 } },
      ],
    },
  },
  'count-in-windows': {
    feed: [
      [
        ['views', keyed('/', '', { timestamp: at(5) })],
        ['views', keyed('/', '', { timestamp: at(65) })],
        ['views', keyed('/', '', { timestamp: at(30) })],
        ['views', keyed('/', '', { timestamp: at(70) })],
        ['views', keyed('/', '', { timestamp: at(40) })],
      ],
    ],
    out: {
      'views-by-minute': [{ key: '/', value: { start: START, end: at(60), result: 2 } }],
      'views-too-late': [{ key: '/', timestamp: at(40) }],
    },
  },
  'group-by-another-key': {
    feed: [
      [
        ['orders', keyed('o1', { customer: 'ann', amount: 3 })],
        ['orders', keyed('o2', { customer: 'ann', amount: 4 })],
      ],
    ],
    out: { spent: [{ key: 'ann', value: 7 }] },
  },
  'drop-duplicates': {
    feed: [['d1', 'd2', 'd1'].map((id) => ['deliveries', keyed('shop', id, { headers: { 'delivery-id': id } })] as const)],
    out: { 'deliveries-once': [{ value: 'd1' }, { value: 'd2' }], 'seen-again': [{ value: 'd1' }] },
  },
  'retry-later': {
    feed: [[['messages', keyed('ann', 'hello')]], '11s'],
    out: { notified: [{ key: 'ann', value: 'done: hello' }], 'messages.dead': [] },
  },
  'set-bad-records-aside': {
    feed: [
      [
        ['readings', keyed('a', { sensor: 'a', degrees: 20 })],
        ['readings', keyed('a', '{"sensor":')],
      ],
    ],
    out: { 'readings-checked': [{ value: { degrees: 20 } }], 'readings.dead': [{ key: 'a', value: '{"sensor":' }] },
  },
  'wait-until-a-time': {
    feed: [
      [
        ['reminders', keyed('dentist', { text: 'Monday', at: at(60) })],
        ['reminders', keyed('dentist', { text: 'Tuesday', at: at(120) })],
        ['reminders', keyed('taxes', { text: 'pay', at: at(60) })],
        ['reminders', keyed('taxes', { text: 'pay', at: 0, cancelled: true })],
      ],
      '5m',
    ],
    out: { due: [{ key: 'dentist', value: { text: 'Tuesday' } }] },
  },
  'keep-state-of-your-own': {
    feed: [[20, 22].map((degrees) => ['readings', keyed('boiler', { degrees })] as const)],
    out: { changes: [{ value: { degrees: 20, change: 0 } }, { value: { degrees: 22, change: 2 } }] },
  },
  'split-over-topics': {
    feed: [
      [
        [
          'baskets',
          keyed('b1', {
            items: [
              { kind: 'book', sku: '1' },
              { kind: 'garden', sku: '2' },
            ],
          }),
        ],
      ],
    ],
    out: { book: [{ value: { sku: '1' } }], food: [], other: [{ value: { sku: '2' } }] },
  },
  source: {
    feed: [
      [
        ['in', keyed('a', 'old', { timestamp: START - 86_400_000 })],
        ['in', keyed('a', 'new', { timestamp: START })],
      ],
    ],
    out: { out: [{ value: 'new' }] },
  },
  attempt: {
    feed: [
      [
        ['orders', keyed('o1', { item: 'lamp' })],
        ['orders', keyed('o2', { item: 'rug' })],
      ],
    ],
    out: { priced: [{ value: { item: 'lamp', price: 100 } }], 'orders.dead': [{ key: 'o2' }] },
  },
  'map-value': {
    feed: [
      [
        ['orders', keyed('o1', { id: 'o1', amount: 100 })],
        ['orders', keyed('o2', { id: 'o2', amount: 0 })],
      ],
    ],
    out: { 'orders-with-vat': [{ key: 'o1', value: { id: 'o1', amount: 100, vat: 20 } }] },
  },
  'to-topic': {
    feed: [
      [
        ['orders', keyed('o1', { id: 'o1', customer: 'ann', rush: true })],
        ['orders', keyed('o2', 'not JSON')],
      ],
    ],
    out: {
      'orders-archive': [{ value: '{"id":"o1","customer":"ann","rush":true}' }, { value: 'not JSON' }],
      rush: [{ key: 'ann', value: { id: 'o1' } }],
      normal: [],
    },
  },
}

const pageOf = (name: string): string =>
  list('../../docs').includes(`${name}.md`) ? `../../docs/${name}.md` : `../../docs/tasks/${name}.md`

describe('pages of docs/tasks, and of single operators', () => {
  it('each page has a program that is run here', () => {
    const paged = [...list('../../docs/tasks'), 'source.md', 'attempt.md', 'map-value.md', 'to-topic.md'].map((file) =>
      file.replace('.md', ''),
    )
    expect(Object.keys(TASKS).sort()).toEqual(paged.sort())
    expect(list('tasks').map((file) => file.replace('.ts', ''))).toEqual(Object.keys(TASKS).sort())
  })

  it('names only what there is', async () => {
    const exported = [...Object.keys(await import('../../src/index.js')), 'pipeline', 'map', 'filter', 'scan', 'distinct']
    for (const name of Object.keys(TASKS))
      for (const [span] of read(pageOf(name))
        .replace(/```ts[\s\S]*?```/, '')
        .matchAll(/`[^`]+`/g))
        for (const [, named] of span.matchAll(/(?<![.\w])([a-z]\w+)\(/g)) expect(exported, `${name}: ${span}`).toContain(named)
  })

  for (const [name, { feed, out }] of Object.entries(TASKS)) {
    it(`${name}: the program of the page, and what it says comes out`, async () => {
      const program = read(`tasks/${name}.ts`).replaceAll("'../../../src/index.js'", "'millrace'")
      const [, shown] = /```ts\n([\s\S]*?)```/.exec(read(pageOf(name))) ?? []
      expect(shown).toBe(program)
      const { pipeline } = (await import(`./tasks/${name}.ts`)) as { pipeline: (cluster: Cluster) => Observable<Commit> }
      if (name === 'retry-later') ((await import('./tasks/retry-later.js')).service as { callsLeftToFail: number }).callsLeftToFail = 1
      const inputs = feed.flatMap((step) => (typeof step === 'string' ? [] : step.map(([topic]) => topic)))
      const kit = await createTestKit({
        topics: Object.fromEntries([...inputs, ...Object.keys(out)].map((topic) => [topic, {}])),
        start: START,
      })
      kit.run(pipeline(kit.cluster))
      for (const step of feed) {
        if (typeof step === 'string') await kit.advance(step)
        else for (const [topic, record] of step) await kit.feed(topic, record)
      }
      await kit.advance('1s')
      for (const [topic, expected] of Object.entries(out)) {
        const written = (await kit.read(topic)).map(({ value, ...rest }) => ({ ...rest, value: parsed(value, expected[0]) }))
        expect(written, topic).toMatchObject(expected)
        expect(written, topic).toHaveLength(expected.length)
      }
      await kit.stop()
    })
  }
})

/** As the page shows it: text where it is text there. */
function parsed(value: unknown, like: object | undefined): unknown {
  const text = String(value)
  return like !== undefined && 'value' in like && typeof like.value === 'string' ? text : text === '' ? text : JSON.parse(text)
}
